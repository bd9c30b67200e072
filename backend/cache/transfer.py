"""Memories written to a folder, a zip or a tar, and read back.

::

    manifest.jsonl      a line that says what this is, then a line a memory
    pictures/...        as in the memory itself
    latents/...

What is read back may come from anywhere: only files that the manifest names, under names such as the memory
itself gives, are looked at; nothing is unpacked to disk; each must be what its name says, whole, a picture.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from backend.cache.manifest import MANIFEST, Read, check_header, header, line_of, memory_in
from backend.cache.matching import Identity, Vectors
from backend.cache.memory_row import Added, Memory, NewMemory, Order, Refused
from backend.cache.picture_files import MAX_FILE_BYTES
from backend.errors import LatentRejected, PictureRejected, StorageError
from backend.utils.file_ops import NotRegular, open_regular, read_at_most

MAX_LINE_BYTES = 2**20
MAX_ENTRIES = 10_000_000
_PACKED = frozenset({".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
_PAGE = 200
_MOST_TOLD = 200

Write = Callable[[str, IO[bytes], int], None]
"""A name, what to read from, and how many bytes."""


class Remembering(Protocol):
    """The memory, as far as it is carried over."""

    @property
    def identity(self) -> Identity: ...

    @property
    def size(self) -> int: ...

    def iterate(self, offset: int, limit: int, order: Order) -> list[Memory]: ...

    def picture(self, memory_id: str) -> bytes: ...

    def latent(self, memory_id: str) -> bytes | None: ...

    def vector(self, memory_id: str) -> Vectors | None: ...

    def add(self, new: NewMemory) -> Added | Refused: ...


@dataclass(frozen=True)
class ImportReport:
    """What became of an export.

    Attributes:
        added: How many memories are new.
        refused: How many were not taken.
        reasons: What, and why, of the first of them.
    """

    added: int
    refused: int
    reasons: tuple[tuple[str, str], ...]


def export_memory(memory: Remembering, path: Path) -> int:
    """Writes all memories to ``path``, by its suffix a zip, a tar or a folder. Returns how many.

    Raises:
        ValueError: By its suffix it should be an archive of another kind.
        StorageError: It stands there already, or the disk said no; then nothing is left under that name.
    """
    if path.suffix.lower() in _PACKED:
        raise ValueError(f"{path}: a memory can be written to a new folder, .zip or .tar, not {path.suffix}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists():
            raise FileExistsError(17, "it stands there already", str(path))
        try:
            with _target(temporary, path.suffix.lower()) as write:
                count = _write_all(memory, write, path.parent)
            temporary.rename(path)
        except BaseException:
            _discard(temporary)
            raise
    except OSError as error:
        raise StorageError(path, error) from error
    return count


def import_memory(memory: Remembering, path: Path) -> ImportReport:
    """Adds the memories of an export; one that is not as it should be is told, others go on.

    Raises:
        StorageError: It cannot be read, or the memory not be written.
        ValueError: It is no export.
    """
    added, refused = 0, list[tuple[str, str]]()
    told = 0
    try:
        with _source(path) as (lines, read):
            check_header(next(lines, b""))
            for number, line in enumerate(lines, 2):
                told += 1
                if told > MAX_ENTRIES:
                    raise ValueError(f"more than {MAX_ENTRIES:,} memories")
                try:
                    outcome = memory.add(memory_in(line, read, memory.identity))
                except (ValueError, PictureRejected, LatentRejected) as error:
                    refused.append((f"line {number}", str(error)))
                    continue
                if isinstance(outcome, Added):
                    added += 1
                else:
                    refused.append((f"line {number}", str(outcome.reason)))
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, NotImplementedError, EOFError) as error:
        raise ValueError(f"{path} is no export of a memory: {error}") from error
    except OSError as error:
        raise StorageError(path, error) from error
    return ImportReport(added, len(refused), tuple(refused[:_MOST_TOLD]))


def _write_all(memory: Remembering, write: Write, folder: Path) -> int:
    """Pictures as they come, the manifest at the end: it names nothing that is not there."""
    offset = count = 0
    with tempfile.TemporaryFile(dir=folder) as manifest:  # too much for the memory of a small machine
        manifest.write(header())
        while (page := memory.iterate(offset, _PAGE, Order.OLDEST)) or offset < memory.size:
            offset += _PAGE  # of rows: those that make no sense are not in the page
            for line in filter(None, (_write_one(memory, row, write) for row in page)):
                manifest.write(line)
                count += 1
        size = manifest.tell()
        manifest.seek(0)
        write(MANIFEST, manifest, size)
    return count


def _write_one(memory: Remembering, row: Memory, write: Write) -> bytes | None:
    """The files of one memory, and its line; None if it is gone, or damaged and so set aside."""
    try:
        picture = memory.picture(row.id)
    except PictureRejected:
        return None
    try:
        latent = memory.latent(row.id)
    except LatentRejected:
        latent = None
    write(row.picture, io.BytesIO(picture), len(picture))
    if latent is not None and row.latent is not None:
        write(row.latent, io.BytesIO(latent), len(latent))
    return line_of(row, memory.vector(row.id), memory.identity, has_latent=latent is not None)


@contextmanager
def _target(path: Path, suffix: str) -> Iterator[Write]:
    if suffix == ".zip":
        with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as packed:  # pictures are packed already
            yield lambda name, source, size: _zip(packed, name, source)
    elif suffix == ".tar":
        with tarfile.open(path, "x") as archive:
            yield lambda name, source, size: _tar(archive, name, source, size)
    else:
        path.mkdir(parents=True)
        yield lambda name, source, size: _copy(path / name, source)


def _zip(archive: zipfile.ZipFile, name: str, source: IO[bytes]) -> None:
    with archive.open(name, "w", force_zip64=True) as file:
        shutil.copyfileobj(source, file)


def _tar(archive: tarfile.TarFile, name: str, source: IO[bytes], size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    archive.addfile(info, source)


def _copy(path: Path, source: IO[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(source, file)


def _discard(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _source(path: Path) -> Iterator[tuple[Iterator[bytes], Read]]:
    """The manifest's lines, and a way to read a file by its name, at most one byte more than is allowed."""
    if path.is_dir():
        root = path.resolve()
        with _opened(lambda: open_regular(root / MANIFEST)) as manifest:
            yield _lines(manifest), lambda name: _in_folder(root, name)
    elif not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would mean to wait for ever
        raise ValueError(f"{path} is no export of a memory: neither a folder nor an ordinary file")
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive, _opened(lambda: archive.open(MANIFEST)) as manifest:
            yield _lines(manifest), lambda name: _in_zip(archive, name)
    else:
        with tarfile.open(path, "r:") as tar:
            members = _members(tar)
            with _opened(lambda: _in_tar(tar, members, MANIFEST)) as manifest:
                yield _lines(manifest), lambda name: _whole(_in_tar(tar, members, name))


