"""How long each gap took on display, and where on the walk its frames lay: for films of the same dream."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from backend.core.frame_buffer import Frame, FrameKind, Joint


@dataclass(frozen=True)
class ShownGap:
    """A keyframe whose turn has come, and the gap before it as it was shown.

    Attributes:
        keyframe: Its number.
        previous: That of the keyframe at the beginning of the gap; None where nothing is known of the gap.
        seconds: Of dream, from the one to the other.
        course: Where on the walk it was when, as shares of its time and of the walk, 0 to 1, rising; without
            its ends, and empty where that is not known.
    """

    keyframe: int
    previous: int | None = None
    seconds: float = 0.0
    course: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class _Taken:
    keyframe: int
    duration_s: float
    way: float | None


class ShownGaps:
    """Hears of each frame that is taken from the buffer to be shown.

    Args:
        tell: Called at each keyframe, by whoever shows the frames; it must not wait.
    """

    def __init__(self, tell: Callable[[ShownGap], None]) -> None:
        self._tell = tell
        self._row: list[_Taken] = []  # the newest keyframe, and what has come of the gap after it

    def taken(self, frame: Frame) -> None:
        """A frame is shown next, for as long as it says."""
        taken = _Taken(frame.keyframe, frame.duration_s, frame.way)
        if frame.kind is FrameKind.KEYFRAME:
            row, self._row = self._row, [taken]
            self._tell(_gap(row, frame))
        elif self._row:
            # Where a keyframe was passed over, two gaps cannot be told apart.
            mixed = len(self._row) > 1 and self._row[-1].keyframe != frame.keyframe
            if mixed:
                self._row = []
            else:
                self._row.append(taken)


def _gap(row: list[_Taken], frame: Frame) -> ShownGap:
    seconds = sum(one.duration_s for one in row)
    if frame.joint is Joint.CUT or seconds <= 0.0 or (len(row) > 1 and row[-1].keyframe != frame.keyframe):
        return ShownGap(frame.keyframe)
    moments = [moment / seconds for moment in itertools.accumulate(one.duration_s for one in row)]
    course = [(moment, one.way) for moment, one in zip(moments, row[1:], strict=False) if one.way is not None]
    known = len(course) == len(row) - 1
    return ShownGap(frame.keyframe, row[0].keyframe, seconds, tuple(course) if known else ())
