"""A file that people edit while somebody reads it: what it holds, and for how long it has held that.

Editors write in many ways: in place, byte by byte; a new file renamed over the old one; the old one moved
away first; a symbolic link turned to another file. All of them end in bytes that stay, so bytes that stay are
what is waited for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Two writes within one tick of a file system's clock look alike from outside, so a file that has just
# changed is read at every look. FAT's clock ticks every two seconds.
_READ_AGAIN_S = 3.0

_Signature = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Sighting:
    """What a path holds.

    Attributes:
        data: The bytes; None if there is no file that can be read.
        cause: Why not, if there is none.
        gone: There is nothing of that name.
        digest: Tells one content from another, and from none.
        age_s: For how long, as far as was seen, it has been so.
    """

    data: bytes | None
    cause: str
    gone: bool
    digest: str
    age_s: float


class SettledFile:
    """Looks at one path, cheaply: it is read only where its stat has changed, or did so a moment ago.

    Args:
        path: May be a link, or be missing.
        read: Its bytes; raises OSError.
    """

    def __init__(self, path: Path, read: Callable[[Path], bytes]) -> None:
        self.path = path
        self._read = read
        self._signature: _Signature | None = None
        self._moved_at = float("-inf")
        self._newest: Sighting | None = None
        self._since = 0.0

    def look(self, now: float) -> Sighting:
        """What is there now.

        Args:
            now: Monotonic seconds.
        """
        signature = _signature(self.path)
        if signature != self._signature:
            self._signature, self._moved_at = signature, now
        if self._newest is None or signature is None or now - self._moved_at < _READ_AGAIN_S:
            self._take(now)
        newest = self._newest
        assert newest is not None  # noqa: S101 - for the type checker: _take has set it
        return Sighting(newest.data, newest.cause, newest.gone, newest.digest, now - self._since)

    def _take(self, now: float) -> None:
        try:
            data = self._read(self.path)
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            cause = error.strerror or str(error)
            found = Sighting(None, cause, gone, f"no file: {cause}", 0.0)
        else:
            found = Sighting(data, "", False, hashlib.sha256(data).hexdigest(), 0.0)
        if self._newest is None or found.digest != self._newest.digest:
            self._since = now
        self._newest = found


def _signature(path: Path) -> _Signature | None:
    """What changes when a file does, whichever file the path leads to; None where it leads to none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
