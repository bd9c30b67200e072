"""An index that looks at every vector, or proves that it need not."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from backend.cache.vector_block import ROWS, Block
from backend.cache.vectors import Found, Keys, Vectors, best, checked, nothing

_FIRST_LOOK = 64
"""So many of the most promising are looked at first, to learn how near the nearest are."""

_WHOLE_SHARE = 8
"""Where more than one vector in so many must be looked at, reading all in order is quicker than picking."""

_GROWTH = 8
"""How much larger each further handful is."""

_EXACT_ROWS = 1024


class ExactIndex:
    """Vectors in blocks of one size: it grows without copying, and a hole is filled by the last vector.

    Similarities are those of float64 arithmetic, rounded to float32, and depend on nothing but the two
    vectors: where a vector lies in memory changes neither its similarity nor the order of equal ones.
    Memory: 4 bytes a number, and a sixteenth more.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._lock = threading.Lock()
        self._blocks: list[Block] = []
        self._row_of: dict[int, int] = {}
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
            picked = self._picked(rows)
            keys = np.concatenate([block.keys[part] for block, part in picked])
            exact = np.concatenate([_exact(query, block.vectors, part) for block, part in picked])
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
            self._blocks.append(Block(self.dimension))
        return self._blocks[-1]

    def _over_all(self, fill: Callable[[Block, Vectors], None]) -> Vectors:
        """What ``fill`` writes for each block, as one array ``[N]``."""
        filled = np.empty(len(self), np.float32)
        for number, block in enumerate(self._blocks):
            fill(block, filled[number * ROWS : number * ROWS + block.count])
        return filled

    def _picked(self, rows: Keys) -> list[tuple[Block, Keys]]:
        """The blocks in which the ascending ``rows`` lie, with the rows counted within each."""
        ends = np.searchsorted(rows, np.arange(1, len(self._blocks) + 1) * ROWS)
        parts = np.split(rows, ends[:-1])
        return [(self._blocks[n], part - n * ROWS) for n, part in enumerate(parts) if len(part)]

    def _similarities(self, query: Vectors, rows: Keys) -> Vectors:
        """Similarities of the ascending ``rows`` in float32, wrong by half the slack at most."""
        if len(rows) * _WHOLE_SHARE > len(self):
            return self._over_all(lambda block, out: block.similarities(query, out))[rows]
        return np.concatenate([block.vectors[part] @ query for block, part in self._picked(rows)])

    def _finalists(self, query: Vectors, low: float, high: float, k: int) -> Keys:
        """Ascending rows, few more than ``k``, among which the ``k`` best within the band are.

        The most promising are looked at first, in growing handfuls, until no other can be better (after
        R. Fagin, A. Lotem and M. Naor, "Optimal aggregation algorithms for middleware", 2003).
        """
        upper = self._over_all(lambda block, out: block.bounds(query, 1.0, out))
        rows = np.flatnonzero(upper >= low - self._slack)
        if high < 1.0:
            lower = self._over_all(lambda block, out: block.bounds(query, -1.0, out))
            rows = rows[lower[rows] <= high + self._slack]
        upper = upper[rows]
        look_at = max(_FIRST_LOOK, 2 * k)
        while len(rows):
            seen = rows[upper >= _highest(upper, look_at)]
            about = self._similarities(query, seen)
            surely = about[(about >= low + self._slack) & (about <= high - self._slack)]
            floor = (_highest(surely, k) if len(surely) >= k else low) - self._slack
            worth_it = int(np.count_nonzero(upper >= floor))
            if worth_it <= len(seen):
                return seen[(about >= floor) & (about <= high + self._slack)]
            hopeless = len(surely) >= k and worth_it * _WHOLE_SHARE > len(self)
            look_at = worth_it if hopeless else min(worth_it, _GROWTH * look_at)
        return rows


def _highest(values: Vectors, k: int) -> float:
    """The ``k``-th highest value, or the lowest where there are fewer."""
    place = max(0, len(values) - k)
    return float(np.partition(values, place)[place])


def _exact(query: Vectors, vectors: Vectors, rows: Keys) -> Vectors:
    """Similarities by float64 arithmetic, each row summed by itself, so that its place does not matter."""
    wide = query.astype(np.float64)
    sums = [
        (vectors[rows[start : start + _EXACT_ROWS]] * wide).sum(axis=1)
        for start in range(0, len(rows), _EXACT_ROWS)
    ]
    similarities: Vectors = np.clip(np.concatenate(sums), -1.0, 1.0).astype(np.float32)
    return similarities
