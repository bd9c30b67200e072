"""Atomic file writes, and reads of files that people put there; the only place that knows how.

A reader sees the old file or the new one, never a part: bytes go to a temporary file in the same folder,
which is renamed over the target only when it is whole. Temporaries are named ``.<name>.<pid>.<n>.tmp``, so
that an orphan of a killed process is recognised and swept at the next start.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import shutil
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from backend.errors import StorageError

ORPHAN_AGE_S = 600.0
"""A write lasts milliseconds: a temporary this old is nobody's, even if its pid lives again."""

_NO_LINKS = frozenset(
    {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
)
_TEMPORARY = re.compile(r"\..+\.(?P<pid>\d+)\.\d+\.tmp")
_numbers = itertools.count(1)
_in_flight: set[Path] = set()
_left: deque[Path] = deque(maxlen=100_000)
"""Temporaries that a sick disk did not let us remove; they go once it has taken something again."""
_LEFT_AT_ONCE = 32


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = False) -> None:
    """Writes a file whole or not at all.

    Args:
        path: The file; a missing folder is made (a person may have emptied it while we run).
        data: All its bytes.
        mode: Permissions before the umask: displays of other users may read what the umask allows.
        durable: Also survive a power cut (fsync of file and folder; costs milliseconds to seconds).

    Raises:
        StorageError: The disk said no. What stood at ``path`` stands there still, the temporary is gone.
    """
    with _storage_errors(path), _temporary(path) as temporary:
        descriptor = _create(temporary, mode)
        try:
            _write_all(descriptor, data)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)  # noqa: PTH105 - tests move a fault through the calls of os
        if durable:
            _sync_folder(path.parent)


def write_pieces_atomic(path: Path, pieces: Iterable[bytes], *, mode: int = 0o644) -> None:
    """As `write_atomic`, durably, for what is too large to be held in memory.

    Args:
        path: The file.
        pieces: Its bytes, in order; what they raise goes through, and nothing is left behind.
        mode: Permissions before the umask.

    Raises:
        StorageError: The disk said no.
    """
    with _storage_errors(path), _temporary(path) as temporary:
        descriptor = _create(temporary, mode)
        try:
            for piece in pieces:
                _write_all(descriptor, piece)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)  # noqa: PTH105 - as in write_atomic
        _sync_folder(path.parent)


