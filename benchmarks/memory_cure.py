"""Does the memory cure collapse? The real loop on the embedded painter, with memory and without.

The detector and the policy see pictures through the perceptual matcher. The judge sees them otherwise: as
thumbnails of 16x16 squares in Oklab, and as directions of edges. How many distinct pictures there are is told
by the Vendi score, in which two pictures count as two when they differ as much as two pictures do that are
painted afresh from the same words. How softly the dream turns is told by the largest step from one shown
frame to the next, thumbnails again, over the gaps that turn farthest and those that move fastest.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from backend.engine.painting import Pixels
from backend.interpolation.spherical_lerp import angle_between
from benchmarks.distinct import edge_directions, thumbnail, vendi
from benchmarks.painted_engine import Painting, Words
from benchmarks.virtual_dream import Told, Wishes, dream, shown_steps

Floats = NDArray[np.float64]

ROOT = Path(__file__).resolve().parent.parent
SIZE = (192, 112)
JUDGED = 300
"""The newest keyframes of a run, over which distinct pictures are counted."""
THEMES = ("aurora", "deep sea", "dunes", "embers", "frost")
"""The first five in order, one for each seed: none is chosen by what it gives."""
SEEDS = (301, 302, 303, 304, 305)
"""Not those that anything was calibrated or tuned with (below 10)."""
DENOISE = 0.1
"""Here the painter's loop keeps 2 or 3 distinct pictures of the 30 that the words allow; at 0.45, 15."""

_FRESH = 32
_ALIKE = 24
"""Gaps at the beginning in which nothing can be folded in yet: the detector's window."""
_QUICK_DISK = "/dev/shm" if Path("/dev/shm").is_dir() else None
_BESIDE_S = 60
_THEME_S = 300


@dataclass(frozen=True)
class Case:
    """One dream to be had with memory and without.

    Attributes:
        themes: Their names, in the order in which they come.
        turning: Whether prompts and themes change, as config.yaml says; else the first prompt stays for ever.
        seeds: Pictures of somebody's own that the memory begins with, of each theme that there is.
        alone: Whether the theme has no other prompt than the first.
        decoded: Gaps of which every frame is looked at, half of them those that turn farthest.
    """

    themes: tuple[str, ...]
    seed: int
    turning: bool = False
    seeds: int = 0
    alone: bool = False
    denoise: float = DENOISE
    keyframes: int = 1000
    fps: int = 10
    decoded: int = 80

    @property
    def without_memory(self) -> Case:
        """The same dream where nothing is remembered: whatever the memory begins with, and other prompts."""
        return replace(self, seeds=0, alone=False)

    def words(self) -> list[Words]:
        """All that is dreamt of."""
        prompts = [themes()[name] for name in self.themes]
        return [one for of_theme in prompts for one in (of_theme if self.turning else of_theme[:1])]


@cache
def themes() -> dict[str, list[Words]]:
    """Names of the shipped themes with their prompts."""
    read = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "prompts").glob("*.yaml"))]
    return {one["name"]: [(text, one["negative"]) for text in one["positive"]] for one in read}


@dataclass(frozen=True)
class Run:
    """What one dream showed.

    Attributes:
        thumbnails: Of the keyframes, ``[N, 768]``.
        edges: ``[N, 128]``.
        touched: For each keyframe, whether something was folded into it.
        shown: The largest step from one shown frame to the next.
        touched_time: Share of the shown time that leads to touched keyframes.
        levels: The detector's, where there was one.
        reasons: A sentence for each injection.
        decided: For each injection, the place of the keyframe on which it was decided.
        fresh: Pictures that were dreamt beside the loop.
    """

    thumbnails: Floats
    edges: Floats
    touched: NDArray[np.bool_]
    shown: float
    touched_time: float
    levels: tuple[float, ...]
    reasons: tuple[str, ...]
    decided: tuple[int, ...]
    fresh: int

    def steps(self) -> Floats:
        """From keyframe to keyframe."""
        return np.sqrt(((self.thumbnails[1:] - self.thumbnails[:-1]) ** 2).mean(1))

    def save(self, path: Path) -> None:
        """Keep it, so that an hour of dreams can be had in pieces."""
        np.savez_compressed(path, **asdict(self))

    @classmethod
    def load(cls, path: Path) -> Run:
        """One that was kept."""
        with np.load(path, allow_pickle=False) as kept:
            found = {name: kept[name] for name in kept.files}
        plain = {name: value.tolist() for name, value in found.items() if value.ndim == 0}
        told = {name: tuple(found[name].tolist()) for name in ("levels", "reasons", "decided")}
        return cls(**found | plain | told)


