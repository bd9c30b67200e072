"""Pixel cross-fades between decoded neighbours, shown where these are fewer than the display has frames."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from backend.core.frame_buffer import Frame, FrameKind, Joint
from backend.utils.picture_check import PictureFacts
from backend.utils.picture_formats import Encoding

_DREAMT = (FrameKind.KEYFRAME, FrameKind.IN_BETWEEN)
# The most of its time that the display may spend on making frames: the engine may need the processor, too.
_BUSY_SHARE = 0.35
# How much the newest frame counts in what one costs.
_WEIGHT = 0.3


@dataclass(frozen=True)
class Step:
    """What is to be done in a fade.

    Attributes:
        frame: To be shown now; None where it is not time.
        wait_s: Seconds until there is something to do.
    """

    frame: Frame | None
    wait_s: float


@dataclass
class _Fade:
    """From one frame to the next.

    Attributes:
        from_s: Seconds of dream that were left when it began.
        pieces: In which what is left is shown, the frame on display included.
        due: When the next of them is to be shown, monotonic.
        ahead: That frame, made in advance.
    """

    older: Frame
    newer: Frame
    from_s: float
    pieces: int
    due: float
    ends: tuple[Image.Image, Image.Image] | None = None
    ahead: Frame | None = None


class Fading:
    """Makes frames between two that the engine decoded, as finely as the display's rate and the time allow.

    Args:
        encoding: Of the frames that are made; where it leaves them open, they are as their neighbours.
        clock: Monotonic seconds.
    """

    def __init__(self, encoding: Encoding, clock: Callable[[], float]) -> None:
        self._encoding = encoding
        self._clock = clock
        self._fade: _Fade | None = None
        self._cost_s = 0.0

    def leads_to(self, frame: Frame) -> bool:
        """Whether the frames shown before this one led to it."""
        return self._fade is not None and self._fade.newer.data is frame.data and self._fade.ends is not None

    def step(
        self,
        now: float,
        older: Frame | None,
        newer: Frame | None,
        left_s: float,
        speed: float,
        frame_s: float,
    ) -> Step:
        """What is to be shown of the way from the frame on display to the next.

        Args:
            now: Monotonic seconds.
            older: The frame on display, as it was decoded.
            newer: The one after it; None while it is not there.
            left_s: Seconds of dream until that is shown.
            speed: Of the dream.
            frame_s: Seconds that a frame is to be shown.
        """
        if older is None or newer is None or not _fades(older, newer):
            self._fade = None
            return Step(None, left_s / speed)
        fade = self._fade
        if fade is None or fade.older.data is not older.data or fade.newer.data is not newer.data:
            pieces = self._pieces(left_s / speed, frame_s)
            fade = self._fade = _Fade(older, newer, left_s, pieces, now + left_s / speed / pieces)
        if fade.pieces == 1:
            return Step(None, left_s / speed)
        if fade.ahead is None:
            fade.ahead = self._made(fade, left_s - max(0.0, fade.due - now) * speed)
        if now < fade.due:
            return Step(None, max(0.0, fade.due - max(now, self._clock())))
        made, fade.ahead = fade.ahead, None
        fade.pieces = self._pieces(left_s / speed, frame_s)
        fade.due = now + left_s / speed / fade.pieces
        return Step(replace(made, duration_s=left_s / fade.pieces), 0.0)

    def first_s(self, older: Frame, newer: Frame | None, speed: float, frame_s: float) -> float:
        """Seconds of dream that a frame is shown by itself, before what leads from it to the next."""
        if newer is None or not _fades(older, newer):
            return older.duration_s
        return older.duration_s / self._pieces(older.duration_s / speed, frame_s)

    def _pieces(self, left_s: float, frame_s: float) -> int:
        return max(1, round(left_s / max(frame_s, self._cost_s / _BUSY_SHARE)))

    def _made(self, fade: _Fade, left_s: float) -> Frame:
        began = self._clock()
        if fade.ends is None:
            end = _opened(fade.newer)
            fade.ends = _opened(fade.older).resize(end.size, Image.Resampling.LANCZOS), end
        share = min(1.0, max(0.0, 1.0 - left_s / fade.from_s))
        image = Image.blend(*fade.ends, share)
        encoding = self._encoding
        if encoding.format is None:
            encoding = Encoding(fade.newer.facts.format, encoding.quality)
        data = encoding.encode(np.asarray(image))
        facts = PictureFacts(image.width, image.height, encoding.format or fade.newer.facts.format)
        cost_s = self._clock() - began
        self._cost_s += (_WEIGHT if self._cost_s else 1.0) * (cost_s - self._cost_s)
        return Frame(data, facts, FrameKind.CROSS_FADE, fade.newer.theme, 0.0)


def _fades(older: Frame, newer: Frame) -> bool:
    """Whether one is to be led into the other: both were dreamt, and are no stills."""
    return older.kind in _DREAMT and newer.joint is not Joint.CUT


def _opened(frame: Frame) -> Image.Image:
    with Image.open(io.BytesIO(frame.data)) as image:
        return image.convert("RGB")
