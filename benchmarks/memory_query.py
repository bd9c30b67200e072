"""The nearest ten among very many vectors, beside plain numpy on the same vectors in the same run.

The opt-in form builds the graph of a million and asks it: ``python -m benchmarks memory_query --million``, or
``python -m benchmarks.memory_query --vectors N --random M``. It takes 5 GB of memory.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from backend.cache.approximate_index import ApproximateIndex
from backend.cache.exact_index import ExactIndex
from backend.cache.vectors import Found, Keys, Vectors

T = TypeVar("T")
Row = tuple[str, str, str]

DIMENSION = 512
NEAREST = 10
MILLION = 1_000_000
RANDOM_BESIDE = 30_000
_BAND = (0.4, 0.7)
_THEME = 500
_PART = 10_000
_ASKED = 1000
_HANDED_IN = 1000
_EXACT_LIMIT = 100_000
"""As in config.yaml; of fewer vectors than that a tenth, so that there is a graph to be asked."""
_EVERY_S = 0.5
_GUARD_S = 6 * 3600.0


def dream_like(count: int, seed: int) -> Vectors:
    """Vectors ``[count, 512]`` as a matcher sees a dream: themes of 500 pictures, each like the last one.

    Directions weigh as in embeddings of pictures (a mean that all share, then ever less); two pictures of
    different themes are similar by 0.50 +- 0.17, two of one theme by 0.89.
    """
    rng = np.random.default_rng(seed)
    spread = (1.0 + np.arange(DIMENSION, dtype=np.float32)) ** -0.6
    spread /= np.linalg.norm(spread)
    turn = np.linalg.qr(rng.standard_normal((DIMENSION, DIMENSION)))[0].astype(np.float32)
    mean = rng.standard_normal(DIMENSION, np.float32) * spread
    mean /= np.linalg.norm(mean)
    rows = np.empty((count, DIMENSION), np.float32)
    for start in range(0, count, _THEME):
        steps = rng.standard_normal((min(_THEME, count - start), DIMENSION), np.float32) * spread
        for row in range(1, len(steps)):
            steps[row] = 0.95 * steps[row - 1] + np.float32(np.sqrt(1 - 0.95**2)) * steps[row]
        grain = rng.standard_normal(steps.shape, np.float32) * np.float32(0.1 / np.sqrt(DIMENSION))
        theme = mean + 0.9 * rng.standard_normal(DIMENSION, np.float32) * spread
        rows[start : start + len(steps)] = (theme + 0.5 * steps + grain) @ turn
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def random(count: int, seed: int) -> Vectors:
    """Vectors ``[count, 512]`` without any order."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, DIMENSION), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def queries(rows: Vectors, count: int) -> Vectors:
    """New pictures, each similar by about 0.98 to one that is there."""
    rng = np.random.default_rng(99)
    near = rows[rng.integers(0, len(rows), count)]
    near = near + rng.standard_normal(near.shape, np.float32) * np.float32(0.2 / np.sqrt(DIMENSION))
    return near / np.linalg.norm(near, axis=1, keepdims=True)


def plain(rows: Vectors, query: Vectors) -> Found:
    """What one writes first: a product with all, and a partition."""
    similarities = rows @ query
    nearest = np.argpartition(similarities, -NEAREST)[-NEAREST:]
    nearest = nearest[np.argsort(-similarities[nearest])]
    return nearest, similarities[nearest]


@dataclass(frozen=True)
class Compared:
    """Median milliseconds a query; whether all found the same."""

    ours_ms: float
    plain_ms: float
    product_ms: float
    band_ms: float
    same: bool


