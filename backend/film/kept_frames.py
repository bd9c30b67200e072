"""A film from the frames that are on disk still, as they were shown."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from PIL import Image

from backend.core.frame_buffer import FrameKind
from backend.core.shown_log import read_shown
from backend.errors import PictureRejected, StorageError
from backend.film.stills import Size, Still, opened
from backend.utils.file_ops import read_at_most

log = logging.getLogger(__name__)

_NAME = re.compile(r"(\d{9,18})\.(png|jpg|webp)")
_MAX_BYTES = 256_000_000


@dataclass(frozen=True)
class KeptFrame:
    """A frame on disk.

    Attributes:
        at: When it was shown, seconds since 1970 by the clock of the day.
        seconds: How long it is shown at a pace of 1.
        theme: ``""`` where it is not known.
    """

    path: Path
    sequence: int
    at: float
    seconds: float
    theme: str = ""


def list_frames(output: Path, usual_s: float) -> list[KeptFrame]:
    """The frames of an output folder, oldest first, without titles.

    When a frame was shown and for how long is noted beside them; where it is not, the time of its file
    and what is usual for the others stand in.

    Args:
        output: The output folder; the daemon may be at work in it.
        usual_s: How long a frame lasts where nothing is noted of any.

    Raises:
        StorageError: The folder cannot be read.
    """
    found = sorted(_numbered(output / "frames"))
    if not found:
        return []
    noted = {showing.sequence: showing for showing in read_shown(output, found[0][0])}
    known = [noted[number].duration_s for number, _ in found if number in noted]
    usual_s = median(known) if known else usual_s
    frames = []
    for number, path in found:
        showing = noted.get(number)
        if showing is None:
            with contextlib.suppress(FileNotFoundError):
                frames.append(KeptFrame(path, number, path.stat().st_mtime, usual_s))
        elif showing.kind is not FrameKind.TITLE:
            frames.append(KeptFrame(path, number, showing.shown_at, showing.duration_s, showing.theme))
    return frames


class FrameStills:
    """The pictures of frames, read one at a time; those that are gone or broken are passed over.

    Their time goes to the frame before (at the beginning to the one after), as on the display, so that
    whoever knows how long it all takes is right.
    """

    def __init__(self, frames: Sequence[KeptFrame], max_pixels: int) -> None:
        self._frames = frames
        self._max_pixels = max_pixels
        self._missing: set[int] = set()

    @property
    def missing(self) -> int:
        """How many were passed over until now, however often they were tried."""
        return len(self._missing)

    @property
    def seconds(self) -> float:
        """How long they last together."""
        return sum(frame.seconds for frame in self._frames)

    def largest(self) -> Size | None:
        """The size of the largest of them in pixels; only the beginnings of the files are read."""
        sizes = set()
        for frame in self._frames:
            with contextlib.suppress(OSError, SyntaxError, ValueError), Image.open(frame.path) as image:
                sizes.add(image.size)
        return max(sizes, key=lambda size: size[0] * size[1], default=None)

    def __iter__(self) -> Iterator[Still]:
        newest, seconds = None, 0.0
        for frame in self._frames:
            picture = self._picture(frame)
            if picture is not None and newest is not None:
                yield Still(newest, seconds)
                seconds = 0.0
            newest = newest if picture is None else picture
            seconds += frame.seconds
        if newest is not None:
            yield Still(newest, seconds)

    def _picture(self, frame: KeptFrame) -> Image.Image | None:
        try:
            return opened(read_at_most(frame.path, _MAX_BYTES), self._max_pixels)
        except (OSError, PictureRejected) as error:
            log.debug("frame %d is left out: %s", frame.sequence, error)
            self._missing.add(frame.sequence)
            return None


def _numbered(folder: Path) -> Iterator[tuple[int, Path]]:
    try:
        for path in folder.iterdir():
            name = _NAME.fullmatch(path.name)
            if name is not None:
                yield int(name[1]), path
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(folder, error) from error
