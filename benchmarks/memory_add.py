"""``python -m benchmarks.memory_add``: does adding to the memory grow with the number of entries?

Two memories, of few and of many entries, take the same pictures in turns, so that whatever else the machine
does falls on both. The nearest query, which has a benchmark of its own, is timed apart. Once with room, once
full, so that each addition evicts.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import logging
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.cache.manager import CacheManager
from backend.cache.matching import Identity
from backend.cache.memory_row import Added, Memory, NewMemory, Origin
from backend.cache.picture_files import picture_path
from backend.cache.policy import MemoryLimits, Policy
from backend.cache.store import MemoryStore, Near, Sizes
from backend.cache.vector_index import Found, Keys, VectorIndex, Vectors, open_index

FEW, MANY, DIMENSION = 10, 100_000, 512
IDENTITY = Identity("benchmark", "1", DIMENSION)
_EXACT_LIMIT = 200_000
_PICTURE_PX, _LATENT_BYTES = 512, 4 * 64 * 64 * 4
_READY_S = 600.0
_MOST_ADDS = DIMENSION // 2


@dataclass(frozen=True)
class Times:
    """What one memory takes, in milliseconds.

    Attributes:
        add: A whole addition but for its nearest queries; lower quartile, since the machine may be shared.
        work: The processor's share of that, median.
        query: The nearest queries, median.
        open: Until :meth:`CacheManager.open` returned.
        ready: Until all was loaded.
    """

    entries: int
    add: float
    work: float
    query: float
    open: float
    ready: float


@dataclass(frozen=True)
class _Took:
    """One addition, in seconds."""

    add_s: float
    work_s: float
    query_s: float


class _Timed:
    """An index that knows how long it was asked."""

    def __init__(self, inner: VectorIndex) -> None:
        self._inner = inner
        self.asked_s = self.worked_s = 0.0

    @property
    def problem(self) -> str | None:
        return self._inner.problem

    def add(self, key: int, vector: Vectors) -> None:
        self._inner.add(key, vector)

    def add_many(self, keys: Keys, vectors: Vectors) -> None:
        self._inner.add_many(keys, vectors)

    def wait_for_room(self, timeout_s: float) -> bool:
        return self._inner.wait_for_room(timeout_s)

    def remove(self, key: int) -> None:
        self._inner.remove(key)

    def nearest(self, vector: Vectors, k: int) -> Found:
        began, work_began = time.perf_counter(), time.thread_time()
        try:
            return self._inner.nearest(vector, k)
        finally:
            self.worked_s += time.thread_time() - work_began
            self.asked_s += time.perf_counter() - began

    def band(self, vector: Vectors, low: float, high: float, k: int) -> Found:
        return self._inner.band(vector, low, high, k)

    def __len__(self) -> int:
        return len(self._inner)

    def close(self) -> None:
        self._inner.close()


def compare(*, many: int = MANY, adds: int = 100, full: bool, durable: bool = True) -> tuple[Times, Times]:
    """Times of adding to few and to many."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        memories = [
            stack.enter_context(_opened(Path(folder) / str(entries), entries, full=full, durable=durable))
            for entries in (FEW, many)
        ]
        took: list[list[_Took]] = [[], []]
        for number in range(min(adds, _MOST_ADDS)):
            one = _new(number)
            turns = list(zip(memories, took, strict=True))
            for (memory, index, _, _), times in turns if number % 2 else reversed(turns):
                times.append(_timed_add(memory, index, one))
        return tuple(  # type: ignore[return-value]
            Times(
                entries,
                statistics.quantiles([one.add_s for one in times], n=4)[0] * 1e3,
                statistics.median(one.work_s for one in times) * 1e3,
                statistics.median(one.query_s for one in times) * 1e3,
                open_s * 1e3,
                ready_s * 1e3,
            )
            for entries, (_, _, open_s, ready_s), times in zip((FEW, many), memories, took, strict=True)
        )


def _timed_add(memory: CacheManager, index: _Timed, one: NewMemory) -> _Took:
    index.asked_s = index.worked_s = 0.0
    began, work_began = time.perf_counter(), time.thread_time()
    outcome = memory.add(one)
    work_s, add_s = time.thread_time() - work_began, time.perf_counter() - began
    assert isinstance(outcome, Added), outcome
    return _Took(add_s - index.asked_s, work_s - index.worked_s, index.asked_s)


