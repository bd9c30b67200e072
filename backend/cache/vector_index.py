"""Which memories are most like this one? What every index of vectors answers, and which one to open."""

from __future__ import annotations

from typing import Protocol

from backend.cache.approximate_index import ApproximateIndex
from backend.cache.vectors import Found, Keys, Vectors


class VectorIndex(Protocol):
    """Unit vectors by key. Safe to use from several threads.

    Keys are whole numbers from 0 to 2**63 - 1. Vectors have one dimension, all the same length, and norm 1.
    ``ValueError`` is raised for others.
    """

    @property
    def problem(self) -> str | None:
        """Why it does not work as it should, though it answers; None while nothing is wrong."""
        ...

    def add(self, key: int, vector: Vectors) -> None:
        """Hold ``vector`` under ``key``; what stood there is replaced."""
        ...

    def add_many(self, keys: Keys, vectors: Vectors) -> None:
        """Hold the rows of ``vectors`` under ``keys``, as when a memory is opened."""
        ...

    def wait_for_room(self, timeout_s: float) -> bool:
        """For whoever brings very many: wait until they would not slow down those who ask.

        Returns:
            Whether that is so; False if the time is over.
        """
        ...

    def remove(self, key: int) -> None:
        """Forget ``key``; one that is not held is no error."""
        ...

    def nearest(self, vector: Vectors, k: int) -> Found:
        """The ``k`` most similar, fewer where fewer are held."""
        ...

    def band(self, vector: Vectors, low: float, high: float, k: int) -> Found:
        """Up to ``k`` with ``low <= similarity <= high``."""
        ...

    def __len__(self) -> int: ...

    def close(self) -> None:
        """End what runs in the background. Nothing may be asked afterwards."""
        ...


def open_index(dimension: int, exact_limit: int) -> VectorIndex:
    """An empty index that is exact up to ``exact_limit`` vectors, and grows beyond it without a pause.

    Args:
        dimension: Of the vectors.
        exact_limit: Vectors; beyond it they are moved into a graph in the background.
    """
    return ApproximateIndex(dimension, exact_limit)
