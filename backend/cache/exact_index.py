"""An index that looks at every vector, or proves that it need not."""

from __future__ import annotations

import threading

import numpy as np

from backend.cache.vector_block import ROWS, Block
from backend.cache.vectors import Found, Keys, Vectors, best, checked, nothing

_BLOCKS_A_BAY = 32
"""Blocks that lie in one piece of memory, with room for 131,072 vectors: reading all of them is one product,
for whose end numpy's threads wait once, which on a busy machine takes longer than the product itself."""

_FIRST_LOOK = 64
"""So many of the most promising are looked at first, to learn how near the nearest are."""

_WHOLE_SHARE = 8
"""Where more than one vector in so many must be looked at, reading all in order is quicker than picking."""

_LONGEST_REST = 31
"""Queries that do not try to spare anything, after others tried in vain."""

_MOST_SORTS = 64

_EXACT_ROWS = 1024


class _Thrift:
    """Whether queries of one sort should try to spare reading: those before them tell."""

    def __init__(self) -> None:
        self._rest = self._pause = 0

    def tries(self) -> bool:
        """Whether this query should."""
        if self._rest:
            self._rest -= 1
            return False
        return True

    def learn(self, paid: bool) -> None:
        """Of one that did; after each that did so in vain, the next waits longer."""
        self._rest = self._pause = 0 if paid else min(2 * self._pause + 1, _LONGEST_REST)


