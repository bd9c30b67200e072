"""An index for more vectors than can be looked at one by one."""

from __future__ import annotations

import logging
import threading

import numpy as np

from backend.cache.exact_index import ExactIndex
from backend.cache.vector_graph import VectorGraph
from backend.cache.vectors import Found, Keys, Vectors, best, checked, joined

_log = logging.getLogger(__name__)

_STEP_VECTORS = 16
"""Moved at a time; whoever adds meanwhile waits for them, a few ms. Whoever asks does not."""

_BREATH_S = 0.0005
"""Between two steps, that those who wait to add get their turn."""

_PART = 256
"""Vectors that are taken in at a time; whoever asks meanwhile waits for them, a few ms."""

_AFTER_FAILURE_S = 30.0

_WAITING_LIMIT = 4096
"""Once there is a graph, whoever brings very many vectors lets no more of them wait for it than these: each
question looks through those that wait."""

_END_S = 60.0

_BAND_LOOK = 1024
"""So many of the nearest are looked through for those within a band."""

_SAMPLE_SHARE = 32
"""One in so many vectors of the graph is kept for bands far away from the nearest."""


class ApproximateIndex:
    """Exact up to a limit; beyond it, vectors move into a graph (HNSW) in the background.

    Those that wait for it are searched exactly, and what is found in both places is merged: a vector is found
    from the moment it is added, and no longer once it is removed. Once the limit was passed, the graph stays.
    Similarities of what is in the graph are those of half precision, right to about 1e-4.

    Whoever asks does not wait for those who add, remove or move. That nothing is missed meanwhile is a matter
    of order: a vector is put where it goes before it is taken from where it was, and that is looked at first.

    In the graph a band is no longer answered with the most similar within it, but with some of them: from the
    1,024 nearest, and from a fixed sample of the others, one in 32.
    """

    def __init__(self, dimension: int, exact_limit: int, *, threaded: bool = True) -> None:
        """
        Args:
            dimension: Of the vectors.
            exact_limit: The graph is begun with the first vector beyond so many.
            threaded: Whether a thread takes the steps; if not, whoever made the index calls :meth:`turn`.
        """
        self.dimension = dimension
        self._problem: str | None = None
        self._exact_limit = exact_limit
        self._threaded = threaded
        self._changing = threading.Lock()
        self._room = threading.Condition(self._changing)
        self._work = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._graph: VectorGraph | None = None
        self._rest = ExactIndex(dimension)
        self._sample = ExactIndex(dimension)

    def __len__(self) -> int:
        with self._changing:
            return len(self._rest) + (0 if self._graph is None else len(self._graph))

    @property
    def problem(self) -> str | None:
        """Why the graph does not grow; everything is answered all the same, more slowly."""
        why = self._problem
        return None if why is None else f"the index of very many memories does not grow: {why}"

    @property
    def waiting(self) -> int:
        """Vectors that will move into the graph."""
        return 0 if self._graph is None else len(self._rest)

    @property
    def graph_bytes(self) -> int:
        """Memory that the graph takes, vectors included."""
        return 0 if self._graph is None else self._graph.memory_bytes

    def add(self, key: int, vector: Vectors) -> None:
        """See :class:`~backend.cache.vector_index.VectorIndex`."""
        self.add_many(np.array([key]), np.asarray(vector)[None])

    def add_many(self, keys: Keys, vectors: Vectors) -> None:
        """See :class:`~backend.cache.vector_index.VectorIndex`."""
        keys, vectors = checked(self.dimension, keys, vectors)
        for start in range(0, len(keys), _PART):
            part = slice(start, start + _PART)
            with self._changing:
                self._rest.add_many(keys[part], vectors[part])
                for key in keys[part].tolist():
                    self._drop(key)
                self._begin_graph()
        self._work.set()

    def wait_for_room(self, timeout_s: float) -> bool:
        """See :class:`~backend.cache.vector_index.VectorIndex`."""
        with self._changing:
            return self._room.wait_for(self._has_room, timeout_s)

    def remove(self, key: int) -> None:
        """See :class:`~backend.cache.vector_index.VectorIndex`."""
        with self._changing:
            self._rest.remove(key)
            self._drop(key)

    def nearest(self, vector: Vectors, k: int) -> Found:
        """See :class:`~backend.cache.vector_index.VectorIndex`."""
        found = self._rest.nearest(vector, k)
        if self._graph is None or k < 1:
            return found
        return best(joined(found, self._graph.nearest(vector, k)), k)

    def band(self, vector: Vectors, low: float, high: float, k: int) -> Found:
        """Up to ``k`` with ``low <= similarity <= high``; the most similar of them while all is exact."""
        found = self._rest.band(vector, low, high, k)
        if self._graph is None or k < 1:
            return found
        keys, near = self._graph.nearest(vector, max(k, _BAND_LOOK))
        far = self._sample.band(vector, low, high, k)
        inside = (near >= low) & (near <= high)
        return best(joined(found, (keys[inside], near[inside]), far), k)

    def turn(self) -> int:
        """Move a few vectors into the graph; how many were moved."""
        with self._changing:
            if self._graph is None:
                return 0
            keys, vectors = self._rest.newest(_STEP_VECTORS)
            self._graph.add(keys, vectors)
            sampled = keys % _SAMPLE_SHARE == 0
            self._sample.add_many(keys[sampled], vectors[sampled])
            for key in keys[::-1].tolist():
                self._rest.remove(key)
            self._room.notify_all()
            return len(keys)

    def close(self) -> None:
        """End the thread; a step that has begun is finished."""
        self._closed.set()
        self._work.set()
        with self._changing:
            self._room.notify_all()
        if self._thread:
            self._thread.join(timeout=_END_S)

    def _has_room(self) -> bool:
        stuck = not self._threaded or self._problem is not None or self._closed.is_set()
        return stuck or self._graph is None or len(self._rest) < _WAITING_LIMIT

    def _begin_graph(self) -> None:
        if self._graph is not None or len(self._rest) <= self._exact_limit:
            return
        self._graph = VectorGraph(self.dimension)
        if self._threaded:
            self._thread = threading.Thread(target=self._run, name="vector-graph", daemon=True)
            self._thread.start()

    def _drop(self, key: int) -> None:
        """Forget a key of the graph."""
        if self._graph is not None:
            self._graph.remove(key)
            self._sample.remove(key)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                pause_s = self._step()
            except Exception as error:  # noqa: BLE001 - the top of the thread: the exact rest goes on answering
                _log.exception("The graph of vectors does not grow; trying again in %.0f s", _AFTER_FAILURE_S)
                self._problem, pause_s = str(error) or type(error).__name__, _AFTER_FAILURE_S
            self._closed.wait(pause_s)

    def _step(self) -> float:
        """One turn, or a wait for something to do; how long to rest afterwards (s)."""
        self._work.clear()
        if self.turn():
            self._problem = None
        else:
            self._work.wait(_AFTER_FAILURE_S)
        return _BREATH_S
