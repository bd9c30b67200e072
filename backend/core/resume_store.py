"""The resume point on disk: ``output/.resume/point.json``, and its latents and pictures, named by content."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import re
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from backend.core.resume_point import PointUnfit, ResumePoint, read_point
from backend.errors import StorageError
from backend.utils.file_ops import read_at_most, sweep_temporaries, write_atomic

log = logging.getLogger(__name__)

FOLDER = ".resume"
"""In the output folder: a status folder may be one that does not outlive a power cut."""
POINT = "point.json"

_POINT_BYTES = 4_000_000
_FILE_BYTES = 256_000_000
_SUFFIXES = (".latent", ".picture")
_ASIDE_KEPT = 3
_MARK = re.compile(r"[0-9a-f]{32}")
_MARK_BYTES = 100


def mark_of(output: Path) -> str:
    """By what servers are to know this dream's jobs: nobody else's, and the same at each start.

    Where the disk refuses it, another one each time.
    """
    path = output / FOLDER / "mark"
    with contextlib.suppress(OSError):
        told = read_at_most(path, _MARK_BYTES).decode("ascii", "replace").strip()
        if _MARK.fullmatch(told):
            return told
    mark = uuid.uuid4().hex
    with contextlib.suppress(StorageError):
        write_atomic(path, f"{mark}\n".encode())
    return mark


class ResumeStore:
    """Writes and reads it; one writer, the dream loop.

    A point is whole or it is the one before: its files stand before it names them, all of them survive a
    power cut, and those that nothing names any more are deleted after it.

    Args:
        output: The output folder.

    Attributes:
        note: What became of a point that could not be used, as a sentence; empty where all is well.
    """

    def __init__(self, output: Path) -> None:
        self.folder = output / FOLDER
        self.note = ""

    def load(self) -> ResumePoint | None:
        """What an earlier run left; None where it left nothing that can be used, which is then set aside."""
        sweep_temporaries(self.folder)
        path = self.folder / POINT
        try:
            data = read_at_most(path, _POINT_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._tell(f"where the last run ended cannot be read: {StorageError(path, error)}")
            return None
        try:
            if len(data) > _POINT_BYTES:
                raise PointUnfit("it is far too large", "unreadable")
            return read_point(data)
        except PointUnfit as unfit:
            self._set_aside(unfit)
            return None

    def file(self, digest: str) -> bytes | None:
        """The content that has this SHA-256; None where it is gone or damaged."""
        for suffix in _SUFFIXES:
            with contextlib.suppress(OSError):
                data = read_at_most(self.folder / f"{digest}{suffix}", _FILE_BYTES)
                if hashlib.sha256(data).hexdigest() == digest:
                    return data
        return None

    def keep(self, data: bytes, *, is_latent: bool) -> str:
        """Write a content that is not there yet; its SHA-256.

        Raises:
            StorageError: The disk said no.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self.folder / f"{digest}{_SUFFIXES[not is_latent]}"
        if not _has_size(path, len(data)):
            write_atomic(path, data, durable=True)
        return digest

    def save(self, point: ResumePoint) -> None:
        """Make this the point that the next start goes on from.

        Raises:
            StorageError: The disk said no; the one before stands.
        """
        write_atomic(self.folder / POINT, point.model_dump_json().encode() + b"\n", durable=True)
        self._forget_all_but(point.digests)

    def _forget_all_but(self, digests: Iterable[str]) -> None:
        kept = {f"{digest}{suffix}" for digest in digests for suffix in _SUFFIXES}
        with contextlib.suppress(OSError):  # they are looked for again the next time
            for path in self.folder.iterdir():
                if path.suffix in _SUFFIXES and path.name not in kept:
                    path.unlink()

    def _set_aside(self, unfit: PointUnfit) -> None:
        """Out of the way by another name, with all its files, for whoever can make sense of it."""
        aside = self.folder.with_name(f"{FOLDER}.{unfit.suffix}")
        places = [aside, *(aside.with_name(f"{aside.name}.{number}") for number in range(1, _ASIDE_KEPT))]
        try:
            shutil.rmtree(places[-1], ignore_errors=True)
            for newer, older in reversed(list(itertools.pairwise(places))):
                with contextlib.suppress(FileNotFoundError):
                    newer.replace(older)
            self.folder.replace(aside)
            what = f"it was set aside as {aside}"
        except OSError as error:
            what = f"it could not be set aside: {error.strerror or error}"
        self._tell(f"the dream begins anew, because {self.folder / POINT} cannot be used: {unfit}; {what}")

    def _tell(self, note: str) -> None:
        self.note = note
        log.warning("%s", note)


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