class ExactIndex:
    """Vectors in blocks of one size: it grows without copying, and a hole is filled by the last vector.

    Similarities are those of float64 arithmetic, rounded to float32, and depend on nothing but the two
    vectors: where a vector lies in memory changes neither its similarity nor the order of equal ones.
    Where short forms of the vectors tell which ones cannot be among those asked for, few are read in full;
    where they do not, a query is one plain product with all. Memory: 4 bytes a number, and a sixteenth more.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._lock = threading.Lock()
        self._bays: list[Vectors] = []
        self._blocks: list[Block] = []
        self._row_of: dict[int, int] = {}
        self._thrift: dict[tuple[float, float], _Thrift] = {}
        # Twice what a float32 sum of so many products can be wrong by, for vectors of length 1.
        self._slack = dimension * float(np.finfo(np.float32).eps)

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, key: int) -> bool:
        return key in self._row_of

    def add(self, key: int, vector: Vectors) -> None:
        """See :class:`~backend.cache.vector_index.VectorIndex`."""
        keys, vectors = checked(self.dimension, np.array([key]), np.asarray(vector)[None])
        with self._lock:
            self._put(keys, vectors)

    def add_many(self, keys: Keys, vectors: Vectors) -> None:
        """See :class:`~backend.cache.vector_index.VectorIndex`."""
        keys, vectors = checked(self.dimension, keys, vectors)
        for start in range(0, len(keys), ROWS):
            part = slice(start, start + ROWS)
            with self._lock:
                self._put(keys[part], vectors[part])

    def remove(self, key: int) -> None:
        """See :class:`~backend.cache.vector_index.VectorIndex`."""
        with self._lock:
            row = self._row_of.pop(key, None)
            if row is None:
                return
            last = self._blocks[-1]
            last.count -= 1
            if row < len(self._row_of):
                moved = slice(last.count, last.count + 1)
                self._blocks[row // ROWS].write(row % ROWS, last.keys[moved], last.vectors[moved])
                self._row_of[int(last.keys[last.count])] = row
            if not last.count:
                self._blocks.pop()
                del self._bays[-(-len(self._blocks) // _BLOCKS_A_BAY) :]

    def newest(self, count: int) -> tuple[Keys, Vectors]:
        """Copies of the keys and vectors that lie last, at most ``count``, all of one block."""
        with self._lock:
            if not self._blocks:
                return np.empty(0, np.int64), np.empty((0, self.dimension), np.float32)
            last = self._blocks[-1]
            rows = slice(max(0, last.count - count), last.count)
            return last.keys[rows].copy(), last.vectors[rows].copy()

    def nearest(self, vector: Vectors, k: int) -> Found:
        """See :class:`~backend.cache.vector_index.VectorIndex`."""
        return self.band(vector, -np.inf, np.inf, k)

    def band(self, vector: Vectors, low: float, high: float, k: int) -> Found:
        """The ``k`` most similar with ``low <= similarity <= high``."""
        query = checked(self.dimension, np.zeros(1), np.asarray(vector)[None])[1][0]
        with self._lock:
            rows = self._finalists(query, low, high, k) if k > 0 and len(self) else np.empty(0, np.int64)
            if not len(rows):
                return nothing()
            keys = np.concatenate([self._blocks[n].keys[part] for n, part in _parts(rows, ROWS)])
            exact = np.concatenate([_exact(query, bay[part]) for bay, part in self._picked(rows)])
        inside = (exact >= low) & (exact <= high)
        return best((keys[inside], exact[inside]), k)

    def close(self) -> None:
        """Nothing runs in the background."""

    def _put(self, keys: Keys, vectors: Vectors) -> None:
        new = [key for key in keys.tolist() if key not in self._row_of]
        if len(set(new)) < len(keys):
            for row, key in enumerate(keys.tolist()):
                self._put_one(key, keys[row : row + 1], vectors[row : row + 1])
            return
        done = 0
        while done < len(keys):
            block = self._last_with_room()
            part = slice(done, done + ROWS - block.count)
            self._row_of.update(
                zip(keys[part].tolist(), range(len(self._row_of), ROWS * len(self._blocks)), strict=False)
            )
            block.write(block.count, keys[part], vectors[part])
            done = part.stop

    def _put_one(self, key: int, keys: Keys, vectors: Vectors) -> None:
        row = self._row_of.get(key)
        if row is None:
            self._put(keys, vectors)
        else:
            self._blocks[row // ROWS].write(row % ROWS, keys, vectors)

    def _last_with_room(self) -> Block:
        if not self._blocks or self._blocks[-1].count == ROWS:
            bay, place = divmod(len(self._blocks), _BLOCKS_A_BAY)
            if bay == len(self._bays):
                # Its pages take no memory before they are written to.
                self._bays.append(np.empty((_BLOCKS_A_BAY * ROWS, self.dimension), np.float32))
            self._blocks.append(Block(self._bays[bay][place * ROWS : (place + 1) * ROWS]))
        return self._blocks[-1]

    def _picked(self, rows: Keys) -> list[tuple[Vectors, Keys]]:
        """The bays in which the ascending ``rows`` lie, with the rows counted within each."""
        return [(self._bays[number], part) for number, part in _parts(rows, _BLOCKS_A_BAY * ROWS)]

    def _bounds(self, query: Vectors, side: float) -> Vectors:
        """What no similarity passes but by rounding, ``[N]``: from above, or from below if ``side`` is -1."""
        filled = np.empty(len(self), np.float32)
        for number, block in enumerate(self._blocks):
            block.bounds(query, side, filled[number * ROWS : number * ROWS + block.count])
        return filled

    def _similarities(self, query: Vectors, rows: Keys | None) -> Vectors:
        """Similarities of the ascending ``rows``, or of all, in float32, wrong by half the slack at most."""
        if rows is not None:
            return np.concatenate([bay[part] @ query for bay, part in self._picked(rows)])
        filled = np.empty(len(self), np.float32)
        for number, bay in enumerate(self._bays):
            begin = number * len(bay)
            held = min(len(bay), len(self) - begin)
            np.dot(bay[:held], query, out=filled[begin : begin + held])
        return filled

    def _finalists(self, query: Vectors, low: float, high: float, k: int) -> Keys:
        """Ascending rows, few more than ``k``, among which the ``k`` best within the band are."""
        rows, thrift = None, self._thrift_of(low, high)
        if thrift.tries():
            rows = self._promising(query, low, high, k)
            paid = len(rows) * _WHOLE_SHARE <= len(self)
            thrift.learn(paid)
            if not paid:
                rows = None
            elif not len(rows):
                return rows
        about = self._similarities(query, rows)
        floor = self._floor(about, low, high, k)
        passed = np.flatnonzero((about >= floor) & (about <= high + self._slack))
        return passed if rows is None else rows[passed]

    def _thrift_of(self, low: float, high: float) -> _Thrift:
        if len(self._thrift) > _MOST_SORTS:
            self._thrift.clear()
        return self._thrift.setdefault((low, high), _Thrift())

    def _promising(self, query: Vectors, low: float, high: float, k: int) -> Keys:
        """Ascending rows among which the ``k`` best within the band are, as far as short forms tell.

        The most promising are looked at, and no other is better than the ``k``-th of them unless its bound is
        (after R. Fagin, A. Lotem and M. Naor, "Optimal aggregation algorithms for middleware", 2003). Below a
        limit nobody knows who the most promising are; there the bounds from below serve.
        """
        upper = self._bounds(query, 1.0)
        if high < 1.0:
            lower = self._bounds(query, -1.0)
            surely = lower[(upper <= high - self._slack) & (lower >= low + self._slack)]
            floor = self._floor(surely, low, high, k)
            return np.flatnonzero((upper >= floor) & (lower <= high + self._slack))
        first = np.flatnonzero(upper >= _highest(upper, max(_FIRST_LOOK, 2 * k)))
        floor = self._floor(self._similarities(query, first), low, high, k)
        return np.flatnonzero(upper >= floor)

    def _floor(self, about: Vectors, low: float, high: float, k: int) -> float:
        """What the ``k``-th best within the band does not fall short of, going by some similarities."""
        if high < 1.0 or low > -1.0:
            about = about[(about >= low + self._slack) & (about <= high - self._slack)]
        return (_highest(about, k) if len(about) >= k else low) - self._slack


def _parts(rows: Keys, size: int) -> list[tuple[int, Keys]]:
    """Ascending rows by the piece of ``size`` rows in which they lie, counted within each."""
    pieces = rows // size
    starts = np.flatnonzero(np.diff(pieces, prepend=-1))
    return [
        (int(pieces[start]), part - pieces[start] * size)
        for start, part in zip(starts, np.split(rows, starts[1:]), strict=True)
    ]


def _highest(values: Vectors, k: int) -> float:
    """The ``k``-th highest value, or the lowest where there are fewer."""
    place = max(0, len(values) - k)
    return float(np.partition(values, place)[place])


def _exact(query: Vectors, vectors: Vectors) -> Vectors:
    """Similarities by float64 arithmetic, each row summed by itself, so that its place does not matter."""
    wide = query.astype(np.float64)
    sums = [
        (vectors[start : start + _EXACT_ROWS] * wide).sum(axis=1)
        for start in range(0, len(vectors), _EXACT_ROWS)
    ]
    similarities: Vectors = np.clip(np.concatenate(sums), -1.0, 1.0).astype(np.float32)
    return similarities
