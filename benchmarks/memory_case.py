"""A dream to be had with memory and without: the real loop on the embedded painter, and what it showed.

How softly it turned is told by the largest step from one shown frame to the next, by thumbnails, over the
gaps that turn farthest and those that move fastest.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from backend.engine.painting import Pixels
from backend.interpolation.spherical_lerp import angle_between
from benchmarks.distinct import Floats, edge_directions, thumbnail
from benchmarks.painted_engine import Painting, Words
from benchmarks.virtual_dream import Told, Wishes, dream, shown_steps

ROOT = Path(__file__).resolve().parent.parent
SIZE = (192, 112)
DENOISE = 0.1
"""Here the painter's loop keeps 2 or 3 distinct pictures of the 30 that the words allow; at 0.45, 15."""

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


def seed_pictures(painting: Painting, per_theme: int) -> list[Pixels]:
    """Pictures of every theme, which stand for a folder of somebody's own pictures."""
    return [
        painting.picture(painting.fresh(theme[at % len(theme)], 2 * 10**6 + 100 * number + at))
        for number, theme in enumerate(themes().values())
        for at in range(per_theme)
    ]
