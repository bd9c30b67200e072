"""The shown frames as the shim serves them: by number, from output/frames/, never by a path from outside."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from backend.utils.picture_colours import rgb_of
from backend.utils.picture_formats import FORMATS

MEDIA_TYPES = {format.suffix: format.media_type for format in FORMATS.values()}
"""Suffix -> media type of the files in output/frames/."""

MAX_SEQUENCE = 10**15
_MAX_BYTES = 64_000_000
_MAX_PIXELS = 64_000_000
_KEPT = 12
_JPEG_QUALITY = 88


@dataclass(frozen=True)
class Picture:
    """An encoded picture.

    Attributes:
        tag: SHA-256 of the bytes, lower-case hex.
    """

    data: bytes
    media_type: str
    tag: str


class FrameFiles:
    """Reads frames; the newest few stay in memory, since all viewers ask for the same ones.

    Args:
        output: The daemon's output folder.
    """

    def __init__(self, output: Path) -> None:
        self._folder = output / "frames"
        self._current = output / "current_frame.png"
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._lock = threading.Lock()

    def frame(self, sequence: int) -> Picture | None:
        """The shown frame of a number; None where it is not kept any more."""
        if not 0 < sequence < MAX_SEQUENCE:
            return None
        known = self._known(str(sequence))
        if known is not None:
            return known
        for suffix, media_type in MEDIA_TYPES.items():
            data = read_regular(self._folder / f"{sequence:09d}{suffix}")
            if data is not None:
                return self._keep(str(sequence), _picture(data, media_type))
        return None

    def current(self) -> Picture | None:
        """current_frame.png, for when there is no status to tell the newest frame by."""
        data = read_regular(self._current)
        return None if data is None else _picture(data, "image/png")

    def jpeg(self, sequence: int) -> Picture | None:
        """The same frame as a JPEG, for streams; made once for all viewers."""
        name = f"{sequence}.jpeg"
        known = self._known(name)
        if known is not None:
            return known
        frame = self.frame(sequence)
        if frame is None or frame.media_type == "image/jpeg":
            return frame
        return self._keep(name, _picture(_as_jpeg(frame.data), "image/jpeg"))

    def _known(self, name: str) -> Picture | None:
        with self._lock:
            return self._kept.get(name)

    def _keep(self, name: str, picture: Picture) -> Picture:
        with self._lock:
            self._kept[name] = picture
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return picture


def _picture(data: bytes, media_type: str) -> Picture:
    return Picture(data, media_type, hashlib.sha256(data).hexdigest())


def _as_jpeg(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as opened:
        if opened.width * opened.height > _MAX_PIXELS:
            raise ValueError(f"a frame of {opened.width}x{opened.height} px is too large for a stream")
        image = rgb_of(opened)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def read_regular(path: Path) -> bytes | None:
    """The bytes of a regular file of sane size; None for what is not there, a link, a pipe, a device."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENXIO):
            return None
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_BYTES:
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(_MAX_BYTES)