def compare(rows: Vectors, asked: Vectors) -> Compared:
    """Ours and plain numpy, in turns."""
    index = ExactIndex(DIMENSION)
    index.add_many(np.arange(len(rows)), rows)
    took: dict[str, list[float]] = {"ours": [], "plain": [], "product": [], "band": []}

    def timed(what: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        done = work()
        took[what].append(time.perf_counter() - start)
        return done

    same = True
    for query in asked:
        expected, similarities = timed("plain", lambda query=query: plain(rows, query))
        keys, found = timed("ours", lambda query=query: index.nearest(query, NEAREST))
        timed("product", lambda query=query: rows @ query)
        timed("band", lambda query=query: index.band(query, *_BAND, NEAREST))
        # Plain numpy may exchange two that differ by its own rounding.
        same = same and (
            set(keys.tolist()) == set(expected.tolist()) or bool(np.allclose(found, similarities, 0, 1e-6))
        )
    medians = {what: float(np.median(times)) * 1e3 for what, times in took.items()}
    return Compared(medians["ours"], medians["plain"], medians["product"], medians["band"], same)


@dataclass(frozen=True)
class Grown:
    """An index of very many, asked while and after it grew.

    Attributes:
        build_s: From the first vector handed in until all are in the graph.
        work_s: The processor's time for that, of all threads of this process.
        growing: Seconds that queries took while it grew.
        asked: The same afterwards.
        worked: The processor's share of those.
        plain_s: What a plain product takes, median.
        recall: Share of the true nearest ten that was found afterwards.
        graph_mb: What the graph says that it takes.
        memory_mb: What the process grew by, without the vectors that were handed in.
    """

    build_s: float
    work_s: float
    growing: tuple[float, ...]
    asked: tuple[float, ...]
    worked: tuple[float, ...]
    plain_s: float
    recall: float
    graph_mb: float
    memory_mb: float


def grow(rows: Vectors, asked: Vectors, exact_limit: int) -> Grown:
    """Hands in all rows, asks meanwhile, and asks again when the graph holds them."""
    truth = _nearest_of_all(rows, asked)
    before_mb, start, work_start = _rss_mb(), time.perf_counter(), time.process_time()
    index = ApproximateIndex(DIMENSION, exact_limit)

    def hand_in() -> None:
        for first in range(0, len(rows), _HANDED_IN):
            while not index.wait_for_room(_GUARD_S):
                pass
            part = slice(first, first + _HANDED_IN)
            index.add_many(np.arange(len(rows))[part], rows[part])

    handing = threading.Thread(target=hand_in)
    handing.start()
    growing = []
    while (handing.is_alive() or index.waiting) and time.perf_counter() - start < _GUARD_S:
        growing.append(_ask(index, asked[len(growing) % len(asked)])[1])
        time.sleep(_EVERY_S)
    build_s, work_s = time.perf_counter() - start, time.process_time() - work_start
    answers = [_ask(index, query) for query in asked]
    found = sum(len(keys & set(wished)) for (keys, *_), wished in zip(answers, truth.tolist(), strict=True))
    done = Grown(
        build_s=build_s,
        work_s=work_s,
        growing=tuple(growing),
        asked=tuple(took for _, took, _ in answers),
        worked=tuple(worked for *_, worked in answers),
        plain_s=_plain_s(rows, asked[:5]),
        recall=found / NEAREST / len(asked),
        graph_mb=index.graph_bytes / 2**20,
        memory_mb=_rss_mb() - before_mb,
    )
    index.close()
    return done


def _nearest_of_all(rows: Vectors, asked: Vectors) -> Keys:
    """The true nearest ten of each, ``[Q, 10]``, a part of the rows at a time."""
    keys = np.zeros((len(asked), NEAREST), np.int64)
    near = np.full((len(asked), NEAREST), -2.0, np.float32)
    for start in range(0, len(rows), _PART):
        part = asked @ rows[start : start + _PART].T
        both = np.hstack([near, part])
        best = np.argpartition(both, -NEAREST, axis=1)[:, -NEAREST:]
        names = np.hstack([keys, np.broadcast_to(np.arange(start, start + part.shape[1]), part.shape)])
        keys, near = np.take_along_axis(names, best, 1), np.take_along_axis(both, best, 1)
    return keys


def _plain_s(rows: Vectors, asked: Vectors) -> float:
    took = []
    for query in asked:
        start = time.perf_counter()
        plain(rows, query)
        took.append(time.perf_counter() - start)
    return float(np.median(took))


def _ask(index: ApproximateIndex, query: Vectors) -> tuple[set[int], float, float]:
    """What was found, the seconds that it took, and the processor's share of them."""
    start, work_start = time.perf_counter(), time.thread_time()
    keys, _ = index.nearest(query, NEAREST)
    worked, took = time.thread_time() - work_start, time.perf_counter() - start
    return set(keys.tolist()), took, worked


def _rss_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def table(quick: bool) -> list[Row]:
    """The rows for ``make bench``."""
    count = 20_000 if quick else 100_000
    made: list[Row] = []
    for name, rows, wished in (
        ("dream-like", dream_like(count, 1), "at least 1"),
        ("random", random(count, 1), "at least 0.8"),
    ):
        done = compare(rows, queries(rows, 40 if quick else 100))
        what, band = f"nearest 10 of {count:,} {name}", f"band {_BAND[0]}-{_BAND[1]} of {count:,} {name}"
        made += [
            (f"{what}, ms", f"{done.ours_ms:.2f}", ""),
            (f"{what}, plain numpy, ms", f"{done.plain_ms:.2f}", ""),
            (f"{what}, plain : ours", f"{done.plain_ms / done.ours_ms:.2f}", wished),
            (f"{what}, exact", "yes" if done.same else "NO", "yes"),
            (f"{band}, ms", f"{done.band_ms:.2f}", ""),
            (f"{band} : one product", f"{done.band_ms / done.product_ms:.2f}", "at most 1.5"),
        ]
    return made


def large(count: int, random_count: int) -> Iterator[Row]:
    """The rows of the opt-in form, as they come; 0 random ones for none."""
    for name, make, many in (("dream-like", dream_like, count), ("random", random, random_count)):
        if many:
            rows = make(many, 2)
            done = grow(rows, queries(rows, _ASKED), exact_limit=min(_EXACT_LIMIT, many // 10))
            yield from _large_rows(f"{many:,} {name}", done, name == "dream-like")


def _large_rows(what: str, done: Grown, judged: bool) -> list[Row]:
    asked, worked, growing = (np.array(times) * 1e3 for times in (done.asked, done.worked, done.growing))
    return [
        (f"{what}: recall@10", f"{done.recall:.4f}", "at least 0.98" if judged else ""),
        (f"{what}: p50, ms", f"{np.quantile(asked, 0.5):.2f}", ""),
        (f"{what}: p99, ms", f"{np.quantile(asked, 0.99):.2f}", "under 5" if judged else ""),
        (f"{what}: p99, ms of the processor", f"{np.quantile(worked, 0.99):.2f}", ""),
        (f"{what}: plain numpy, ms", f"{1e3 * done.plain_s:.1f}", ""),
        (f"{what}: while it grows, p50, ms", f"{np.quantile(growing, 0.5):.1f}", ""),
        (f"{what}: while it grows, p99, ms", f"{np.quantile(growing, 0.99):.1f}", ""),
        (f"{what}: while it grows, longest, ms", f"{growing.max():.0f}", ""),
        (f"{what}: build, s", f"{done.build_s:.0f}", ""),
        (f"{what}: build, s of the processor", f"{done.work_s:.0f}", ""),
        (f"{what}: memory of the graph, MB", f"{done.graph_mb:.0f}", ""),
        (f"{what}: memory that the process grew by, MB", f"{done.memory_mb:.0f}", ""),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.memory_query", description=__doc__)
    parser.add_argument("--vectors", type=int, default=MILLION, help="dream-like ones (default: %(default)s)")
    parser.add_argument(
        "--random",
        type=int,
        default=RANDOM_BESIDE,
        help="random ones, which take many times longer to build (default: %(default)s)",
    )
    args = parser.parse_args()
    for what, measured, wished in large(args.vectors, args.random):
        print(f"{what:<54}{measured:>18}   {wished}", flush=True)


if __name__ == "__main__":
    main()
