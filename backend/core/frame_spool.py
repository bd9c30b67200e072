"""The frames ahead on disk as well: what lay ready when the process died is shown by the next one.

A frame is written when it arrives instead of when it is shown, under its place, and then linked: it costs no
second write. Nothing is synced: after a power cut the newest may be missing, or empty, and that is seen.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from backend.core.frame_buffer import Frame, FrameKind, Joint
from backend.core.resume_store import FOLDER
from backend.errors import StorageError
from backend.utils.file_ops import read_at_most, sweep_temporaries, write_atomic, write_json_atomic
from backend.utils.picture_formats import FORMATS

log = logging.getLogger(__name__)

_LETTERS = {
    "i": (FrameKind.IN_BETWEEN, Joint.WALK),
    "k": (FrameKind.KEYFRAME, Joint.WALK),
    "f": (FrameKind.KEYFRAME, Joint.FADE),
    "c": (FrameKind.KEYFRAME, Joint.CUT),
}
_TIMES = "times.json"
_TIMES_BYTES = 4_000_000
_NAME = re.compile(
    r"(?P<place>\d{10})-(?P<keyframe>\d{1,15})-(?P<us>\d{1,12})(?P<letter>[ikfc])"
    r"(?P<suffix>\.[a-z]{3,4})(?P<shown>\.shown)?",
    re.ASCII,
)
_END_BYTES = 16
_SHOWN = ".shown"


@dataclass(frozen=True)
class SpooledFrame:
    """A frame that lies ready on disk; its file is not looked into yet.

    Attributes:
        place: In the order of showing.
        shown: Whether it was on display already.
        keyframe: Number of the keyframe that it is, or leads to.
    """

    path: Path
    place: int
    keyframe: int
    kind: FrameKind
    duration_s: float
    joint: Joint = Joint.WALK
    shown: bool = False


class FrameSpool:
    """One writer, the dream loop; what was shown is removed by the playback.

    Args:
        output: The output folder.
        scarce: Whether the disk has room for little; then frames ahead are kept in memory only.
    """

    def __init__(self, output: Path, scarce: Callable[[], bool] = lambda: False) -> None:
        self.folder = output / FOLDER / "ahead"
        self._scarce = scarce
        self._shown: Path | None = None
        self._failing = False

    def left(self) -> tuple[SpooledFrame, ...]:
        """What an earlier run left, in order, but for what a power cut damaged."""
        sweep_temporaries(self.folder)
        times = self._times()
        there = (
            replace(frame, duration_s=times.get(frame.place, frame.duration_s))
            for frame in self._files()
            if _is_there(frame.path)
        )
        return tuple(sorted(there, key=lambda frame: frame.place))

    def begin(self, here: Path | None, ahead: Collection[Path]) -> None:
        """Go on with the frame on display and those ahead of it; all the others are of no use any more."""
        times, left = self._times(), {}
        for frame in list(self._files()):
            if frame.path != here and frame.path not in ahead:
                _remove(frame.path)
            elif frame.place in times:
                left[frame.place] = times[frame.place]
        if times:
            self.timed(left)
        self._shown = here

    def keep(self, place: int, frame: Frame) -> Frame:
        """The frame with a file of its own; as it is where it has one, or where the disk does not take it."""
        letter = next((one for one, told in _LETTERS.items() if told == (frame.kind, frame.joint)), None)
        if frame.file is not None or letter is None or self._scarce():
            return frame
        name = f"{place:010d}-{frame.keyframe}-{round(frame.duration_s * 1e6)}{letter}"
        path = self.folder / f"{name}{FORMATS[frame.facts.format].suffix}"
        try:
            write_atomic(path, frame.data)
        except StorageError as error:
            if not self._failing:
                log.warning("frames ahead are kept in memory only: %s", error)
            self._failing = True
            return frame
        self._failing = False
        return replace(frame, file=path)

    def timed(self, durations_s: Mapping[int, float]) -> None:
        """Note how long frames are to be shown, where that has changed since they were kept."""
        if self._scarce():
            return
        with contextlib.suppress(StorageError):  # then they are shown for as long as was thought first
            write_json_atomic(
                self.folder / _TIMES, {str(place): round(s, 6) for place, s in durations_s.items()}
            )

    def forget(self, frame: Frame) -> None:
        """It will not be shown."""
        if frame.file is not None:
            _remove(frame.file)

    def shown(self, path: Path | None) -> None:
        """The frame of this file is on display, by whatever name; the one before it is of no use any more.

        Its own stays, marked, until the next one is shown: by it a restart knows how far the display came.
        """
        if path is None:
            return
        marked = path.with_name(f"{path.name}{_SHOWN}")
        with contextlib.suppress(OSError):  # somebody removed it
            path.rename(marked)
        older, self._shown = self._shown, marked
        if older is not None and older != marked:
            _remove(older)

    def _files(self) -> Iterator[SpooledFrame]:
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                name = _NAME.fullmatch(path.name)
                if name is not None and name["suffix"] in {one.suffix for one in FORMATS.values()}:
                    kind, joint = _LETTERS[name["letter"]]
                    place, keyframe, duration_s = (
                        int(name["place"]),
                        int(name["keyframe"]),
                        int(name["us"]) / 1e6,
                    )
                    shown = name["shown"] is not None
                    yield SpooledFrame(path, place, keyframe, kind, duration_s, joint, shown)

    def _times(self) -> Mapping[int, float]:
        try:
            told = json.loads(read_at_most(self.folder / _TIMES, _TIMES_BYTES))
            times = {int(place): float(seconds) for place, seconds in told.items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}
        return {place: seconds for place, seconds in times.items() if 0.0 <= seconds < math.inf}


def _is_there(path: Path) -> bool:
    """Whether its end came to the disk: a power cut leaves files that are empty, or zeros.

    To read all of it would hold up the first picture; whatever else is wrong is seen when it is its turn.
    """
    try:
        with path.open("rb") as file:
            file.seek(-min(_END_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
            return bool(file.read().strip(b"\0"))
    except OSError:
        return False


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # what cannot be removed is swept at the next start
        path.unlink(missing_ok=True)
