"""Synthetic streams of embeddings: a healthy dream, and the ways in which one goes round in circles."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backend.cache.coverage import Vectors

DIMENSION = 64
_VARIED = 0.4
"""Cosine distance between two pictures of a healthy stream that lie far apart, as in one theme."""
_JITTER = 0.02


def unit(vector: np.ndarray) -> Vectors:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def healthy(seed: int, memory: float = 0.65) -> Iterator[Vectors]:
    """A walk that never stops; ``memory`` is what each picture keeps of the one before."""
    rng = np.random.default_rng(seed)
    base, wandering = unit(rng.normal(size=DIMENSION)), unit(rng.normal(size=DIMENSION))
    while True:
        fresh = unit(rng.normal(size=DIMENSION))
        wandering = unit(memory * wandering + (1.0 - memory**2) ** 0.5 * fresh)
        yield unit((1.0 - _VARIED) ** 0.5 * base + _VARIED**0.5 * wandering)


def still(seed: int, at: Vectors) -> Iterator[Vectors]:
    """One picture, as good as unchanged."""
    rng = np.random.default_rng(seed)
    while True:
        yield unit(at + _JITTER * unit(rng.normal(size=DIMENSION)))


def drift(seed: int, at: Vectors) -> Iterator[Vectors]:
    """A lively walk that is pulled into a corner within ten keyframes, and goes on moving there."""
    rng, walk = np.random.default_rng(seed), healthy(seed + 1)
    corner = unit(at + 0.8 * unit(rng.normal(size=DIMENSION)))
    for number, vector in enumerate(walk):
        pull = min(0.085 * (number + 1), 0.85)
        yield unit((1.0 - pull) * vector + pull * corner)


def oscillation(seed: int, at: Vectors, dwell: int = 1) -> Iterator[Vectors]:
    """Two pictures in turn, ``dwell`` keyframes each."""
    rng = np.random.default_rng(seed)
    base = unit(at + 0.8 * unit(rng.normal(size=DIMENSION)))
    number = 0
    while True:
        picture = (at, base)[number // dwell % 2]
        yield unit(picture + _JITTER * unit(rng.normal(size=DIMENSION)))
        number += 1
