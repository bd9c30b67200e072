"""One Dreamloop to an output folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType

from backend.errors import AlreadyRunning, StorageError

LOCK_NAME = ".dreamloop.lock"


class OutputLock:
    """Holds a folder for this process, by flock on ``<folder>/.dreamloop.lock``.

    The kernel drops the lock with the process, however that dies; the file stays and means nothing by
    itself. Children do not inherit it (close on exec). It holds the owner's pid for whoever comes second.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_NAME
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the folder, which is made if it is missing.

        Raises:
            AlreadyRunning: Another process holds it.
            StorageError: The lock file cannot be made, or the file system knows no locks.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while self._descriptor is None:
                self._try()
        except OSError as error:
            raise StorageError(self.path, error) from error

    def release(self) -> None:
        """Gives the folder back. The file stays: to remove it would race with who locks it next."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
            os.close(descriptor)

    def __enter__(self) -> OutputLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _try(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o644)
        try:
            self._lock(descriptor)
            if _same_file(descriptor, self.path):  # else somebody removed it just now: lock the new one
                os.ftruncate(descriptor, 0)
                with contextlib.suppress(OSError):  # a full disk; the lock holds without the courtesy
                    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                self._descriptor = descriptor
        finally:
            if self._descriptor is None:
                os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise AlreadyRunning(_pid_in(descriptor), self.path.parent) from error
            raise


def _pid_in(descriptor: int) -> int | None:
    text = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdecimal() else None


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
