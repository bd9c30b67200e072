"""The seconds of frames ahead: bounded, in order, never blocked by a frame that will not come."""

from __future__ import annotations

import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from pathlib import Path
from typing import Protocol

from backend.utils.picture_check import PictureFacts

_KEYFRAMES_NOTED = 1000


class FrameKind(StrEnum):
    """Where a shown picture comes from."""

    KEYFRAME = "keyframe"
    IN_BETWEEN = "in_between"
    CROSS_FADE = "cross_fade"
    REPLAY = "replay"
    TITLE = "title"


class Joint(Enum):
    """How the dream comes to a frame from the one before."""

    WALK = auto()
    """They are neighbours."""
    FADE = auto()
    """No walk leads there, so they are faded into each other."""
    CUT = auto()
    """Stills follow one another."""


@dataclass(frozen=True)
class Frame:
    """A picture on its way to the display.

    Attributes:
        data: The encoded picture as the engine sent it.
        duration_s: How long it is shown at a pace of 1; its place in the buffer may say otherwise.
    """

    data: bytes
    facts: PictureFacts
    kind: FrameKind
    theme: str
    duration_s: float
    keyframe: int = 0
    """Number of the keyframe that it is, or leads to; 0 where it does neither."""
    file: Path | None = None
    """Where it lies on disk already."""
    joint: Joint = Joint.WALK
    way: float | None = None
    """Of an in-between: where it lies on the walk, 0 to 1; None where that is not known."""


class Spool(Protocol):
    """Keeps frames that lie ready on disk, too."""

    def keep(self, place: int, frame: Frame) -> Frame:
        """The frame with a file of its own, if the disk takes it."""
        ...

    def forget(self, frame: Frame) -> None: ...

    def timed(self, durations_s: Mapping[int, float]) -> None:
        """How long the frames of these places are to be shown, of all that there are."""
        ...


@dataclass
class _Slot:
    duration_s: float
    deadline: float = math.inf
    frame: Frame | None = None
    abandoned: bool = False


def _nothing(_frame: Frame) -> None:
    pass


