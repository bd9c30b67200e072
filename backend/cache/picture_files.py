"""The memory's pictures and latents: files named by what is in them.

::

    pictures/<2 digits>/<SHA-256 of the picture>.<png|jpg|webp>
    latents/<2 digits>/<SHA-256 of its picture>.<32 digits of the latent's own SHA-256>.latent

A file is written whole before a row names it and removed after its row is gone, so whatever happens in
between leaves a file too many, which ``check`` sweeps, and never a row without its file.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from PIL import Image

from backend.cache.quarantine import set_aside
from backend.cache.thumbnail import undecodable
from backend.errors import PictureRejected, StorageError
from backend.utils.file_ops import read_at_most, write_atomic

PICTURES, LATENTS = "pictures", "latents"
MAX_FILE_BYTES = 64 * 2**20
"""Of one picture or latent; what is larger was not made by any engine we know."""
MAX_PIXELS = 2**26

_RESERVE, _RESERVE_BYTES = ".reserve", 512 * 1024
_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp"}
_PICTURE = re.compile(r"pictures/(?P<shard>[0-9a-f]{2})/(?P<id>(?P=shard)[0-9a-f]{62})\.(png|jpg|webp)")
_LATENT = re.compile(
    r"latents/(?P<shard>[0-9a-f]{2})/(?P<id>(?P=shard)[0-9a-f]{62})\.(?P<own>[0-9a-f]{32})\.latent"
)

_TEMPORARY = re.compile(r"(pictures|latents)/[0-9a-f]{2}/\.[0-9a-z.]+\.tmp")


@dataclass(frozen=True)
class PictureSize:
    """What the header of a picture tells.

    Attributes:
        width: Pixels.
        height: Pixels.
        suffix: Of the file that it becomes, with its dot.
    """

    width: int
    height: int
    suffix: str


def size_of(picture: bytes) -> PictureSize:
    """Reads the header only: whoever hands a picture in has seen it whole.

    Raises:
        PictureRejected: It is no PNG, JPEG or WebP, or too large.
    """
    if len(picture) > MAX_FILE_BYTES:
        raise PictureRejected("broken", f"{len(picture):,} bytes are more than {MAX_FILE_BYTES:,}")
    try:
        with Image.open(io.BytesIO(picture), formats=("PNG", "JPEG", "WEBP")) as image:
            width, height, suffix = image.width, image.height, _SUFFIXES[image.format or ""]
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they like at broken bytes
        raise undecodable(picture, error) from None
    if width * height > MAX_PIXELS:
        raise PictureRejected("broken", f"{width}x{height} is more than {MAX_PIXELS:,} pixels")
    return PictureSize(width, height, suffix)


def id_of(picture: bytes) -> str:
    """The name of a picture: SHA-256 of its bytes, hexadecimal."""
    return hashlib.sha256(picture).hexdigest()


def picture_path(picture_id: str, suffix: str) -> str:
    """Where a picture belongs, relative to the memory's folder."""
    return f"{PICTURES}/{picture_id[:2]}/{picture_id}{suffix}"


def latent_path(picture_id: str, latent: bytes) -> str:
    """Where the latent of a picture belongs, relative to the memory's folder."""
    own = hashlib.sha256(latent).hexdigest()[:32]
    return f"{LATENTS}/{picture_id[:2]}/{picture_id}.{own}.latent"


def is_ours(relative: str) -> bool:
    """Whether it is a path as this module makes them, which leads nowhere else."""
    return bool(_PICTURE.fullmatch(relative) or _LATENT.fullmatch(relative))


def _places_of(picture_id: str) -> list[str]:
    """Where the picture of an id may lie; nowhere if it is no id."""
    places = [picture_path(picture_id, suffix) for suffix in dict.fromkeys(_SUFFIXES.values())]
    return [place for place in places if is_ours(place)]


def is_temporary(relative: str) -> bool:
    """Whether it is what :func:`write_atomic` writes into before it renames."""
    return bool(_TEMPORARY.fullmatch(relative))


