"""The smallest index there can be: exact, slow, and plain to see through."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class TinyIndex:
    """Keys and unit vectors in a dict."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.vectors: dict[int, NDArray[np.float32]] = {}
        self.closed = False
        self.problem: str | None = None

    def add(self, key: int, vector: NDArray[np.float32]) -> None:
        self.vectors[key] = np.asarray(vector, np.float32)

    def add_many(self, keys: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        for key, vector in zip(keys.tolist(), vectors, strict=True):
            self.add(key, vector)

    def wait_for_room(self, timeout_s: float) -> bool:
        return True

    def remove(self, key: int) -> None:
        self.vectors.pop(key, None)

    def nearest(self, vector: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        return self.band(vector, -2.0, 2.0, k)

    def band(
        self, vector: NDArray[np.float32], low: float, high: float, k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        found = [(float(vector @ other), key) for key, other in self.vectors.items()]
        best = sorted((pair for pair in found if low <= pair[0] <= high), reverse=True)[:k]
        keys = np.array([key for _, key in best], np.int64)
        return keys, np.array([similarity for similarity, _ in best], np.float32)

    def __len__(self) -> int:
        return len(self.vectors)

    def close(self) -> None:
        self.closed = True
