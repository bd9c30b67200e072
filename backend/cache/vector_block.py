"""A few thousand unit vectors, each with a short form that bounds their similarities.

Reading 512 floats a vector is what an exact query costs. Pictures of one dream lie near a plane of few
directions, so each block keeps, for each vector ``x``, its coordinates ``a`` in such a plane and the length
``r`` of what sticks out of it. For a query with coordinates ``b`` and ``s`` sticking out, Cauchy and Schwarz
say ``|x . q - a . b| <= r s``: one short product tells which vectors cannot be among the nearest.
Where the vectors fill all directions alike the bound excludes nothing, and is still true.
"""

from __future__ import annotations

import numpy as np

from backend.cache.vectors import Keys, Vectors

ROWS = 4096
"""Vectors a block: 8 MB of 512-d ones, of which untouched pages cost nothing."""

_REFIT_AFTER = ROWS // 4
"""The plane is laid anew after so many writes, that it follows the dream."""

_PLANE_SHARE = 16
"""The plane has one direction for so many dimensions: with 32 of 512, bounds of dream-like vectors leave some
tens of 100,000 to be looked at (measured; 64 leave a third fewer and cost more than they spare)."""

_MIN_DIRECTIONS = 4

_FIT_BY = 1024
"""Rows that the plane is laid through: as good as all of them, and four times as fast."""
_POWER_STEPS = 2


class Block:
    """Rows 0 to ``count`` are held; the rest is room. Not thread-safe."""

    def __init__(self, room: Vectors) -> None:
        """Takes the memory for its vectors, ``[ROWS, D]``."""
        self.vectors = room
        self.keys: Keys = np.empty(ROWS, np.int64)
        self.count = 0
        directions = room.shape[1] // _PLANE_SHARE
        self._basis: Vectors | None = None
        # One row a direction: read in order, the product takes half the time of the other way round.
        self._short: Vectors = np.empty(
            (directions + 1, ROWS if directions >= _MIN_DIRECTIONS else 0), np.float32
        )
        self._written = 0

    def write(self, row: int, keys: Keys, vectors: Vectors) -> None:
        """Put vectors ``[n, D]`` into the rows from ``row`` on."""
        rows = slice(row, row + len(keys))
        self.vectors[rows], self.keys[rows] = vectors, keys
        self.count = max(self.count, rows.stop)
        self._written += len(keys)
        if self._written >= _REFIT_AFTER and self._short.size:
            self._refit()
        elif self._basis is not None:
            self._short[:, rows] = _shortened(vectors, self._basis)

    def bounds(self, query: Vectors, side: float, out: Vectors) -> None:
        """Into ``out`` of shape ``[count]``, what the similarities do not pass but by rounding.

        Args:
            query: A unit vector.
            side: 1 for bounds from above, -1 for bounds from below.
            out: Where they go.
        """
        if self._basis is None:
            np.dot(self.vectors[: self.count], query, out=out)
            return
        short = _shortened(query[None], self._basis)[:, 0]
        short[-1] *= side
        np.dot(short, self._short[:, : self.count], out=out)

    def _refit(self) -> None:
        """Lay the plane through the rows: subspace iteration (Halko, Martinsson and Tropp, 2011)."""
        rows = self.vectors[: self.count]
        some = np.ascontiguousarray(rows[:: max(1, self.count // _FIT_BY)])
        shape = (rows.shape[1], len(self._short) - 1)
        basis = np.random.default_rng(0).standard_normal(shape, np.float32)
        for _ in range(_POWER_STEPS):
            basis = np.linalg.qr(some.T @ (some @ basis))[0]
        self._basis = np.ascontiguousarray(basis.T)
        self._short[:, : self.count] = _shortened(rows, self._basis)
        self._written = 0


def _shortened(vectors: Vectors, basis: Vectors) -> Vectors:
    """Coordinates of ``[n, D]`` in the plane and the length of what sticks out: ``[directions + 1, n]``."""
    if (
        len(vectors) == 1
    ):  # a product would wait for numpy's other threads, and so for whoever has their cores
        inside = np.vecdot(basis, vectors)[None]
        in_plane = np.einsum("nd,dj->nj", inside, basis)
    else:
        inside = vectors @ basis.T
        in_plane = inside @ basis
    return np.vstack([inside.T, np.linalg.norm(vectors - in_plane, axis=1)])