def owner_of(relative: str) -> str:
    """The id of the picture that a file of ours is, or belongs to."""
    found = _PICTURE.fullmatch(relative) or _LATENT.fullmatch(relative)
    if found is None:
        raise ValueError(f"{relative!r} is no file of the memory")
    return found["id"]


def is_whole(relative: str, data: bytes) -> bool:
    """Whether the bytes are those that a file is named after."""
    digest = hashlib.sha256(data).hexdigest()
    if latent := _LATENT.fullmatch(relative):
        return digest.startswith(latent["own"])
    picture = _PICTURE.fullmatch(relative)
    return picture is not None and picture["id"] == digest


class MemoryFiles:
    """The files of one memory.

    Args:
        folder: Of the memory.
        durable: What was written survives a power cut.
        clock: The time, for the names of what is set aside.
    """

    def __init__(self, folder: Path, *, durable: bool, clock: Callable[[], datetime]) -> None:
        self.folder = folder
        self._durable = durable
        self._clock = clock

    def write(self, relative: str, data: bytes) -> None:
        """Writes a file whole or not at all.

        Raises:
            StorageError: The disk said no; nothing of it is left.
        """
        path = self.folder / relative
        self._make(path.parent)
        write_atomic(path, data, durable=self._durable)

    def _make(self, folder: Path) -> None:
        """A folder, durably: a file in one that a power cut took would be lost, too."""
        if folder.is_dir():
            return
        try:
            for one in (folder.parent, folder):
                one.mkdir(exist_ok=True)
                if self._durable:
                    _sync(one.parent)
        except OSError as error:
            raise StorageError(folder, error) from error

    def read(self, relative: str) -> bytes | None:
        """The bytes of a file; None if there is no such file (or something else under its name).

        Raises:
            StorageError: It is there and cannot be read.
        """
        path = self.folder / relative
        if not is_ours(relative) or not path.is_file():
            return None
        try:
            return read_at_most(path, MAX_FILE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(path, error) from error

    def picture_of(self, picture_id: str) -> str | None:
        """The picture of an id, relative, if it is there."""
        return next((place for place in _places_of(picture_id) if self.size(place) is not None), None)

    def latent_of(self, picture_id: str) -> str | None:
        """A whole latent of a picture, relative, if there is one.

        Raises:
            StorageError: It cannot be read.
        """
        shard = f"{LATENTS}/{picture_id[:2]}"
        for name in sorted(_entries(self.folder / shard)):
            path = f"{shard}/{name}"
            if is_ours(path) and owner_of(path) == picture_id:
                data = self.read(path)
                if data and is_whole(path, data):
                    return path
        return None

    def size(self, relative: str) -> int | None:
        """Bytes of a file; None if there is no such file."""
        path = self.folder / relative
        try:
            return path.stat().st_size if path.is_file() else None
        except OSError:
            return None

    def keep_reserve(self) -> None:
        """Holds a little space: on a full disk not even forgetting works without, since SQLite logs it."""
        if self.size(_RESERVE) is None:
            with contextlib.suppress(StorageError):
                write_atomic(self.folder / _RESERVE, bytes(_RESERVE_BYTES))

    def release_reserve(self) -> None:
        """Gives it up, to forget something that takes more."""
        with contextlib.suppress(OSError):
            (self.folder / _RESERVE).unlink()

    def remove(self, relative: str) -> None:
        """Removes a file; one that cannot be removed is left for ``check``, and what is not ours is left."""
        if is_ours(relative) or is_temporary(relative):
            with contextlib.suppress(OSError):
                (self.folder / relative).unlink()

    def set_aside(self, relative: str) -> None:
        """Moves a broken file out of the way, to the memory's own folder; what is not ours is left.

        Raises:
            StorageError: It cannot be moved.
        """
        if is_ours(relative):
            set_aside(self.folder / relative, self.folder, self._clock)

    def walk(self, kind: str) -> Iterator[str]:
        """All files of a kind, by their relative paths, strange ones too; in no order."""
        for shard in sorted(_entries(self.folder / kind)):
            for name in _entries(self.folder / kind / shard):
                yield f"{kind}/{shard}/{name}"


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names of a hundred thousand files, without a Path for each
    except OSError:  # no folder, no files
        return []


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
