"""What was shown when and for how long: beside the frames on disk, for films and for the next start."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.frame_buffer import FrameKind
from backend.utils.line_log import LineLog, Notes, read_lines

FOLDER = "shown"
"""In the output folder."""

_FORGET_EVERY = 500


@dataclass(frozen=True)
class Showing:
    """One frame on display.

    Attributes:
        shown_at: Seconds since 1970, by the clock of the day.
        duration_s: How long it is shown at a pace of 1.
    """

    sequence: int
    shown_at: float
    duration_s: float
    kind: FrameKind
    theme: str


class ShownLog:
    """Notes each frame that is shown. It never stands in the way of a frame: what fails is left out."""

    def __init__(self, output: Path) -> None:
        self._notes = Notes(LineLog(output / FOLDER), "when frames were shown", _FORGET_EVERY)
        self.begin_anew = self._notes.begin_anew
        self.close = self._notes.close

    def add(self, showing: Showing, oldest_kept: int) -> None:
        """Note a frame, and now and then forget those before ``oldest_kept``, whose files are gone."""
        self._notes.add(showing.sequence, vars(showing), oldest_kept)


def read_shown(output: Path, first: int = 0) -> Iterator[Showing]:
    """What was noted, oldest first, from about frame ``first`` on; lines without sense are passed over."""
    for line in read_lines(output / FOLDER, first):
        showing = _showing(line)
        if showing is not None and showing.sequence >= first:
            yield showing


def _showing(line: Mapping[str, Any]) -> Showing | None:
    try:
        showing = Showing(
            sequence=int(line["sequence"]),
            shown_at=float(line["shown_at"]),
            duration_s=float(line["duration_s"]),
            kind=FrameKind(line["kind"]),
            theme=str(line["theme"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    sensible = math.isfinite(showing.shown_at) and 0.0 <= showing.duration_s < math.inf
    return showing if sensible and showing.sequence > 0 else None
