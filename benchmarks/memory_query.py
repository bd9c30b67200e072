"""The nearest ten among very many vectors, beside plain numpy on the same vectors in the same run.

The opt-in form asks the graph of a million: ``python -m benchmarks.memory_query --vectors 1000000``.
"""

from __future__ import annotations

import argparse
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.cache.approximate_index import ApproximateIndex
from backend.cache.exact_index import ExactIndex
from backend.cache.vectors import Found, Vectors

DIMENSION = 512
NEAREST = 10
_THEME = 500
_PART = 10_000
_GUARD_S = 3600.0


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
    band_ms: float
    same: bool


def compare(rows: Vectors, asked: Vectors) -> Compared:
    """Ours and plain numpy, in turns."""
    index = ExactIndex(DIMENSION)
    index.add_many(np.arange(len(rows)), rows)
    ours, bare, bands, same = [], [], [], True
    for query in asked:
        start = time.perf_counter()
        expected, similarities = plain(rows, query)
        bare.append(time.perf_counter() - start)
        start = time.perf_counter()
        keys, found = index.nearest(query, NEAREST)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        index.band(query, 0.4, 0.7, NEAREST)
        bands.append(time.perf_counter() - start)
        # Plain numpy may exchange two that differ by its own rounding.
        same = same and (
            set(keys.tolist()) == set(expected.tolist()) or bool(np.allclose(found, similarities, 0, 1e-6))
        )
    return Compared(*(float(np.median(times)) * 1e3 for times in (ours, bare, bands)), same)


@dataclass(frozen=True)
class Grown:
    """An index of very many, asked while and after it grew.

    Attributes:
        build_s: From the first vector handed in until all are in the graph.
        growing_p99_ms: Of queries while it grew.
        p50_ms: Of queries afterwards, as are ``p99_ms`` and ``recall``.
        memory_mb: What the process grew by, without the vectors that were handed in.
    """

    build_s: float
    growing_p99_ms: float
    growing_max_ms: float
    p50_ms: float
    p99_ms: float
    recall: float
    memory_mb: float


def grow(rows: Vectors, asked: Vectors, exact_limit: int = 100_000) -> Grown:
    """Hands in all rows, asks meanwhile, and asks again when the graph holds them."""
    truth = [set(plain(rows, query)[0].tolist()) for query in asked]
    before_mb, start = _rss_mb(), time.perf_counter()
    index = ApproximateIndex(DIMENSION, exact_limit)

    def hand_in() -> None:
        for first in range(0, len(rows), _PART):
            part = slice(first, first + _PART)
            index.add_many(np.arange(len(rows))[part], rows[part])

    handing = threading.Thread(target=hand_in)
    handing.start()
    growing = []
    while (handing.is_alive() or index.waiting) and time.perf_counter() - start < _GUARD_S:
        growing.append(_ask(index, asked[len(growing) % len(asked)])[1])
        time.sleep(0.1)
    build_s = time.perf_counter() - start
    answers = [_ask(index, query) for query in asked]
    found = sum(len(keys & wished) for (keys, _), wished in zip(answers, truth, strict=True))
    times = [took for _, took in answers]
    memory_mb = _rss_mb() - before_mb
    index.close()
    return Grown(
        build_s=build_s,
        growing_p99_ms=float(np.quantile(growing, 0.99)) * 1e3,
        growing_max_ms=max(growing) * 1e3,
        p50_ms=float(np.quantile(times, 0.5)) * 1e3,
        p99_ms=float(np.quantile(times, 0.99)) * 1e3,
        recall=found / NEAREST / len(asked),
        memory_mb=memory_mb,
    )


def _ask(index: ApproximateIndex, query: Vectors) -> tuple[set[int], float]:
    start = time.perf_counter()
    keys, _ = index.nearest(query, NEAREST)
    took = time.perf_counter() - start
    return set(keys.tolist()), took


def _rss_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def table(quick: bool) -> list[tuple[str, str, str]]:
    """The rows for ``make bench``."""
    count = 20_000 if quick else 100_000
    made: list[tuple[str, str, str]] = []
    for name, rows, wished in (
        ("dream-like", dream_like(count, 1), "at least 1"),
        ("random", random(count, 1), ""),
    ):
        done = compare(rows, queries(rows, 20 if quick else 100))
        what = f"nearest 10 of {count:,} {name}"
        made += [
            (f"{what}, ms", f"{done.ours_ms:.2f}", ""),
            (f"{what}, plain numpy, ms", f"{done.plain_ms:.2f}", ""),
            (f"{what}, plain : ours", f"{done.plain_ms / done.ours_ms:.2f}", wished),
            (f"{what}, exact", "yes" if done.same else "NO", "yes"),
            (f"band 0.4-0.7 of {count:,} {name}, ms", f"{done.band_ms:.2f}", ""),
        ]
    return made


def large_table(count: int, with_random: bool) -> None:
    """Prints the rows of the opt-in form, as they come."""
    for name, make in (("dream-like", dream_like), ("random", random))[: 1 + with_random]:
        rows = make(count, 2)
        done = grow(rows, queries(rows, 1000))
        what, wish = f"{count:,} {name}", name == "dream-like"
        for row, measured, wished in (
            (f"{what}: recall@10", f"{done.recall:.4f}", "at least 0.98" if wish else ""),
            (f"{what}: p50, ms", f"{done.p50_ms:.2f}", ""),
            (f"{what}: p99, ms", f"{done.p99_ms:.2f}", "under 5" if wish else ""),
            (f"{what}: p99 while it grows, ms", f"{done.growing_p99_ms:.1f}", ""),
            (f"{what}: longest while it grows, ms", f"{done.growing_max_ms:.0f}", ""),
            (f"{what}: build, s", f"{done.build_s:.0f}", ""),
            (f"{what}: memory, MB", f"{done.memory_mb:.0f}", ""),
        ):
            print(f"{row:<54}{measured:>18}   {wished}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.memory_query", description=__doc__)
    parser.add_argument("--vectors", type=int, default=1_000_000, help="how many (default: %(default)s)")
    parser.add_argument(
        "--random", action="store_true", help="random ones too, which take far longer to build"
    )
    args = parser.parse_args()
    large_table(args.vectors, args.random)


if __name__ == "__main__":
    main()
