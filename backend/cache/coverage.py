"""How much of the space of pictures a window covers: free functions on unit vectors ``[N, D]``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coverage:
    """Measures of one window.

    Attributes:
        dispersion: Mean cosine distance between two of its pictures, 0 to 2.
        effective_number: How many distinct pictures it amounts to, 1 to N.
        step: Mean cosine distance from one picture to the next.
        returning: How much nearer it comes to what was before than it stays to what has just been, in
            units of ``dispersion``: about 0 for a walk, 2 for a swing between two pictures.
    """

    dispersion: float
    effective_number: float
    step: float
    returning: float


def measure(window: Vectors, scale: float) -> Coverage:
    """All measures of two unit vectors or more, oldest first; ``scale`` as in `effective_number`."""
    similar = similarities(window)
    spread = _mean_distance(similar)
    return Coverage(spread, effective_number(similar, scale), _step(similar), _returning(similar, spread))


def similarities(window: Vectors) -> Floats:
    """Cosines ``[N, N]`` between unit vectors ``[N, D]``, clipped to what cosines may be."""
    wide = window.astype(np.float64)
    return np.clip(wide @ wide.T, -1.0, 1.0)


def effective_number(similar: Floats, scale: float) -> float:
    """The Vendi score: the exponential of the entropy of the eigenvalues of ``K / N``.

    ``K = exp(-(1 - cosine) / scale)`` is a Gaussian kernel on the sphere and so positive definite; two
    pictures farther apart than some ``scale`` count as two, nearer ones as one.
    Source: D. Friedman, A. B. Dieng, "The Vendi Score" (2023).

    Args:
        similar: Cosines ``[N, N]``.
        scale: Cosine distance at which two pictures are alike to 1/e; above 0.

    Returns:
        1 for N equal pictures to N for N unlike ones.
    """
    shares = np.linalg.eigvalsh(np.exp((similar - 1.0) / scale) / len(similar))
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def lag_profile(similar: Floats) -> Floats:
    """Mean cosine between pictures 1, 2, ... ``N // 2`` apart in time."""
    count = len(similar)
    apart = np.abs(np.subtract.outer(np.arange(count), np.arange(count))).ravel()
    sums = np.bincount(apart, weights=similar.ravel())
    return sums[1 : count // 2 + 1] / np.bincount(apart)[1 : count // 2 + 1]


def _mean_distance(similar: Floats) -> float:
    count = len(similar)
    return float(1.0 - (similar.sum() - np.trace(similar)) / (count * (count - 1)))


def _step(similar: Floats) -> float:
    return float(1.0 - np.diagonal(similar, 1).mean())


def _returning(similar: Floats, spread: float) -> float:
    profile = lag_profile(similar)
    if spread < 1e-9 or len(profile) < 2:
        return 0.0
    lowest_before = np.minimum.accumulate(profile)[:-1]
    return float(max((profile[1:] - lowest_before).max(), 0.0) / spread)