def _opened(open_: Callable[[], IO[bytes]]) -> AbstractContextManager[IO[bytes]]:
    try:
        return open_()
    except (KeyError, FileNotFoundError, NotRegular, ValueError):
        raise ValueError(f"there is no {MANIFEST} in it, or it is no ordinary file") from None


def _lines(manifest: IO[bytes]) -> Iterator[bytes]:
    while line := manifest.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"a line of more than {MAX_LINE_BYTES:,} bytes in {MANIFEST}")
        if line.strip():
            yield line


def _in_folder(root: Path, name: str) -> bytes:
    path = (root / name).resolve()
    if not path.is_relative_to(root):  # a link that leads out
        raise ValueError(f"{name} leads out of the export")
    try:
        return read_at_most(path, MAX_FILE_BYTES)
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror or error}") from error


def _in_zip(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        with archive.open(name) as file:
            return file.read(MAX_FILE_BYTES + 1)
    except (KeyError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise ValueError(f"{name} cannot be read: {error}") from error


def _members(archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    members: dict[str, tarfile.TarInfo] = {}
    for member in archive:
        members[member.name] = member
        if len(members) > 2 * MAX_ENTRIES:
            raise ValueError(f"more than {2 * MAX_ENTRIES:,} files")
    return members


def _in_tar(archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> IO[bytes]:
    member = members.get(name)
    # A link could lead anywhere.
    file = archive.extractfile(member) if member is not None and member.isreg() else None
    if file is None:
        raise ValueError(f"{name} is not in it, or is no file")
    return file


def _whole(file: IO[bytes]) -> bytes:
    with file:
        return file.read(MAX_FILE_BYTES + 1)
