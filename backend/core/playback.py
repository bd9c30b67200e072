"""Frames -> output/ at the display rate, by one thread of its own."""

from __future__ import annotations

import logging
import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from backend.core.crossfade import crossfade
from backend.core.fading import Fading
from backend.core.frame_buffer import Frame, FrameBuffer, FrameKind, Joint
from backend.core.frame_shelf import FrameShelf, ShownFrame
from backend.core.liveness import Vital
from backend.core.pace import Pace
from backend.core.replay import KeptFrame, Replay
from backend.core.title_frame import dark_frame
from backend.errors import DreamloopError, PictureRejected, StorageError
from backend.utils.part import Part
from backend.utils.picture_check import PictureFacts, encoded_for, inspect_picture
from backend.utils.picture_formats import AS_IT_COMES, Encoding, format_of

log = logging.getLogger(__name__)

# With nothing to show, look again this often; wake() cuts the wait short.
_IDLE_S = 0.25
# A working engine that delivers nothing for this long is treated as away: the display moves on.
_STARVED_S = 8.0
_STARVED_INTERVALS = 2.0
_LATE_S = 2.0
_BRIDGE_S = 1.2
_RATE_FRAMES = 31
# So many frames that never came, and the next one is bridged to.
_LEAP_FRAMES = 3
_SHARE_FRAMES = 300
_SILENT_FRAMES = 5
# Of a frame's time: what was shown more briefly is shown so long when it is shown again.
_SHORTEST = 0.5
_DARK_SIZE = (768, 432)
_AFTER_THE_TITLE = sys.maxsize
# A disk that takes longer for a frame hangs; so does a display that is late by so much.
_TURN_S = 5.0
_OVERDUE_S = 30.0
# A memory that had nothing to show is asked again after so long; kept frames move meanwhile.
_RECALL_AGAIN_S = 30.0
_DREAMT = (FrameKind.KEYFRAME, FrameKind.IN_BETWEEN)


def _nothing() -> None:
    pass


