"""Memories written to a folder, a zip or a tar, and read back.

::

    manifest.jsonl      a line that says what this is, then a line a memory
    pictures/...        as in the memory itself
    latents/...

What is read back may come from anywhere: only files that the manifest names, under names such as the memory
itself gives, are looked at; nothing is unpacked to disk; each must be what its name says, whole, a picture.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from backend.cache.matching import Identity, Vectors
from backend.cache.memory_row import Added, Memory, NewMemory, Order, Origin, Refused
from backend.cache.picture_files import MAX_FILE_BYTES, is_ours, is_whole
from backend.cache.row_codec import is_unit
from backend.cache.told import finite
from backend.errors import LatentRejected, PictureRejected, StorageError
from backend.utils.file_ops import read_at_most
from backend.utils.picture_check import inspect_picture
from backend.utils.tame_json import tame

FORMAT = "dreamloop-memory"
VERSION = 1
MANIFEST = "manifest.jsonl"
MAX_LINE_BYTES = 2**20
MAX_ENTRIES = 10_000_000
_MAX_PIXELS = 2**26
_MAX_TEXT = 20_000
_PAGE = 200
_MOST_TOLD = 200

Write = Callable[[str, IO[bytes], int], None]
"""A name, what to read from, and how many bytes."""
Read = Callable[[str], bytes]


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
        StorageError: It stands there already, or the disk said no; then nothing is left under that name.
    """
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
            _check_header(next(lines, b""))
            for number, line in enumerate(lines, 2):
                told += 1
                if told > MAX_ENTRIES:
                    raise ValueError(f"more than {MAX_ENTRIES:,} memories")
                try:
                    outcome = memory.add(_told_in(line, read, memory.identity))
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
        manifest.write(_line({"format": FORMAT, "version": VERSION}))
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
    return _line(_told(row, memory.vector(row.id), memory.identity, has_latent=latent is not None))


def _told(row: Memory, vector: Vectors | None, identity: Identity, *, has_latent: bool) -> dict[str, Any]:
    told = asdict(row)
    if not has_latent:
        told["latent"] = None
    told["identity"] = None if vector is None else asdict(identity)
    told["vector"] = None if vector is None else base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return told


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _check_header(line: bytes) -> None:
    try:
        header = tame(line)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{MANIFEST} does not begin as that of a memory's export")
    if header.get("version") != VERSION:
        raise ValueError(f"an export of version {str(header.get('version'))[:20]}; known is {VERSION}")


def _told_in(line: bytes, read: Read, identity: Identity) -> NewMemory:
    """ValueError, PictureRejected or LatentRejected for whatever is not as it should be."""
    try:
        told = tame(line)
    except RecursionError:
        raise ValueError("nested without end") from None
    if not isinstance(told, dict):
        raise ValueError("it is no object")
    picture = _file(told.get("picture"), "pictures/", read)
    inspect_picture(picture, max_pixels=_MAX_PIXELS)
    latent = None if told.get("latent") is None else _file(told["latent"], "latents/", read)
    vector = _vector(told, identity)
    return NewMemory(
        picture=picture,
        latent=latent,
        embedding=vector,
        identity=None if vector is None else identity,
        score=_number(told.get("score")),
        theme=_text(told.get("theme")),
        prompt=_text(told.get("prompt")),
        negative=_text(told.get("negative")),
        seed=seed if isinstance(seed := told.get("seed"), int) and 0 <= seed < 2**64 else 0,
        parents=_parents(told.get("parents")),
        denoise=_number(told.get("denoise")),
        shows_prompt=None if told.get("shows_prompt") is None else _number(told["shows_prompt"]),
        origin=Origin(_text(told.get("origin"))),
        pinned=told.get("pinned") is True,
    )


def _file(path: object, kind: str, read: Read) -> bytes:
    if not isinstance(path, str) or not path.startswith(kind) or not is_ours(path):
        raise ValueError(f"{str(path)[:120]!r} is no name of a file of a memory")
    data = read(path)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{path} has more than {MAX_FILE_BYTES:,} bytes")
    if not is_whole(path, data):
        raise ValueError(f"{path} is not what its name says")
    return data


def _vector(told: dict[str, Any], identity: Identity) -> Vectors | None:
    """Only one that can be compared here; others are embedded anew."""
    if told.get("identity") != asdict(identity) or not isinstance(told.get("vector"), str):
        return None
    data = base64.b64decode(told["vector"], validate=True)
    if len(data) != 4 * identity.dimension:
        return None
    vector = np.frombuffer(data, "<f4").astype(np.float32)
    return vector if is_unit(vector, identity.dimension) else None


def _text(value: object) -> str:
    return value[:_MAX_TEXT] if isinstance(value, str) else ""


def _number(value: object) -> float:
    number = finite(value)
    if number is None:
        raise ValueError("a number is missing, or none, or endless")
    return number


def _parents(value: object) -> tuple[str, ...]:
    return tuple(str(parent)[:64] for parent in value[:64]) if isinstance(value, list) else ()


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
        with _opened(lambda: (root / MANIFEST).open("rb")) as manifest:
            yield _lines(manifest), lambda name: _in_folder(root, name)
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
    except (KeyError, FileNotFoundError, ValueError):
        raise ValueError(f"there is no {MANIFEST} in it") from None


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