@contextlib.contextmanager
def whole_or_nothing(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """A temporary path beside ``path``, which takes its place when the block ends well.

    For libraries that write by name (films). Durable; on any exception nothing is left behind.

    Args:
        path: What is to stand there in the end; what stood there is replaced, a folder with all it holds.
        folder: It is a folder, and has been made when the block begins.

    Raises:
        StorageError: The disk said no here; what the block raises goes through.
    """
    with _temporary(path) as temporary:
        with _storage_errors(path):
            temporary.parent.mkdir(parents=True, exist_ok=True)
            if folder:
                temporary.mkdir()
        yield temporary
        with _storage_errors(path):
            if folder:
                _replace_folder(temporary, path)
            else:
                _sync(temporary)
                os.replace(temporary, path)  # noqa: PTH105 - as in write_atomic
            _sync_folder(path.parent)


def rewrite_atomic(path: Path, data: bytes) -> None:
    """Changes a file that a person has written: whole or not at all, durably, with its mode and its owner.

    Args:
        path: The file, or a link to it, which stays a link.
        data: All its bytes.

    Raises:
        StorageError: The disk said no; what stood there stands there still.
    """
    with _storage_errors(path):
        target = path.resolve()
        before = target.stat() if target.exists() else None
        try:
            _replace_like(target, data, before)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            # A file that is mounted by itself, as containers do it, cannot be replaced: only its content can.
            descriptor = os.open(target, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
            try:
                _write_all(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder for the length of the block, on the disk of ``parent``; swept later if we are killed.

    Raises:
        StorageError: The disk said no.
    """
    with _temporary(parent / name) as folder:
        with _storage_errors(folder):
            folder.mkdir()
        yield folder


def write_json_atomic(path: Path, value: Any, *, mode: int = 0o644, durable: bool = False) -> None:
    """Writes a value as one line of JSON, whole or not at all.

    Raises:
        StorageError: As :func:`write_atomic`.
        ValueError: The value holds NaN or infinity, which JSON does not know.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    write_atomic(path, text.encode("utf-8", "replace") + b"\n", mode=mode, durable=durable)


def link_atomic(source: Path, path: Path) -> None:
    """Lets ``path`` name the same immutable file as ``source``: a hard link, or a copy where there are none.

    Raises:
        StorageError: The disk said no; what stood at ``path`` stands there still.
    """
    with _storage_errors(path), _temporary(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            os.replace(temporary, path)  # noqa: PTH105
            return
    with _storage_errors(source):
        data = source.read_bytes()
    write_atomic(path, data)


def sweep_temporaries(folder: Path, *, wall: Callable[[], float] = time.time) -> int:
    """Removes what killed writers left in a folder (not in folders below it).

    Only files and folders of our own naming go, and only if their process is dead, or is this one and not
    writing them now (pids come back, in containers always), or if they are older than ``ORPHAN_AGE_S``.

    Returns:
        How many were removed. A folder that cannot be read counts as swept: nothing depends on it.
    """
    swept = 0
    with contextlib.suppress(OSError):
        for entry in list(folder.iterdir()):
            if _is_orphan(entry, wall()):
                _remove(entry)
                swept += not entry.exists()
    return swept


def read_at_most(path: Path, limit_bytes: int) -> bytes:
    """The bytes of a file that somebody else has put there, which may be anything.

    A pipe would make the reader wait for ever, a device may have no end: only a regular file is opened.

    Returns:
        All of it, or its first ``limit_bytes + 1`` bytes where it has more.

    Raises:
        OSError: It cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        return file.read(limit_bytes + 1)


class NotRegular(OSError):  # noqa: N818 - an OSError like others
    """A pipe, a device, a folder or a socket stands where a file should."""


def open_regular(path: Path) -> BinaryIO:
    """Opens a file to read that somebody else has put there; never waits, as opening a pipe would.

    Raises:
        NotRegular: It is no file.
        OSError: It cannot be opened.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise NotRegular(errno.EINVAL, "not a regular file", str(path))
    # Whatever it may have become in the meantime, opening it does not wait.
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def process_lives(pid: int) -> bool:
    """Whether a process of this id exists (it may be another program by now)."""
    if pid <= 0 or pid >= 2**31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # EPERM: it exists and belongs to somebody else
        return True
    return True


@contextlib.contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(path, error) from error


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A fresh temporary name beside ``path``; nothing of that name is left afterwards, come what may."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{next(_numbers)}.tmp")
    _in_flight.add(temporary)
    try:
        # After a rename there is nothing to unlink, except where both names were links to one file
        # already: POSIX rename then does nothing and leaves the temporary.
        yield temporary
        _remove_left()
    finally:
        if not _remove(temporary):
            _left.append(temporary)
        _in_flight.discard(temporary)


def _remove(path: Path) -> bool:
    """A file, or a folder with all it holds, if it is there; whether it is gone."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _remove_left() -> None:
    """Some of them at a time; one that still does not go, of another disk perhaps, holds up no other."""
    for _ in range(min(len(_left), _LEFT_AT_ONCE)):
        with contextlib.suppress(IndexError):  # another thread was quicker
            if not _remove(path := _left.popleft()):
                _left.append(path)


def _replace_folder(temporary: Path, path: Path) -> None:
    """No system call replaces a folder that holds something: the old one steps aside first."""
    with _temporary(path) as aside:
        with contextlib.suppress(FileNotFoundError):
            path.rename(aside)
        try:
            temporary.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                aside.rename(path)
            raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace_like(target: Path, data: bytes, before: os.stat_result | None) -> None:
    with _temporary(target) as temporary:
        descriptor = _create(temporary, 0o644 if before is None else 0o600)
        try:
            if before is not None:
                with contextlib.suppress(PermissionError):  # a file of somebody else's becomes ours
                    os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)  # noqa: PTH105 - as in write_atomic
        _sync_folder(target.parent)


def _create(temporary: Path, mode: int) -> int:
    # O_TRUNC and not O_EXCL: an orphan of an earlier process with our pid must not stop us.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(temporary, flags, mode)
    except FileNotFoundError:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        return os.open(temporary, flags, mode)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # a nearly full disk takes a part and refuses the rest only at the next call
        rest = rest[os.write(descriptor, rest) :]


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself durable; some file systems cannot sync a folder and need not."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _is_orphan(entry: Path, now_s: float) -> bool:
    name = _TEMPORARY.fullmatch(entry.name)
    if name is None or entry in _in_flight or entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
        return False
    pid = int(name["pid"])
    if pid == os.getpid() or not process_lives(pid):
        return True
    return now_s - entry.stat().st_mtime > ORPHAN_AGE_S