def run(case: Case, memory: bool) -> Run:
    """Dream one case."""
    torch.set_num_threads(1)
    painting = Painting(SIZE)
    with tempfile.TemporaryDirectory(prefix="dreamloop-cure-", dir=_QUICK_DISK) as name:
        folder = Path(name)
        (folder / "prompts").mkdir()
        for number, theme in enumerate(case.themes):
            _write_theme(folder / "prompts" / f"{number}.yaml", theme, alone=case.alone)
        wishes = Wishes(
            prompts=folder / "prompts",
            seed=case.seed,
            denoise=case.denoise,
            keyframes=case.keyframes,
            size=SIZE,
            memory=memory,
            fps=case.fps,
            seconds_per_prompt=_BESIDE_S if case.turning else None,
            seconds_per_theme=_THEME_S if case.turning else None,
            seeds=seed_pictures(painting, case.seeds) if memory else (),
        )
        return _looked_at(painting, dream(wishes, folder), case.decoded // 2)


def _write_theme(path: Path, name: str, *, alone: bool) -> None:
    prompts = themes()[name]
    positive = [text for text, _ in prompts[: 1 if alone else None]]
    path.write_text(yaml.safe_dump({"name": name, "positive": positive, "negative": prompts[0][1]}))


def _looked_at(painting: Painting, told: Told, of_each: int) -> Run:
    thumbnails = np.array([thumbnail(one) for one in told.pictures])
    return Run(
        thumbnails=thumbnails,
        edges=np.array([edge_directions(one) for one in told.pictures]),
        touched=np.array(told.touched),
        shown=_largest_shown(painting, told, thumbnails, of_each),
        touched_time=told.touched_time_share(),
        levels=tuple(told.levels),
        reasons=tuple(told.reasons),
        decided=tuple(told.decided),
        fresh=told.fresh,
    )


def _largest_shown(painting: Painting, told: Told, thumbnails: Floats, of_each: int) -> float:
    """Over the gaps that turn farthest and those whose keyframes are farthest apart for their length.

    The first gaps, which are the same with memory and without, would hide what comes later.
    """
    ends = [torch.from_numpy(gap.latents[[0, -1]]) for gap in told.gaps]
    angles = np.array([angle_between(*pair) for pair in ends])
    frames = np.array([len(gap.latents) - 1 for gap in told.gaps])
    speeds = np.sqrt(((thumbnails[1:] - thumbnails[:-1]) ** 2).mean(1)) / frames
    angles[:_ALIKE], speeds[:_ALIKE] = -1.0, -1.0
    chosen = {*np.argsort(-angles)[:of_each], *np.argsort(-speeds)[:of_each]}
    return max(float(shown_steps(painting, told.gaps[at], thumbnail).max()) for at in chosen)


@dataclass(frozen=True)
class Judge:
    """The scales on which two pictures count as two, from pictures painted afresh."""

    thumbnail: float
    edge: float

    @classmethod
    def of(cls, words: Sequence[Words]) -> Judge:
        """From `_FRESH` pictures of each of the words (of some, where there are many)."""
        painting = Painting(SIZE)
        pairs = [_usual_distances(painting, one) for one in words[:: max(1, len(words) // 8)]]
        return cls(*(float(np.mean(one)) for one in zip(*pairs, strict=True)))

    def distinct(self, run: Run) -> tuple[float, float]:
        """Distinct pictures among the newest `JUDGED`, by thumbnails and by edges."""
        return vendi(run.thumbnails[-JUDGED:], self.thumbnail), vendi(run.edges[-JUDGED:], self.edge)


def _usual_distances(painting: Painting, words: Words) -> tuple[float, float]:
    pictures = [painting.picture(painting.fresh(words, 10**6 + at)) for at in range(_FRESH)]
    features = (np.array([look(one) for one in pictures]) for look in (thumbnail, edge_directions))
    first, second = (_mean_distance(one) for one in features)
    return first, second


def _mean_distance(features: Floats) -> float:
    apart = np.linalg.norm(features[:, None] - features[None], axis=2)
    return float(apart.sum() / (len(features) * (len(features) - 1)))


@dataclass(frozen=True)
class Cured:
    """One seed with memory and without."""

    on: Run
    off: Run
    judge: Judge

    @property
    def ratio(self) -> float:
        return self.judge.distinct(self.on)[0] / self.judge.distinct(self.off)[0]

    @property
    def edge_ratio(self) -> float:
        return self.judge.distinct(self.on)[1] / self.judge.distinct(self.off)[1]

    @property
    def shown_ratio(self) -> float:
        """Of the largest steps between shown frames."""
        return self.on.shown / self.off.shown

    @property
    def keyframe_ratio(self) -> float:
        """Of the largest steps between keyframes, which nobody sees at once."""
        return float(self.on.steps().max() / self.off.steps().max())

    @property
    def share(self) -> float:
        return float(self.on.touched.mean())


def seed_pictures(painting: Painting, per_theme: int) -> list[Pixels]:
    """Pictures of every theme, which stand for a folder of somebody's own pictures."""
    return [
        painting.picture(painting.fresh(theme[at % len(theme)], 2 * 10**6 + 100 * number + at))
        for number, theme in enumerate(themes().values())
        for at in range(per_theme)
    ]


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


def _run(keep: Path | None, wanted: tuple[Case, bool]) -> Run:
    case, memory = wanted
    if keep is None:
        return run(case, memory)
    name = hashlib.sha256(repr(wanted).encode()).hexdigest()[:16]
    path = keep / f"{case.seed}-{'on' if memory else 'off'}-{name}.npz"
    if not path.exists():
        run(case, memory).save(path)
    return Run.load(path)


def curve(run: Run, judge: Judge, window: int = 100, stride: int = 10) -> list[tuple[int, float]]:
    """Distinct pictures in the newest ``window`` keyframes, all along a run; in a short one, of fewer."""
    window = min(window, len(run.thumbnails) - stride)
    ends = range(window, len(run.thumbnails) + 1, stride)
    return [(end, vendi(run.thumbnails[end - window : end], judge.thumbnail)) for end in ends]


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
    """The table of ``make bench``: one seed and some hundred keyframes, or all of it (an hour)."""
    return table(dreamt(rows_of(SEEDS[:1], 400) if quick else rows_of(SEEDS, 1000)))


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
