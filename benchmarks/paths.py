"""What the walk itself is worth, in latent space and at the keyframes, and what it costs."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from backend.interpolation.walk import Knot, Walk, Waypoint
from benchmarks.painted_engine import Painting

SIZE = (256, 144)
DENOISE = 0.45
WORDS = ("northern lights over a frozen lake, aurora", "text")
SECONDS = 4.0
# What a large model's latents have: 16 channels at 1024x1024.
_LARGE = (1, 16, 128, 128)
_H = 1e-3


@dataclass(frozen=True)
class Judged:
    """How one path does; kinks and norms are shares, at the worst keyframe.

    Attributes:
        kink: Difference of the one-sided derivatives at a keyframe, of the speed.
        norm: How far a norm on the way is from the one that lies between those at the ends.
        psnr_db: Of the frames at both ends against the keyframes, by the same painter.
        gap_ms: For the 39 latents of a gap of a large model.
    """

    kink: float
    norm: float
    psnr_db: float
    gap_ms: float


def judge(path: str, keyframes: int) -> Judged:
    """Walk a dream of so many keyframes."""
    painting = Painting(SIZE)
    latents = [painting.fresh(WORDS, 1)]
    for seed in range(2, keyframes + 1):
        latents.append(painting.moved(latents[-1], WORDS, seed, DENOISE))
    walks = walks_through([torch.from_numpy(latent) for latent in latents], path)
    return Judged(
        kink=max(_kink(before, after) for before, after in itertools.pairwise(walks)),
        norm=max(_norm(walk) for walk in walks),
        psnr_db=min(_psnr_db(walk, painting) for walk in walks[:4]),
        gap_ms=_gap_ms(path),
    )


def walks_through(latents: Sequence[torch.Tensor], path: str) -> list[Walk]:
    """The walks of a dream whose keyframes are all known."""
    points = [None, *map(Waypoint, latents), None]
    knots = [
        Knot(at, before, after, SECONDS, SECONDS)
        for before, at, after in zip(points[:-2], points[1:-1], points[2:], strict=True)
        if at is not None
    ]
    return [Walk.between(path, start, end, SECONDS) for start, end in itertools.pairwise(knots)]


def _kink(before: Walk, after: Walk) -> float:
    coming = before.latents(torch.tensor([1.0 - _H, 1.0])).double()
    going = after.latents(torch.tensor([0.0, _H])).double()
    one, other = (coming[1] - coming[0]) / _H, (going[1] - going[0]) / _H
    return float((one - other).norm() / ((one.norm() + other.norm()) / 2.0))


def _norm(walk: Walk) -> float:
    t = torch.linspace(0.0, 1.0, 41)
    norms = walk.latents(t).flatten(1).norm(dim=1)
    between = norms[0] + t * (norms[-1] - norms[0])
    return float(((norms - between).abs() / between).max())


def _psnr_db(walk: Walk, painting: Painting) -> float:
    """Infinite where every pixel is the same."""
    ends = walk.latents(torch.tensor([0.0, 1.0]))
    worst = 0.0
    for latent, keyframe in zip(ends, (walk.start.at.latent, walk.end.at.latent), strict=True):
        shown = painting.picture(latent[None].numpy()).astype(float)
        worst = max(worst, float(np.square(shown - painting.picture(keyframe.numpy())).mean()))
    return math.inf if worst == 0.0 else 10.0 * math.log10(255.0**2 / worst)


def _gap_ms(path: str) -> float:
    made = torch.Generator().manual_seed(1)
    latents = [torch.randn(_LARGE, generator=made) for _ in range(4)]
    walk = walks_through(latents, path)[1]
    t = torch.arange(1, 40) / 40
    return min(_seconds(lambda: walk.latents(t)) for _ in range(3)) * 1e3


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rows(quick: bool) -> list[tuple[str, str, str]]:
    keyframes = 6 if quick else 20
    smooth, slerp = judge("smooth", keyframes), judge("slerp", keyframes)
    return [
        ("kink in the latents at a keyframe, of the speed", f"{smooth.kink:.2%}", "below 1 %"),
        ("    of slerp", f"{slerp.kink:.0%}", ""),
        ("norm off the interpolated one, at the most", f"{smooth.norm:.2%}", "within 1 %"),
        ("frames at t = 0 and 1 against the keyframes, dB", f"{smooth.psnr_db:.0f}", "above 45"),
        ("39 latents of 16x128x128, ms, smooth, slerp", f"{smooth.gap_ms:.0f} {slerp.gap_ms:.0f}", ""),
    ]
