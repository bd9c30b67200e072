"""The nearest of very many vectors by way of their neighbours' neighbours; not always all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from backend.cache.vectors import Found, Keys, Vectors, nothing

_CONNECTIVITY = 32
"""Links a vector. With 16, vectors added in the order of a dream form islands that some queries never reach
(measured: 1 query in 60 found less than 8 of its 10 nearest among 40,000; with 32, none to 1 in 300)."""

_EXPANSION_ADD = 128
_EXPANSION_SEARCH = 512

_MORE = 54
"""So many more than are asked for are compared again, by numbers that are not rounded to bytes."""

_LARGEST = 4.5
"""Of numbers that vary as those of a turned unit vector do, none in 100,000 is so many deviations from 0."""

_ROOM = 65_536
"""Vectors of which the memory is taken at a time."""

_STAND_BACK_S = 0.0005
"""So long whoever adds lets go of the lock for those who ask."""


class VectorGraph:
    """A hierarchical navigable small world (Y. Malkov and D. Yashunin, 2018) by usearch.

    The way through it goes by vectors of bytes, which are read and compared several times faster; what is
    found is put in order by those of half precision beside it, right to about 1e-4. Memory: 3 bytes a
    number, and about 750 a vector for its links.

    Safe to use from several threads. usearch bears one call at a time on an index that changes, so vectors
    are added one by one, and whoever asks goes first: it waits for one vector at most, a fraction of a
    millisecond, but where the graph makes room for twice as many. A removed one's place goes to a later one.
    """

    def __init__(self, dimension: int) -> None:
        from usearch.index import Index  # most memories never grow so large as to need it

        self._lock = threading.Lock()
        self._asking = set[int]()
        self._index = Index(
            ndim=dimension,
            metric="ip",
            dtype="i8",
            connectivity=_CONNECTIVITY,
            expansion_add=_EXPANSION_ADD,
            expansion_search=_EXPANSION_SEARCH,
        )
        # Turned at random, every direction varies alike, and a byte is enough for each.
        chance = np.random.default_rng(0).standard_normal((dimension, dimension))
        self._turn: Vectors = np.linalg.qr(chance)[0].astype(np.float32)
        self._scale = np.float32(127 / _LARGEST * np.sqrt(dimension))
        self._rooms: list[NDArray[np.float16]] = []
        self._keys: Keys = np.empty(0, np.int64)
        self._row_of: dict[int, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def memory_bytes(self) -> int:
        """What it takes, without Python's own table of keys."""
        with self._lock:
            return int(self._index.memory_usage) + 2 * self._index.ndim * self._used + self._keys.nbytes

    def add(self, keys: Keys, vectors: Vectors) -> None:
        """Add unit vectors ``[N, D]`` under keys that are not in it."""
        coarse = self._coarse(vectors)
        for number, key in enumerate(keys.tolist()):
            if self._asking:
                time.sleep(_STAND_BACK_S)
            with self._lock:
                self._add(key, vectors[number], coarse[number])

    def remove(self, key: int) -> None:
        """Forget a key; one that is not in it is no error."""
        with self._lock:
            row = self._row_of.pop(key, None)
            if row is not None:
                self._index.remove(row)
                self._free.append(row)

    def nearest(self, vector: Vectors, k: int) -> Found:
        """Up to ``k`` keys and their similarities, in no order."""
        coarse = self._coarse(vector)
        with self._first():
            if not self._row_of:
                return nothing()
            rows = self._index.search(coarse, k + _MORE, threads=1, dtype="i8").keys.astype(np.int64)
            keys, halves = self._keys[rows], self._vectors(rows)
        similarities = np.clip(np.vecdot(halves.astype(np.float32), vector), -1.0, 1.0)
        best = np.argpartition(similarities, -k)[-k:] if len(keys) > k else slice(None)
        return keys[best], similarities[best]

    @property
    def _used(self) -> int:
        """Rows that hold a vector, or held one."""
        return len(self._row_of) + len(self._free)

    def _add(self, key: int, vector: Vectors, coarse: NDArray[np.int8]) -> None:
        if not self._free and self._used == len(self._keys):
            self._rooms.append(np.empty((_ROOM, len(vector)), np.float16))
            self._keys = np.concatenate([self._keys, np.empty(_ROOM, np.int64)])
        row = self._free[-1] if self._free else self._used
        self._keys[row], self._rooms[row // _ROOM][row % _ROOM] = key, vector
        self._index.add(row, coarse, threads=1, dtype="i8")
        if self._free:
            self._free.pop()
        self._row_of[key] = row

    def _coarse(self, vectors: Vectors) -> NDArray[np.int8]:
        # vecdot, since a product waits for numpy's other threads, and so for whoever has their cores.
        turned = np.vecdot(vectors[..., None, :], self._turn)
        steps: Vectors = np.rint(turned * self._scale).clip(-127, 127)
        return steps.astype(np.int8)

    def _vectors(self, rows: Keys) -> NDArray[np.float16]:
        halves = np.empty((len(rows), self._index.ndim), np.float16)
        for number, room in enumerate(self._rooms):
            here = np.flatnonzero(rows // _ROOM == number)
            if len(here):
                halves[here] = room[rows[here] % _ROOM]
        return halves

    @contextmanager
    def _first(self) -> Iterator[None]:
        """Hold the lock, before whoever adds takes it again."""
        me = threading.get_ident()
        self._asking.add(me)
        try:
            with self._lock:
                yield
        finally:
            self._asking.discard(me)
