"""Does the memory cure collapse? The same dreams with memory and without, judged by who had no part in them.

The detector and the policy see pictures through the perceptual matcher; the judge (`memory_judge.py`) sees
them otherwise, and all of them that a dream showed (`memory_case.py`).
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.memory_case import Case, Run, run, themes
from benchmarks.memory_judge import Cured, Judge, curve

THEMES = ("aurora", "deep sea", "dunes", "embers", "frost")
"""The first five in order, one for each seed: none is chosen by what it gives."""
SEEDS = (301, 302, 303, 304, 305)
"""Not those that anything was calibrated or tuned with (below 10)."""


def compare(case: Case) -> Cured:
    """The same dream with memory and without."""
    return Cured(run(case, memory=True), run(case.without_memory, memory=False), Judge.of(case.words()))


def quick() -> Cured:
    """One seed, some keyframes, few frames between them: a few seconds."""
    return compare(Case(THEMES[:1], SEEDS[0], keyframes=50, fps=3, decoded=4))


def rows_of(seeds: Sequence[int], keyframes: int) -> dict[str, list[Case]]:
    """All that is to be dreamt, by the names of the rows."""
    themed = list(zip(THEMES, seeds, strict=False))
    one = [Case((theme,), seed, keyframes=keyframes) for theme, seed in themed]
    return {
        "one theme, empty memory": one,
        "one theme, 20 seed pictures": [replace(case, seeds=2) for case in one],
        "one theme of one prompt, empty memory": [replace(case, alone=True) for case in one],
        "one theme, prompts in turn, empty memory": [replace(case, turning=True) for case in one],
        "rotating themes, empty memory": [
            Case(tuple(themes()), seed, turning=True, keyframes=keyframes) for _, seed in themed
        ],
    }


def dreamt(
    rows: Mapping[str, Sequence[Case]], jobs: int = 1, keep: Path | None = None
) -> dict[str, list[Cured]]:
    """Every case with memory and without; a dream without is had once for all rows that share it.

    Args:
        jobs: Dreams at a time.
        keep: Folder where each dream is kept; those that lie there are not dreamt again.
    """
    on = list(dict.fromkeys(case for cases in rows.values() for case in cases))
    off = list(dict.fromkeys(case.without_memory for case in on))
    wanted = [*((case, False) for case in off), *((case, True) for case in on)]
    with ProcessPoolExecutor(jobs) as pool:
        runs = dict(zip(wanted, pool.map(partial(_run, keep), wanted), strict=True))
    judge = cache(Judge.of)
    return {
        name: [
            Cured(runs[case, True], runs[case.without_memory, False], judge(tuple(case.words())))
            for case in cases
        ]
        for name, cases in rows.items()
    }


def kept_name(case: Case, memory: bool) -> str:
    """The file of a dream that is kept; hours of dreams lie under such names, so they stay as they are."""
    told = hashlib.sha256(repr((case, memory)).encode()).hexdigest()[:16]
    return f"{case.seed}-{'on' if memory else 'off'}-{told}.npz"


def _run(keep: Path | None, wanted: tuple[Case, bool]) -> Run:
    case, memory = wanted
    if keep is None:
        return run(case, memory)
    path = keep / kept_name(case, memory)
    if not path.exists():
        run(case, memory).save(path)
    return Run.load(path)


def table(found: Mapping[str, Sequence[Cured]]) -> list[tuple[str, str, str]]:
    """What was measured beside what is wished."""
    told: list[tuple[str, str, str]] = []
    for name, cured in found.items():
        many = "at least 3" if name in ("one theme, empty memory", "one theme, 20 seed pictures") else ""
        pairs = [(one.judge.distinct(one.off)[0], one.judge.distinct(one.on)[0]) for one in cured]
        off, on = (float(np.mean(side)) for side in zip(*pairs, strict=True))
        told += [
            (f"{name}: distinct pictures, off -> on", f"{off:.2f} -> {on:.2f}", ""),
            (f"{name}: on : off, mean (least)", _mean(one.ratio for one in cured), many),
            (f"{name}: the same by edges", _mean(one.edge_ratio for one in cured), ""),
            (f"{name}: keyframes touched", f"{max(one.share for one in cured):.3f}", "at most 0.15"),
            (
                f"{name}: largest shown step, on : off",
                _mean((one.shown_ratio for one in cured), max),
                "at most 1.2",
            ),
            (f"{name}: largest keyframe step", _mean((one.keyframe_ratio for one in cured), max), ""),
            (f"{name}: time in turns", f"{np.mean([one.on.touched_time for one in cured]):.2f}", ""),
            (f"{name}: dreamt beside the loop", f"{np.mean([one.on.fresh for one in cured]):.1f}", ""),
        ]
    return told


def _mean(values: Iterable[float], worst: type[min] = min) -> str:
    found = list(values)
    return f"{np.mean(found):.2f} ({worst(found):.2f})"


def rows(quick: bool) -> list[tuple[str, str, str]]:
    """The table of ``make bench``: all of it (hours), or two rows of one seed with fewer frames."""
    if not quick:
        return table(dreamt(rows_of(SEEDS, 1000)))
    short = rows_of(SEEDS[:1], 300)
    looked_at = {name: short[name] for name in ("one theme, empty memory", "rotating themes, empty memory")}
    return table(
        dreamt({name: [replace(case, fps=4) for case in cases] for name, cases in looked_at.items()})
    )


def plot(rows: Mapping[str, Sequence[Cured]], path: Path) -> None:
    """The curves of the first two rows, each the mean over the seeds, as a small PNG."""
    image = Image.new("RGB", (720, 300), "#101418")
    pen = ImageDraw.Draw(image)
    names = list(rows)[:2]
    curves = {"memory off": ("#8a929c", [curve(one.off, one.judge) for one in rows[names[0]]])}
    for name, colour in zip(names, ("#5fb3d9", "#f2b463"), strict=False):
        label = "memory on, " + name.removeprefix("one theme, ")
        curves[label] = (colour, [curve(one.on, one.judge) for one in rows[name]])
    means = {name: np.mean(all_of, axis=0) for name, (_, all_of) in curves.items()}
    top, right = (
        max(float(one[:, 1].max()) for one in means.values()) * 1.08,
        max(one[-1, 0] for one in means.values()),
    )
    for value in range(int(top) + 1):
        y = 260 - 230 * value / top
        pen.line((50, y, 700, y), fill="#242a31")
        pen.text((28, y - 6), str(value), fill="#8a929c")
    for value in range(0, int(right) + 1, 200):
        pen.text((45 + 650 * value / right, 266), str(value), fill="#8a929c")
    pen.text(
        (50, 282),
        f"keyframes; distinct pictures among the newest 100 (Vendi score); {len(rows[names[0]])} seeds",
        fill="#c8ced6",
    )
    for at, (name, points) in enumerate(means.items()):
        colour = curves[name][0]
        line = [(50 + 650 * x / right, 260 - 230 * y / top) for x, y in points]
        pen.line(line, fill=colour, width=2)
        pen.text((60 + 215 * at, 10), name, fill=colour)
    image.quantize(64).save(path, optimize=True)


def main() -> None:
    """Everything, and the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="dreams at a time")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--keyframes", type=int, default=1000)
    parser.add_argument("--fps", type=int, default=10, help="fewer frames a gap are dreamt sooner")
    parser.add_argument("--rows", nargs="+", help="only rows whose names hold one of these")
    parser.add_argument("--keep", type=Path, help="folder of dreams that need not be dreamt again")
    parser.add_argument("--plot", type=Path, help="draw the curves of the first two rows")
    args = parser.parse_args()
    wanted = {
        name: [replace(case, fps=args.fps) for case in cases]
        for name, cases in rows_of(args.seeds, args.keyframes).items()
    }
    if args.rows:
        wanted = {name: cases for name, cases in wanted.items() if any(part in name for part in args.rows)}
    found = dreamt(wanted, args.jobs, args.keep)
    for what, measured, wished in table(found):
        print(f"{what:<64}{measured:>18}   {wished}", flush=True)
    if args.plot:
        plot(found, args.plot)


if __name__ == "__main__":
    main()
