"""When the in-betweens of a gap are shown, and where on the walk they lie; pure arithmetic.

A *share* is how far the walk has turned, from 0 to 1: equal steps of it are the best guess at equal steps
for the eye before any frame was seen. What was seen corrects the guess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

# A frame is shown for this much longer or shorter than its neighbours at the most.
_LONGEST, _SHORTEST = 1.8, 0.55
# Differences of so large a share between stretches are chance: a straight look over several frames
# is shorter than the winding way through them, here more, there less.
_CHANCE = 0.045
# Steps of which nothing is to be seen count as this share of the mean one: they must take some time, too.
_LEAST = 0.02
# So many of the frames may be spared where the others fit the better.
_SPARED = 0.1


@dataclass(frozen=True)
class Timetable:
    """The frames of a gap.

    Attributes:
        places: Where the in-betweens lie, as shares, rising, between 0 and 1.
        shown_s: Seconds of dream for each: first of the keyframe before, then of the in-betweens.
    """

    places: tuple[float, ...]
    shown_s: tuple[float, ...]


def even(frames: int, seconds: float) -> Timetable:
    """Frames at equal steps for equal times; ``frames`` counts the keyframe at the end, too."""
    return Timetable(tuple(step / frames for step in range(1, frames)), (seconds / frames,) * frames)


def eased(frames: int, seconds: float) -> Timetable:
    """The same times, but steps that begin and end softly: keyframes rest."""
    places = (ease(step / frames) for step in range(1, frames))
    return Timetable(tuple(places), (seconds / frames,) * frames)


def ease(moment: float) -> float:
    """The share at a moment of a gap, 0 to 1, where it begins and ends softly."""
    return 0.5 - 0.5 * math.cos(math.pi * moment)


def perceived(places: Sequence[float], steps: Sequence[float], frames: float, seconds: float) -> Timetable:
    """Frames at steps that look equal, as far as a few of them were seen.

    Args:
        places: Shares of the frames that were seen, rising, between 0 and 1; they stay where they are.
        steps: How far apart they look: from the keyframe before to the first, from each to the next, and from
            the last to the keyframe at the end; one more than places.
        frames: Wished for, the keyframe at the end included; a few fewer where the steps come nearer
            to what they would be with just so many.
        seconds: From keyframe to keyframe.
    """
    lengths = _likely(_positive(steps))
    most = max(round(frames), len(lengths))
    least = max(len(lengths), math.ceil(most * (1.0 - _SPARED)))
    step = lengths.sum() / max(frames, len(lengths))
    counts = min(
        (_counts(lengths, count) for count in range(most, least - 1, -1)),
        key=partial(_unevenness, lengths, step),
    )
    known = np.concatenate(([0.0], np.asarray(places, float), [1.0]))
    seen = np.concatenate(([0.0], np.cumsum(lengths)))
    wanted = [
        start + length * step / count
        for start, length, count in zip(seen[:-1], lengths, counts, strict=True)
        for step in range(count)
    ]
    found = _monotone_cubic(seen, known, np.array(wanted))
    found[np.cumsum([0, *counts[:-1]])] = known[:-1]
    shown = np.repeat(lengths / np.array(counts), counts)
    return Timetable(tuple(found[1:].tolist()), tuple((shown * (seconds / shown.sum())).tolist()))


def shown_for(steps: Sequence[float], seconds: float) -> tuple[float, ...]:
    """How long frames are shown so that what is seen moves at one speed: longer before a large step.

    Args:
        steps: How far each frame is from the next.
        seconds: All of them together.
    """
    lengths = _positive(steps)
    shown = np.clip(lengths / lengths.mean(), _SHORTEST, _LONGEST)
    return tuple((shown * (seconds / shown.sum())).tolist())


def _positive(steps: Sequence[float]) -> NDArray[np.float64]:
    """Lengths that can be divided by; equal ones where nothing sensible was seen."""
    lengths = np.asarray(steps, float)
    if not np.isfinite(lengths).all() or lengths.sum() <= 0.0:
        return np.ones(len(lengths))
    positive: NDArray[np.float64] = np.maximum(lengths, _LEAST * lengths.mean())
    return positive


def _likely(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lengths drawn toward their mean as far as they may differ by chance.

    Source: W. James and C. Stein, "Estimation with quadratic loss" (1961), in the form that keeps the sign.
    """
    mean = lengths.mean()
    spread = float(np.square(lengths / mean - 1.0).mean())
    kept = max(0.0, 1.0 - _CHANCE**2 / spread) if spread > 0.0 else 0.0
    likely: NDArray[np.float64] = mean + kept * (lengths - mean)
    return likely


def _counts(lengths: NDArray[np.float64], frames: int) -> list[int]:
    """How many frames each stretch gets, so that their steps are as equal as whole numbers allow."""
    wished = lengths * (frames / lengths.sum())
    counts = np.maximum(1, np.floor(wished)).astype(int)
    while counts.sum() != frames:
        if counts.sum() < frames:
            counts[int(np.argmax(lengths / np.sqrt(counts * (counts + 1.0))))] += 1
        else:
            above = np.where(counts > 1, lengths / np.sqrt(counts * (counts - 1.0) + 1e-9), np.inf)
            counts[int(np.argmin(above))] -= 1
    return [int(count) for count in counts]


def _unevenness(lengths: NDArray[np.float64], step: float, counts: Sequence[int]) -> float:
    """How far the steps are from ``step``, in the mean over the frames, where each stretch has so many."""
    frames = np.array(counts)
    return float((frames * np.square(lengths / frames - step)).sum() / frames.sum())


def _monotone_cubic(
    x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A rising curve through rising points. Source: Fritsch and Butland (1984), as in ``velocity()``."""
    width, slope = np.diff(x), np.diff(y) / np.diff(x)
    rate = np.full(len(x), slope[0])
    if len(slope) > 1:
        before, after = 2.0 * width[1:] + width[:-1], width[1:] + 2.0 * width[:-1]
        rate[1:-1] = (before + after) / (before / slope[:-1] + after / slope[1:])
        rate[0] = _end_rate(width[0], width[1], slope[0], slope[1])
        rate[-1] = _end_rate(width[-1], width[-2], slope[-1], slope[-2])
    place = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(slope) - 1)
    h = width[place]
    u = (at - x[place]) / h
    left = 1.0 - u
    curve: NDArray[np.float64] = (
        y[place] * (1.0 + 2.0 * u) * left**2
        + y[place + 1] * (1.0 + 2.0 * left) * u**2
        + h * (rate[place] * u * left**2 - rate[place + 1] * u**2 * left)
    )
    return curve


def _end_rate(width: float, next_width: float, slope: float, next_slope: float) -> float:
    """Of the parabola through the three outermost points, as far as the curve still rises."""
    rate = ((2.0 * width + next_width) * slope - width * next_slope) / (width + next_width)
    return min(max(rate, 0.0), 3.0 * slope)