class Playback:
    """Shows one frame a tick: the next of the buffer, else, while the engine is away, a kept one.

    Args:
        fps: Frames per second at a pace of 1.
        replay_s: How long a kept frame is shown again at the least; None for as long as it was shown.
        recall: Frames without end to move on with while the engine is away, given the picture on display;
            where it gives none, kept frames are shown again.
        limit: Show no more frames than this; None for no limit.
        encoding: Of frames that are made here.
        clock: Monotonic seconds.

    Attributes:
        on_shown: Called after each shown frame, and after each that the disk refused.
        on_limit: Called once when the limit is reached.
    """

    def __init__(
        self,
        buffer: FrameBuffer,
        shelf: FrameShelf,
        pace: Pace,
        *,
        fps: float,
        replay_s: float | None = None,
        recall: Callable[[bytes], Iterator[Frame]] | None = None,
        limit: int | None = None,
        encoding: Encoding = AS_IT_COMES,
        clock: Callable[[], float],
    ) -> None:
        self.on_shown: Callable[[], None] = _nothing
        self.on_limit: Callable[[], None] = _nothing
        self.newest: ShownFrame | None = None
        self.frames_shown = 0
        self.speed = 1.0
        self.storage_error: str | None = None
        self.engine_away = False
        self.paused = False
        self.dark = False
        self._is_dark = False
        self._buffer = buffer
        self._shelf = shelf
        self._pace = pace
        self._limit = limit
        self._encoding = encoding
        self._clock = clock
        self._last_tick = clock()
        self._last_fresh = clock()
        self._left_s = 0.0  # of the picture on display, in seconds of dream
        self._length_s = 0.0  # of that picture
        self._moves = 0  # pictures shown, and those that the disk refused
        self._has_nothing = False
        self._shown_at: deque[float] = deque(maxlen=_RATE_FRAMES)
        self._kinds: deque[FrameKind] = deque(maxlen=_SHARE_FRAMES)
        self._decoded: Frame | None = None  # the newest frame of the dream that was decoded, while it lasts
        self._fading = Fading(encoding, clock)
        self._recall = recall
        self._recall_from_s = -math.inf
        self.retime(fps, replay_s)
        self._walk: Iterator[Frame] | None = None
        self._replay: Replay | None = None
        self._replay_from = 0  # neither the title nor the fade from it is part of the dream
        self._bridge: Iterator[Frame] = iter(())
        self._apart: bytes | None = None  # the picture on display, where the next one is no neighbour of it
        self._awake = threading.Event()
        self.part = Part("playback", self._turn, limit_s=_TURN_S)

    def retime(self, fps: float, replay_s: float | None) -> None:
        """Go by these from the next picture on; arguments as at the beginning."""
        self._frame_s = 1.0 / fps
        self._replay_s = replay_s

    @property
    def shown_fps(self) -> float:
        """Frames per second over the newest few seconds; falls when nothing comes."""
        if len(self._shown_at) < 2:
            return 0.0
        interval_s = (self._shown_at[-1] - self._shown_at[0]) / (len(self._shown_at) - 1)
        silent_s = self._clock() - self._shown_at[-1]
        return 1.0 / max(interval_s, silent_s if silent_s > _SILENT_FRAMES * interval_s else 0.0, 1e-6)

    def share_of(self, *kinds: FrameKind) -> float:
        """How many of the frames shown of late were of these kinds, 0 to 1."""
        kept = tuple(self._kinds)
        return sum(kind in kinds for kind in kept) / len(kept) if kept else 0.0

    @property
    def is_late(self) -> bool:
        """Whether the picture on display should have given way to another for a moment already."""
        return self._clock() - self._last_fresh > max(_LATE_S, self._length_s / self.speed + _LATE_S / 2)

    @property
    def replaying(self) -> bool:
        """Whether memories or kept frames are on display because no new ones come."""
        return self._replay is not None or self._walk is not None

    @property
    def vital(self) -> Vital:
        """Whether pictures move on, which is what all of this is for."""
        rest = ""
        if self.paused or self._is_dark or self.frames_shown == self._limit:
            rest = "the picture is held"
        elif self._has_nothing and self._buffer.ready_s == 0.0:
            rest = "there is nothing to show"
        return Vital("the display", self._moves, _OVERDUE_S + self._length_s / self.speed, rest)

    def start(self) -> None:
        """Begin to show frames."""
        self.part.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Show no more frames; the last one stays."""
        self.part.stopping.set()
        self._awake.set()
        self.part.stop(timeout_s)

    def wake(self) -> None:
        """Something changed: look again now."""
        self._awake.set()

    def show_at_once(self, data: bytes, kind: FrameKind) -> None:
        """Show a picture outside the dream (the title), before the thread is started."""
        facts = inspect_picture(data, max_pixels=len(data) * 10_000)
        data, facts = encoded_for(self._encoding, data, facts)
        self._show(Frame(data, facts, kind, theme="", duration_s=self._frame_s))
        self._apart = data
        self._replay_from = _AFTER_THE_TITLE

    def continue_from(
        self, newest: ShownFrame, left_s: float | None = None, joint: Joint = Joint.WALK
    ) -> None:
        """The display still has this frame of an earlier run: go on from it, do not cut.

        Args:
            newest: The frame.
            left_s: Seconds after which what comes next follows; None where that is no neighbour of it.
            joint: How the dream had come to it.
        """
        self.newest = newest
        data = self._on_display()
        if left_s is None or data is None:
            self._apart = data
            return
        self._left_s = self._length_s = left_s
        self._decoded = Frame(data, newest.facts, FrameKind.IN_BETWEEN, newest.theme, left_s, joint=joint)

    def tick(self, now: float) -> float:
        """Show what is due; returns the seconds until there is something to do again.

        What is left of a picture is counted in seconds of dream, so that a change of pace holds at
        once, for a still of many seconds too.
        """
        elapsed_s, self._last_tick = max(0.0, now - self._last_tick), now
        if self.paused or self.frames_shown == self._limit or self._stays_dark():
            self._last_fresh = now
            return _IDLE_S
        self.speed = 1.0 if self.replaying else self._pace.speed(now, self._buffer.lasting_s)
        if not self._holds:
            self._left_s -= elapsed_s * self.speed
        self._buffer.on_display_s = max(0.0, self._left_s)
        if self._left_s > 0.0 and not self._is_starved(now):
            return self._lead_on(now)
        shown_s = self._advance(now)
        self._has_nothing = shown_s is None
        if shown_s is None:
            self._left_s = 0.0
            return _IDLE_S
        # Late by less than a frame, the next comes that much sooner; by more (a suspend), without a burst.
        self._left_s = (self._left_s if -self._left_s < shown_s else 0.0) + shown_s
        self._length_s = shown_s
        if shown_s > self._frame_s:
            return 0.0  # what leads to the next one is made now, while there is time
        return max(0.0, min(self._left_s / self.speed, _IDLE_S))

    def _stays_dark(self) -> bool:
        """Whether nothing is to be shown; the first time it shows just that, and what comes next fades in."""
        if self.dark and not self._is_dark:
            facts = self.newest.facts if self.newest else PictureFacts(*_DARK_SIZE, "png")
            data = dark_frame(facts.width, facts.height)
            self._show(Frame(data, replace(facts, format="png"), FrameKind.TITLE, "", self._frame_s))
            self._walk, self._apart = None, data
        self._is_dark = self.dark
        return self._is_dark

    def _advance(self, now: float) -> float | None:
        """Show the next picture and say how long it lasts; None if there is none."""
        frame = self._next_frame(now)
        if frame is None:
            shown_s = self._replay_one(now)
            self._decoded = self._decoded if shown_s is None else None
            return shown_s
        self._decoded = frame
        first_s = self._fading.first_s(frame, self._buffer.peek(), self.speed, self._frame_s)
        self._show(replace(frame, duration_s=first_s))
        self._leave_replay(frame)
        return frame.duration_s

    def _lead_on(self, now: float) -> float:
        """While a decoded frame lasts longer than one of the display, show the way from it to the next."""
        step = self._fading.step(
            now, self._decoded, self._buffer.peek(), self._left_s, self.speed, self._frame_s
        )
        if step.frame is not None:
            self._show(step.frame)
        return min(step.wait_s, _IDLE_S)

    @property
    def _holds(self) -> bool:
        """Whether a frame that is to lead to the next for a while waits for that to come."""
        frame = self._decoded
        is_long = frame is not None and frame.joint is not Joint.CUT and self._length_s > 2.0 * self._frame_s
        return is_long and self._left_s > 0.0 and self._buffer.peek() is None

    def _is_starved(self, now: float) -> bool:
        """Whether it is time to move on without the engine, though the picture may not be at its end."""
        if self._buffer.ready_s > 0.0 or self.replaying:
            return False
        usual_s = _STARVED_INTERVALS * max(self._pace.interval_s or 0.0, self._length_s)
        patience_s = self._length_s if self.engine_away else max(_STARVED_S, usual_s)
        return now - self._last_fresh >= patience_s

    def _next_frame(self, now: float) -> Frame | None:
        bridging = next(self._bridge, None)
        if bridging is not None:
            return bridging
        passed_over = self._buffer.skipped
        frame = self._buffer.take(now)
        if frame is None:
            return None
        self._last_fresh = now
        if self._is_a_leap(frame, self._buffer.skipped - passed_over):
            self._apart = self._on_display()
        if self._apart is None:
            return frame
        older, self._apart = self._apart, None
        self._bridge = self._bridge_to(older, frame)
        return next(self._bridge)

    def _on_display(self) -> bytes | None:
        try:
            return None if self.newest is None else self.newest.path.read_bytes()
        except OSError:
            return None

    def _is_a_leap(self, frame: Frame, passed_over: int) -> bool:
        """Whether the next picture is no neighbour of the one on display, and nothing has led to it."""
        leaps = frame.joint is Joint.FADE or (frame.joint is Joint.WALK and passed_over >= _LEAP_FRAMES)
        return leaps and self._apart is None and not self._fading.leads_to(frame)

    def _bridge_to(self, older: bytes, frame: Frame) -> Iterator[Frame]:
        steps = max(1, round(_BRIDGE_S / self._frame_s))
        for data in crossfade(older, frame.data, steps, self._encoding):
            # Not judged: on the way out of the dark it may well be black.
            facts = PictureFacts(frame.facts.width, frame.facts.height, format_of(data))
            yield Frame(data, facts, FrameKind.REPLAY, frame.theme, self._frame_s)
        yield frame

    def _show(self, frame: Frame) -> None:
        try:
            self.newest = self._shelf.show(frame)
            if self._replay_from == _AFTER_THE_TITLE and frame.kind in _DREAMT:
                self._replay_from = self.newest.sequence
            self._count()
        except StorageError as error:
            self._refused(error)
        self._moves += 1
        self.on_shown()

    def _replay_one(self, now: float) -> float | None:
        """Show a kept frame if no new one is to be had; None if there is none to move to."""
        if not (self.replaying or self._is_starved(now)):
            return None
        remembered = self._remember_one(now)
        if remembered is not None:
            return remembered
        replay = self._replay or Replay(self._shelf.kept(self._replay_from))
        kept = replay.next()
        if kept is None:
            self._replay = None
            return None
        if self._replay is None:
            self._replay = replay
            self._shelf.pin(replay.paths)
        length_s = self._again_s(kept)
        self._show_kept(replay, kept.path, length_s)
        return length_s

    def _remember_one(self, now: float) -> float | None:
        """Show the next step of a walk through the memory; None if there is no memory to walk through."""
        if self._recall is None or self.newest is None or now < self._recall_from_s:
            return None
        try:
            if self._walk is None:
                self._walk = self._recall(self.newest.path.read_bytes())
            frame = next(self._walk, None)
        except (DreamloopError, OSError) as error:
            log.warning("the walk through the memory ends: %s", error)
            frame = None
        if frame is None:
            self._walk, self._recall_from_s = None, now + _RECALL_AGAIN_S
            return None
        if self._replay is not None:
            self._replay = None
            self._shelf.pin(())
        self._show(frame)
        self._apart = frame.data
        return frame.duration_s

    def _again_s(self, kept: KeptFrame) -> float:
        """How long a kept frame is shown again; a walk goes on at the pace that it had."""
        if self._replay_s is not None:
            return max(kept.duration_s, self._replay_s)
        return max(kept.duration_s or self._frame_s, _SHORTEST * self._frame_s)

    def _show_kept(self, replay: Replay, path: Path, length_s: float) -> None:
        try:
            self.newest, self._apart = self._shelf.show_again(path, length_s)
            self._count()
        except PictureRejected as error:
            log.warning("a kept frame is left out: %s: %s", path.name, error)
            replay.discard(path)
            self._shelf.drop(path)
        except StorageError as error:
            replay.discard(path)
            self._refused(error)
        self._moves += 1
        self.on_shown()

    def _leave_replay(self, frame: Frame) -> None:
        if frame.kind is FrameKind.REPLAY:
            return
        self._walk, self._recall_from_s = None, -math.inf
        if self._replay is not None:
            self._replay = None
            self._shelf.pin(())

    def _count(self) -> None:
        self._shown_at.append(self._clock())
        if self.newest is not None:
            self._kinds.append(self.newest.kind)
        self.frames_shown += 1
        self.storage_error = self._shelf.stuck
        if self.frames_shown == self._limit:
            self.on_limit()

    def _refused(self, error: StorageError) -> None:
        """The frame is lost, the dream is not: the next one is tried, from memory, at its time."""
        self.storage_error = str(error)
        log.error("a frame could not be written: %s", error)

    def _turn(self) -> None:
        began = self._clock()
        wait_s = self.tick(began)
        self._awake.wait(max(0.0, wait_s - (self._clock() - began)))
        self._awake.clear()
