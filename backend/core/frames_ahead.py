"""What was ahead of the display when the last run ended, and how the motion goes on from there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.core.frame_buffer import Frame, FrameBuffer, FrameKind
from backend.core.frame_spool import SpooledFrame
from backend.errors import PictureRejected
from backend.utils.file_ops import read_at_most
from backend.utils.picture_check import inspect_picture

log = logging.getLogger(__name__)

_FRAME_BYTES = 256_000_000
# So many frames missing in a row are what a rejected picture leaves; more would be seen as a leap.
_SMALL_HOLE = 2
# So many are looked at before the display begins; the others while it runs.
_AT_ONCE = 5


@dataclass(frozen=True)
class Ahead:
    """Where the frames that lie ready lead.

    Attributes:
        here: The newest that was shown; None if it is not there any more.
        joined: Whether it, or what leads from it to the next, is on display still: no fade is needed.
        left_s: Seconds for which it is to be shown yet, then.
        frames: Those that follow, without a leap, in order.
        reached: Number of the keyframe that the last of them is, or leads to; None if it is not known.
        whole: Whether they come as far as that keyframe itself.
    """

    here: SpooledFrame | None = None
    joined: bool = False
    left_s: float = 0.0
    frames: tuple[SpooledFrame, ...] = ()
    reached: int | None = None
    whole: bool = False


def frames_ahead(
    left: Sequence[SpooledFrame],
    on_display: Path | None,
    keyframes: Container[int],
    *,
    leads_on: bool = False,
) -> Ahead:
    """Find out where the display stands among the frames that lie ready, and how far they lead.

    Args:
        left: All that lie ready, in order.
        on_display: The file of the newest shown frame, which is a link to the one that it was.
        keyframes: Numbers of those that are known; another one was never acknowledged, and is dreamt again.
        leads_on: Whether something is on display that led from the newest of them to the one after it.
    """
    known = [frame for frame in left if frame.keyframe in keyframes]
    same = next((frame for frame in known if on_display is not None and _same(frame.path, on_display)), None)
    # Something that is no frame of the dream may have been shown since: a memory, a fade.
    here = same or next((frame for frame in reversed(known) if frame.shown), None)
    follow = [frame for frame in known if here is None or frame.place > here.place]
    frames: list[SpooledFrame] = []
    last = here
    for frame in follow:
        if last is not None and frame.place - last.place > _SMALL_HOLE + 1:
            break
        frames.append(frame)
        last = frame
    if last is None:
        return Ahead()
    joined = same is not None or (leads_on and here is not None)
    # How far the way to the next one had come is not known.
    left_s = 0.0 if here is None else here.duration_s * (1.0 if same is not None else 0.5)
    return Ahead(here, joined, left_s, tuple(frames), last.keyframe, last.kind is FrameKind.KEYFRAME)


class AheadReader:
    """Puts them into the buffer again: the first at once, the others by a thread that then ends.

    Args:
        themes: The theme of each keyframe's frames, by its number.
        max_pixels: Larger pictures are refused.
    """

    def __init__(self, buffer: FrameBuffer, themes: Mapping[int, str], max_pixels: int) -> None:
        self._buffer = buffer
        self._themes = themes
        self._max_pixels = max_pixels

    def read(self, frames: Sequence[SpooledFrame]) -> None:
        """Give each its place, in order."""
        if not frames:
            return
        self._buffer.begin_at(frames[0].place)
        durations = {frame.place: frame.duration_s for frame in frames}
        span = range(frames[0].place, frames[-1].place + 1)
        places = self._buffer.reserve([durations.get(place, 0.0) for place in span])
        self._buffer.abandon([place for place in places if place not in durations])
        for frame in frames[:_AT_ONCE]:
            self._put(frame)
        rest = frames[_AT_ONCE:]
        if rest:
            threading.Thread(target=self._put_all, args=(rest,), name="frames-ahead", daemon=True).start()

    def _put_all(self, frames: Sequence[SpooledFrame]) -> None:
        try:
            for frame in frames:
                self._put(frame)
        finally:
            self._buffer.abandon([frame.place for frame in frames])  # where one was not put

    def _put(self, spooled: SpooledFrame) -> None:
        try:
            data = read_at_most(spooled.path, _FRAME_BYTES)
            facts = inspect_picture(data, max_pixels=self._max_pixels)
        except (OSError, PictureRejected) as error:  # a power cut: it was not on the disk yet
            log.warning("a frame of the earlier run is left out: %s", error)
            self._buffer.abandon([spooled.place])
            return
        theme = self._themes.get(spooled.keyframe, "")
        frame = Frame(
            data,
            facts,
            spooled.kind,
            theme,
            spooled.duration_s,
            keyframe=spooled.keyframe,
            file=spooled.path,
            joint=spooled.joint,
        )
        self._buffer.put(spooled.place, frame)


def _same(one: Path, other: Path) -> bool:
    """Two names of one file, or two equal files where the disk knows no links."""
    try:
        if one.samefile(other):
            return True
        return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
    except OSError:
        return False
