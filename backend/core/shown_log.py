"""What was shown when and for how long: beside the frames on disk, for films and for the next start."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.frame_buffer import FrameKind
from backend.errors import StorageError
from backend.utils.line_log import LineLog, read_lines

log = logging.getLogger(__name__)

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
        self._log = LineLog(output / FOLDER)
        self._failing = False
        self._appended = 0

    def begin_anew(self) -> None:
        """There are no frames any more, so that their numbers begin again."""
        self._try(self._log.clear)

    def close(self) -> None:
        """Let go of the file."""
        self._log.close()

    def add(self, showing: Showing, oldest_kept: int) -> None:
        """Note a frame, and now and then forget those before ``oldest_kept``, whose files are gone."""
        self._try(lambda: self._log.append(showing.sequence, vars(showing)))
        self._appended += 1
        if self._appended % _FORGET_EVERY == 0:
            self._try(lambda: self._log.forget_before(oldest_kept))

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except StorageError as error:
            if not self._failing:
                log.warning("when frames were shown is not noted: %s", error)
            self._failing = True
        else:
            self._failing = False


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
