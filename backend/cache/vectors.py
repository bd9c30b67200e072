"""Unit vectors and their keys, as every index of them takes and gives them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
Keys: TypeAlias = NDArray[np.int64]
Found: TypeAlias = tuple[Keys, Vectors]
"""Keys and their cosine similarities, the most similar first; equal ones by ascending key."""

_LENGTH_TOLERANCE = 1e-2
_ROUNDING = 4e-6


def checked(dimension: int, keys: NDArray[Any], vectors: NDArray[Any]) -> tuple[Keys, Vectors]:
    """Keys ``[N]`` and unit vectors ``[N, dimension]`` as they are stored.

    Vectors that came out of half precision are brought back to length 1.

    Raises:
        ValueError: If shapes, keys or lengths are not what an index takes.
    """
    keys, vectors = np.asarray(keys).astype(np.int64), np.ascontiguousarray(vectors, np.float32)
    if vectors.shape != (len(keys), dimension):
        raise ValueError(f"vectors have the shape {vectors.shape}, not {(len(keys), dimension)}")
    if len(keys) and keys.min() < 0:
        raise ValueError(f"key {keys.min()} is below 0")
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    wrong = np.flatnonzero(~(np.abs(lengths - 1.0) <= _LENGTH_TOLERANCE))
    if len(wrong):
        raise ValueError(f"a vector has the length {lengths[wrong[0]]:.4g}, not 1")
    if (np.abs(lengths - 1.0) > _ROUNDING).any():
        vectors = vectors / lengths[:, None]
    return keys, vectors


def nothing() -> Found:
    """No keys and no similarities."""
    return np.empty(0, np.int64), np.empty(0, np.float32)


def best(found: Found, k: int) -> Found:
    """The ``k`` most similar of what was found, in order; a key found twice counts once."""
    keys, similarities = found
    order = np.lexsort((keys, -similarities))
    keys, similarities = keys[order], similarities[order]
    first = np.sort(np.unique(keys, return_index=True)[1])[:k]
    return keys[first], similarities[first]


def joined(*founds: Found) -> Found:
    """What was found in several places, in no order."""
    return np.concatenate([keys for keys, _ in founds]), np.concatenate([near for _, near in founds])