class FrameBuffer:
    """Places in the order of showing, opened when a gap is planned and filled as pictures arrive.

    A missing frame holds the display only while its job may still bring it: a place is skipped once
    it is abandoned, or once its deadline has passed while it is next in line. The time of one that is
    abandoned goes to the frame before it, so that the dream keeps its pace.

    Args:
        max_bytes: Of the pictures at hand; beyond it they are refused.
        spool: Where frames are kept for the case of a restart; None for nowhere.

    Attributes:
        on_taken: Called with each frame that is taken, by whoever takes it.
    """

    def __init__(self, max_bytes: int, spool: Spool | None = None) -> None:
        self.max_bytes = max_bytes
        self.on_taken: Callable[[Frame], None] = _nothing
        self.on_display_s = 0.0
        """What is left of the frame on display, as whoever shows it tells."""
        self._spool = spool
        self._keyframes: dict[int, int] = {}
        self._slots: deque[_Slot] = deque()
        self._first = 0
        self._settled = 0  # slots at the front that are filled or abandoned
        self._ready_s = 0.0
        self._promised_s = 0.0
        self._bytes = 0
        self._skipped = 0
        self._lock = threading.Lock()

    def reserve(self, durations_s: Sequence[float]) -> range:
        """Open places at the end, to be filled or abandoned."""
        with self._lock:
            start = self._first + len(self._slots)
            self._slots.extend(_Slot(duration_s) for duration_s in durations_s)
            self._promised_s += sum(durations_s)
            return range(start, start + len(durations_s))

    def expect(self, positions: Sequence[int], deadline: float) -> None:
        """Say when (monotonic seconds) to stop waiting for these places."""
        with self._lock:
            for position in positions:
                slot = self._slot(position)
                if slot is not None:
                    slot.deadline = deadline

    def begin_at(self, position: int) -> None:
        """Count on from this place, to which an earlier run had come; not while there are any."""
        with self._lock:
            if not self._slots:
                self._first = max(self._first, position)

    def put(self, position: int, frame: Frame) -> bool:
        """Fill a place. False if it has been skipped already, or if the byte bound is reached."""
        if self._spool is not None:
            frame = self._spool.keep(position, self._in_its_time(position, frame))
        taken = self._put(position, frame)
        if self._spool is not None and not taken:
            self._spool.forget(frame)
        return taken

    def _in_its_time(self, position: int, frame: Frame) -> Frame:
        with self._lock:
            slot = self._slot(position)
            return frame if slot is None else replace(frame, duration_s=slot.duration_s)

    def _put(self, position: int, frame: Frame) -> bool:
        with self._lock:
            slot = self._slot(position)
            if slot is None or slot.abandoned or slot.frame is not None:
                return False
            if self._bytes + len(frame.data) > self.max_bytes:
                self._abandon(position - self._first)
            else:
                slot.frame = frame
                self._bytes += len(frame.data)
                if frame.kind is FrameKind.KEYFRAME:
                    self._note(position, frame.keyframe)
            self._settle()
            return slot.frame is not None

    def abandon(self, positions: Sequence[int]) -> None:
        """Say that these places, where still empty, will not be filled."""
        with self._lock:
            for position in positions:
                slot = self._slot(position)
                if slot is not None and slot.frame is None and not slot.abandoned:
                    self._abandon(position - self._first)
            self._settle()

    def retime(self, positions: Sequence[int], durations_s: Sequence[float]) -> None:
        """Give frames that were not taken yet other times, whether they are there already or not."""
        with self._lock:
            for position, duration_s in zip(positions, durations_s, strict=True):
                slot = self._slot(position)
                if slot is not None and not slot.abandoned:
                    self._lengthen(position - self._first, duration_s - slot.duration_s)
            all_s = {
                self._first + index: slot.duration_s
                for index, slot in enumerate(self._slots)
                if not slot.abandoned
            }
        if self._spool is not None:
            self._spool.timed(all_s)

    def peek(self) -> Frame | None:
        """The frame that comes next, if it is there; it stays."""
        with self._lock:
            slot = next((slot for slot in self._slots if not slot.abandoned), None)
            return None if slot is None else slot.frame

    def take(self, now: float) -> Frame | None:
        """The next frame in order, or None while it may still come."""
        frame = self._take(now)
        if frame is not None:
            self.on_taken(frame)
        return frame

    def _take(self, now: float) -> Frame | None:
        with self._lock:
            while self._slots:
                slot = self._slots[0]
                if slot.frame is None and not slot.abandoned:
                    if now < slot.deadline:
                        return None
                    self._abandon(0)
                    self._settle()
                self._pop()
                if slot.frame is not None:
                    return replace(slot.frame, duration_s=slot.duration_s)
                self._skipped += 1
            return None

    @property
    def next_place(self) -> int:
        """The place whose turn it is; all before it were shown, or passed over."""
        return self._first

    @property
    def end_place(self) -> int:
        """The first place that has not been given away."""
        return self._first + len(self._slots)

    def place_of(self, keyframe: int) -> int | None:
        """Which place was given to a keyframe's own frame; None if none was, or if it is long ago."""
        return self._keyframes.get(keyframe)

    @property
    def ready_s(self) -> float:
        """Seconds that can be shown without waiting for any picture."""
        return max(0.0, self._ready_s)

    @property
    def lasting_s(self) -> float:
        """Seconds until the display needs more than it has: when the newest frame at hand comes up.

        That frame leads nowhere yet, so its own time does not count; a still's does.
        """
        with self._lock:
            ready = [slot for slot in itertools.islice(self._slots, self._settled) if slot.frame is not None]
            if not ready or ready[-1].frame is None:
                return 0.0
            if ready[-1].frame.joint is Joint.CUT:
                return self.ready_s
            return max(0.0, self.ready_s - ready[-1].duration_s + self.on_display_s)

    @property
    def promised_s(self) -> float:
        """Seconds in the buffer, those still to arrive included."""
        return max(0.0, self._promised_s)

    @property
    def size_bytes(self) -> int:
        """Bytes of the pictures at hand."""
        return self._bytes

    @property
    def skipped(self) -> int:
        """Places that were passed over since the start."""
        return self._skipped

    def _note(self, position: int, keyframe: int) -> None:
        self._keyframes[keyframe] = position
        while len(self._keyframes) > _KEYFRAMES_NOTED:
            del self._keyframes[next(iter(self._keyframes))]

    def _slot(self, position: int) -> _Slot | None:
        index = position - self._first
        return self._slots[index] if 0 <= index < len(self._slots) else None

    def _abandon(self, index: int) -> None:
        slot = self._slots[index]
        slot.abandoned = True
        self._promised_s -= slot.duration_s
        before = next((place for place in range(index - 1, -1, -1) if not self._slots[place].abandoned), None)
        if before is not None:
            self._lengthen(before, slot.duration_s)

    def _lengthen(self, index: int, by_s: float) -> None:
        slot = self._slots[index]
        slot.duration_s += by_s
        self._promised_s += by_s
        if index < self._settled and slot.frame is not None:
            self._ready_s += by_s

    def _settle(self) -> None:
        while self._settled < len(self._slots):
            slot = self._slots[self._settled]
            if slot.frame is None and not slot.abandoned:
                return
            self._ready_s += slot.duration_s if slot.frame is not None else 0.0
            self._settled += 1

    def _pop(self) -> None:
        slot = self._slots.popleft()
        self._first += 1
        self._settled -= 1
        if slot.frame is not None:
            self._bytes -= len(slot.frame.data)
            self._ready_s -= slot.duration_s
            self._promised_s -= slot.duration_s
        # Where nothing is left there is no rounding error to carry on.
        if self._settled == 0:
            self._ready_s = 0.0
        if not self._slots:
            self._promised_s = 0.0
