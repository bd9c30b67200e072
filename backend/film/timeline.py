"""From pictures that last unequally long to the frames of a film, which do not; pure, one frame at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator

from PIL import Image

from backend.film.stills import Still

FADE_S = 1.2
"""A picture that lasts longer gives way to the next within its last seconds, as on the display."""

LOOP_FADE_S = 2.0
_LOOP_SHARE = 1 / 3
_CLOSE = 1e-6


def frame_count(seconds: float, fps: float) -> int:
    """How many frames a film of so many seconds has; at least one."""
    return max(1, math.ceil(seconds * fps - _CLOSE))


def frames(stills: Iterable[Still], fps: float, *, blend: bool = True) -> Iterator[Image.Image]:
    """The frames of a film, ``fps`` of them a second.

    Frame ``k`` shows what was on display at ``k / fps`` seconds. Between two pictures it is a blend of
    both, so that ten pictures a second flow at thirty frames; where the rates are equal each frame is a
    picture, untouched.

    Args:
        stills: In order; all of one size, none shorter than zero.
        fps: Frames a second.
        blend: Else a picture stands until the next one comes.
    """
    number, begins = 0, 0.0
    ahead = itertools.chain(stills, (None,))
    still = next(ahead)
    while still is not None:
        following = next(ahead)
        ends = begins + still.duration_s
        while (at := number / fps) < ends - _CLOSE:
            yield _blended(still, following, ends - at) if blend else still.picture
            number += 1
        still, begins = following, ends


def _blended(still: Still, following: Still | None, left_s: float) -> Image.Image:
    """What is on display when ``still`` has ``left_s`` seconds left."""
    fade_s = min(FADE_S, still.duration_s)
    if following is None or left_s >= fade_s - _CLOSE:
        return still.picture
    return Image.blend(still.picture, following.picture, 1.0 - left_s / fade_s)


def loop_fade_frames(count: int, fps: float) -> int:
    """Over how many frames the end of a film of ``count`` frames fades into its beginning."""
    return min(round(LOOP_FADE_S * fps), int(count * _LOOP_SHARE))


def looped(film: Callable[[], Iterator[Image.Image]], count: int, fade: int) -> Iterator[Image.Image]:
    """A film of ``count - fade`` frames whose end flows into its beginning.

    It begins ``fade`` frames in, and fades at its end into what was left out there, which leads up to its
    first frame.

    Args:
        film: Begins the film anew with each call.
        count: How many frames it has.
        fade: How many of them overlap.
    """
    beginning = film()
    for number, frame in enumerate(itertools.islice(film(), fade, None), fade):
        step = number - (count - fade)
        if step < 0:
            yield frame
            continue
        opening = next(beginning, None)
        if opening is None:
            return
        weight = 0.5 - 0.5 * math.cos(math.pi * (step + 1) / (fade + 1))
        yield Image.blend(frame, opening, weight)
