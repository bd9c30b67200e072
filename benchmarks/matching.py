"""Judging without weights: what it costs beside decoding, and whether like and unlike separate."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image

from backend.cache.perceptual_matcher import PerceptualMatcher
from tests.cache.painted import ALTERATIONS, as_jpeg, dream, painted, themes

SIZE_PX = (768, 432)
_DENOISE = 0.45


@dataclass(frozen=True)
class Cost:
    """Milliseconds a picture, medians; the three are measured in turn on each picture."""

    decode_ms: float
    embed_ms: float
    judge_ms: float
    judge_jpeg_ms: float


@dataclass(frozen=True)
class Separation:
    """Similarities, and shares of pictures on the right side of a threshold."""

    pictures: int
    alteration_min: dict[str, float]
    alteration_found: dict[str, float]
    nearest_median: float
    nearest_max: float
    told_apart: float
    not_near: float
    a_step_later: float


def cost(pictures: int) -> Cost:
    """Of PNGs of 768x432, as they come from the engine, beside Pillow's bare decoding."""
    shown = [painted(theme, seed=n, size_px=SIZE_PX) for n, theme in enumerate(themes())]
    took: dict[str, list[float]] = {"decode": [], "embed": [], "judge": [], "jpeg": []}
    for turn in range(pictures):
        picture = shown[turn % len(shown)]
        for what, work in _works(picture).items():
            start = time.perf_counter()
            work()
            took[what].append(1e3 * (time.perf_counter() - start))
    medians = {what: statistics.median(values) for what, values in took.items()}
    return Cost(medians["decode"], medians["embed"], medians["judge"], medians["jpeg"])


def _works(picture: bytes) -> dict[str, Callable[[], object]]:
    jpeg = as_jpeg(picture, 90)
    return {
        "decode": lambda: Image.open(io.BytesIO(picture)).load(),
        "embed": lambda: PerceptualMatcher().embed([picture]),
        "judge": lambda: _judge(picture),
        "jpeg": lambda: _judge(jpeg),
    }


def _judge(picture: bytes) -> None:
    matcher = PerceptualMatcher()
    matcher.scores(matcher.embed([picture]), [picture])


def separation(pictures: int, altered: int) -> Separation:
    """Of pictures from all shipped themes and prompts, no seed twice."""
    matcher = PerceptualMatcher()
    limits = matcher.thresholds
    sources = list(islice(distinct(), pictures))
    embeddings = matcher.embed(sources)
    nearest = (embeddings @ embeddings.T - 2.0 * np.eye(pictures)).max(axis=1)
    chosen = np.linspace(0, pictures - 1, altered).astype(int)
    alike = {
        name: (matcher.embed([alter(sources[i]) for i in chosen]) * embeddings[chosen]).sum(axis=1)
        for name, alter in ALTERATIONS.items()
    }
    return Separation(
        pictures=pictures,
        alteration_min={name: float(values.min()) for name, values in alike.items()},
        alteration_found={name: float((values >= limits.duplicate).mean()) for name, values in alike.items()},
        nearest_median=float(np.median(nearest)),
        nearest_max=float(nearest.max()),
        told_apart=float((nearest < limits.duplicate).mean()),
        not_near=float((nearest < limits.near).mean()),
        a_step_later=_a_step_later(matcher),
    )


def distinct() -> Iterator[bytes]:
    """Pictures of all shipped themes and prompts in turn, no seed twice, without end."""
    seed = 0
    while True:
        for theme in themes():
            seed += 1
            yield painted(theme, prompt=seed // len(themes()), seed=seed)


def _a_step_later(matcher: PerceptualMatcher) -> float:
    """Median similarity of a keyframe to the one before it, in a dream as it is by default."""
    steps = []
    for theme in themes():
        frames = matcher.embed(list(islice(dream(theme, denoise=_DENOISE), 6)))
        steps += (frames[1:] * frames[:-1]).sum(axis=1).tolist()
    return statistics.median(steps)