@contextmanager
def _opened(
    folder: Path, entries: int, *, full: bool, durable: bool
) -> Iterator[tuple[CacheManager, _Timed, float, float]]:
    _fill(folder, entries)
    index = _Timed(open_index(DIMENSION, _EXACT_LIMIT))
    limits = MemoryLimits(entries if full else 2 * MANY, 10**12)
    began = time.perf_counter()
    memory = CacheManager.open(
        folder,
        identity=IDENTITY,
        limits=limits,
        policy=Policy(admit_below=1.1),
        index=lambda _: index,
        durable=durable,
    )
    with memory:
        open_s = time.perf_counter() - began
        assert memory.wait_ready(_READY_S), memory.problem
        yield memory, index, open_s, time.perf_counter() - began


def _fill(folder: Path, entries: int) -> None:
    """Rows without files, which adding does not look at."""
    folder.mkdir()
    store = MemoryStore(folder, threading.RLock(), durable=False)
    random = np.random.default_rng(entries)
    for start in range(0, entries, 5_000):
        vectors = random.normal(size=(min(5_000, entries - start), DIMENSION))
        vectors[:, _MOST_ADDS:] = 0.0  # where the new ones lie, so that they are never the more redundant
        with store.transaction():
            store.rebuilding(False)
            for offset, vector in enumerate(_unit(vectors)):
                key = start + offset
                near = Near(round(float(random.uniform(0.3, 0.9)), 3), int(random.integers(1, entries + 1)))
                store.insert(
                    _row(key, float(random.random())), Sizes(400_000, 65_000, 4 * DIMENSION), vector, near
                )
    store.close()


def _row(number: int, score: float) -> Memory:
    name = hashlib.sha256(b"%d" % number).hexdigest()
    return Memory(
        id=name,
        added_at="2026-01-01T00:00:00.000Z",
        theme="sea",
        prompt="a long wave under a low sun, oil on canvas, " * 6,
        negative="text, watermark",
        seed=number,
        parents=(str(number - 1),),
        denoise=0.4,
        score=score,
        shows_prompt=None,
        origin=Origin.DREAMT,
        pinned=False,
        times_shown=0,
        last_shown_at=None,
        picture=picture_path(name, ".png"),
        latent=None,
        width=_PICTURE_PX,
        height=_PICTURE_PX,
        identity=IDENTITY,
    )


def _new(number: int) -> NewMemory:
    random = np.random.default_rng(1_000_000 + number)
    coarse = random.integers(0, 255, (_PICTURE_PX // 4, _PICTURE_PX // 4, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((_PICTURE_PX, _PICTURE_PX)).save(file, "PNG", compress_level=1)
    return NewMemory(
        picture=file.getvalue(),
        latent=random.bytes(_LATENT_BYTES),
        embedding=np.eye(1, DIMENSION, _MOST_ADDS + number, dtype=np.float32)[0],
        identity=IDENTITY,
        score=0.5 + number / DIMENSION,  # and each is worth more than the one before
        theme="sea",
        prompt="a long wave under a low sun, oil on canvas, " * 6,
    )


def _unit(vectors: NDArray[np.float64]) -> Vectors:
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.memory_add", description=__doc__)
    parser.add_argument("--many", type=int, default=MANY, help="entries of the larger memory")
    parser.add_argument("--adds", type=int, default=100, help=f"additions to each, at most {_MOST_ADDS}")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    print(f"{'':<22}{'entries':>10}{'add ms':>9}{'work ms':>9}{'query ms':>10}{'open ms':>9}{'ready ms':>10}")
    for full in (False, True):
        for durable in (True, False):
            few, many = compare(many=args.many, adds=args.adds, full=full, durable=durable)
            what = f"{'full' if full else 'with room'}, {'fsync' if durable else 'no fsync'}"
            for one in (few, many):
                print(
                    f"{what:<22}{one.entries:>10,}{one.add:>9.2f}{one.work:>9.2f}{one.query:>10.2f}"
                    f"{one.open:>9.1f}{one.ready:>10.0f}"
                )
            print(
                f"{'':<22}{'many:few':>10}{many.add / few.add:>9.2f}{many.work / few.work:>9.2f}", flush=True
            )


if __name__ == "__main__":
    main()
