"""How recorded keyframes were shown: noted beside them once it is known, since the eye sets the pace."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backend.core.shown_gaps import ShownGap
from backend.film.keyframe_files import KeyframeFile
from backend.utils.line_log import LineLog, Notes, read_lines

FOLDER = "shown"
"""In the folder of the keyframes."""

_MOST_PLACES = 64
_FORGET_EVERY = 100
_LINES_PER_SEGMENT = 1000
_CLOSE_S = 1.0


@dataclass(frozen=True)
class Showing:
    """How a keyframe was shown.

    Attributes:
        sequence: Of its file.
        shown_at: Seconds since 1970, by the clock of the day.
        gap_s: Seconds of dream from the keyframe before; None where that is not known.
        course: As that of a ``ShownGap``.
    """

    sequence: int
    shown_at: float
    gap_s: float | None
    course: tuple[tuple[float, float], ...]


class ShowingLog:
    """Notes how keyframes were shown. It never stands in the way of a keyframe: what fails is left out.

    Args:
        folder: That of the keyframes.
    """

    def __init__(self, folder: Path) -> None:
        log = LineLog(folder / FOLDER, _LINES_PER_SEGMENT)
        self._notes = Notes(log, "how keyframes were shown", _FORGET_EVERY)
        self.begin_anew = self._notes.begin_anew
        self.close = self._notes.close

    def add(self, sequence: int, at: float, gap: ShownGap, oldest_kept: int) -> None:
        """Note a keyframe, and now and then forget those before ``oldest_kept``, whose files are gone."""
        seconds = None if gap.previous is None else round(gap.seconds, 6)
        showing = Showing(sequence, at, seconds, _thinned(gap.course))
        self._notes.add(sequence, vars(showing), oldest_kept)


def as_shown(files: Sequence[KeyframeFile], folder: Path) -> list[KeyframeFile]:
    """Recorded keyframes with the times at which, and the gaps with which they were shown.

    Those that nobody has seen yet are left out. Of a recording without such notes all are given as they are.

    Args:
        files: Oldest first.
        folder: Theirs.
    """
    noted = {one.sequence: one for one in map(_showing, read_lines(folder / FOLDER)) if one is not None}
    found = [_as_noted(file, noted.get(file.sequence)) for file in files]
    newest = max(
        (at for at, (file, told) in enumerate(zip(files, found, strict=True)) if file is not told), default=-1
    )
    return found if newest < 0 else found[: newest + 1]


def _as_noted(file: KeyframeFile, showing: Showing | None) -> KeyframeFile:
    if showing is None or showing.shown_at < file.at - _CLOSE_S:  # of an older file with this number
        return file
    if showing.gap_s is None:
        return replace(file, at=showing.shown_at)
    return replace(file, at=showing.shown_at, gap_s=showing.gap_s, was_shown=True, course=showing.course)


def _thinned(course: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Enough of it to follow it."""
    every = max(1, math.ceil(len(course) / _MOST_PLACES))
    return tuple((round(moment, 5), round(way, 5)) for moment, way in course[::every])


def _showing(line: Mapping[str, Any]) -> Showing | None:
    try:
        gap_s = None if line["gap_s"] is None else float(line["gap_s"])
        course = tuple((float(moment), float(way)) for moment, way in line["course"])
        showing = Showing(int(line["sequence"]), float(line["shown_at"]), gap_s, course)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    sensible = math.isfinite(showing.shown_at) and (gap_s is None or 0.0 < gap_s < math.inf)
    return showing if sensible and _rises(course) else None


def _rises(course: Sequence[tuple[float, float]]) -> bool:
    """Whether it leads forward in time, from beginning to end."""
    moments = [0.0, *(moment for moment, _ in course), 1.0]
    forward = all(one <= other for one, other in itertools.pairwise(moments))
    return forward and all(0.0 <= way <= 1.0 for _, way in course)
