"""What an index should find, by looking at everything in float64."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backend.cache.vectors import Found, Vectors


def unit(rows: Vectors) -> Vectors:
    """Rows of length 1."""
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def dreams(count: int, dimension: int, seed: int = 0) -> Vectors:
    """Vectors as a dream leaves them: themes of forty pictures, each picture like the one before."""
    rng = np.random.default_rng(seed)
    spread = (1.0 + np.arange(dimension)) ** -0.6
    themes = rng.standard_normal((-(-count // 40), dimension)) * spread
    steps = rng.standard_normal((count, dimension)) * spread
    for row in range(1, count):
        steps[row] = 0.95 * steps[row - 1] + 0.31 * steps[row]
    turn = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0]
    return unit((0.6 * spread + np.repeat(themes, 40, axis=0)[:count] + 0.4 * steps) @ turn)


def brute_force(
    held: Mapping[int, Vectors], query: Vectors, k: int, low: float = -2.0, high: float = 2.0
) -> Found:
    """The ``k`` most similar within the band; equal ones by key."""
    keys = np.array(sorted(held), np.int64)
    if not len(keys):
        return keys, np.empty(0, np.float32)
    products = np.stack([held[key] for key in keys.tolist()]) * query.astype(np.float64)
    similarities = np.clip(products.sum(axis=1), -1.0, 1.0).astype(np.float32)
    inside = np.flatnonzero((similarities >= low) & (similarities <= high))
    order = inside[np.argsort(-similarities[inside], kind="stable")][:k]
    return keys[order], similarities[order]
