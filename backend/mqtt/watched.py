"""The dream as its files tell it, on this machine or over a shared folder: status, freshness, the picture."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from backend.utils.file_ops import read_at_most
from backend.utils.picture_colours import rgb_of

log = logging.getLogger(__name__)

STALE_S = 5.0
"""The daemon writes at least once a second."""

_MAX_STATUS_BYTES = 4_000_000
_MAX_FRAME_BYTES = 64_000_000
_MAX_PIXELS = 64_000_000
_SIDE_PX = 1024
_MAX_JPEG_BYTES = 500_000
_QUALITIES = (82, 65, 45)
_FRAME = re.compile(r"frames/\d{1,18}\.[a-z0-9]{1,8}")


class WatchedDream:
    """Reads what a dream tells of itself.

    How old the status is follows from when it last changed here: clocks of two machines may differ.

    Args:
        output: The daemon's output folder.
        status: Its status folder.
        clock: Monotonic seconds.
    """

    def __init__(self, output: Path, status: Path, clock: Callable[[], float]) -> None:
        self.newest: Mapping[str, Any] | None = None
        self._output = output
        self._path = status / "status.json"
        self._clock = clock
        self._seen: tuple[int, int, int] | None = None
        self._changed_at: float | None = None
        self._frame_at = clock()
        self._frame = 0

    @property
    def fresh(self) -> bool:
        """Whether a daemon is alive behind it; a status that was there before us counts once it changes."""
        return self._changed_at is not None and self._clock() - self._changed_at <= STALE_S

    @property
    def frame_age_s(self) -> float | None:
        """Seconds that the picture has been on display; None before the first."""
        return self._clock() - self._frame_at if self._frame else None

    @property
    def frame(self) -> int:
        """Number of the picture on display; 0 before the first."""
        return self._frame

    @property
    def themes(self) -> tuple[str, ...]:
        """The names of the themes in use."""
        prompts = (self.newest or {}).get("prompts")
        names = prompts.get("themes") if isinstance(prompts, Mapping) else None
        return tuple(str(name) for name in names) if isinstance(names, list) else ()

    def look(self) -> bool:
        """Read the status if it has changed; whether it has."""
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen == self._seen:
                return False
            status = json.loads(read_at_most(self._path, _MAX_STATUS_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            log.debug("no status: %s", error)
            return False
        if not isinstance(status, dict):
            return False
        self._changed_at = None if self._seen is None else self._clock()
        self._seen, self.newest = seen, status
        number = _sequence(status)
        if number != self._frame:
            self._frame, self._frame_at = number, self._clock()
        return True

    def jpeg(self) -> bytes | None:
        """The picture on display, at most 1024 pixels long and 500 kB; None where it cannot be had."""
        frame = (self.newest or {}).get("frame")
        name = frame.get("file") if isinstance(frame, Mapping) else None
        if not isinstance(name, str) or not _FRAME.fullmatch(name):
            return None
        try:
            return _small_jpeg(read_at_most(self._output / name, _MAX_FRAME_BYTES))
        except (OSError, SyntaxError, ValueError, Warning, Image.DecompressionBombError) as error:
            log.debug("the picture is left out: %s", error)
            return None


def _sequence(status: Mapping[str, Any]) -> int:
    frame = status.get("frame")
    number = frame.get("sequence") if isinstance(frame, Mapping) else None
    return number if isinstance(number, int) else 0


def _small_jpeg(data: bytes) -> bytes | None:
    with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
        warnings.simplefilter("error")
        if opened.width * opened.height > _MAX_PIXELS:
            raise ValueError(f"{opened.width}x{opened.height} pixels")
        opened.draft("RGB", (_SIDE_PX, _SIDE_PX))
        picture = rgb_of(opened)
    picture.thumbnail((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS)
    for quality in _QUALITIES:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        if file.tell() <= _MAX_JPEG_BYTES:
            return file.getvalue()
    return None
