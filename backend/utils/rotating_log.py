"""A program's own words in a file that cannot grow: two files, the older with ``.1`` behind its name."""

from __future__ import annotations

import logging
import threading
from collections import deque
from pathlib import Path

_log = logging.getLogger(__name__)

MAX_BYTES = 5 * 2**20
_LAST_LINES = 40
_LINE_CHARS = 300


class RotatingLog:
    """Takes lines; keeps the last ones at hand. A full disk costs lines, and never the program. Thread-safe.

    Args:
        path: The file; its folder is made.
        max_bytes: Of each of the two files.
        complains: Whether what cannot be written is told in our own log; it may be this one.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, *, complains: bool = True) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._size: int | None = None
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._complains = complains
        self._lost = not complains

    def write(self, line: str) -> None:
        """Appends a line."""
        data = f"{line}\n".encode(errors="replace")
        with self._lock:
            # A progress bar writes over its own line: what stands there in the end is what was said.
            self._last.append(line.rstrip("\r").rpartition("\r")[2][:_LINE_CHARS])
            try:
                self._append(data)
                self._lost = not self._complains
            except OSError as error:
                if not self._lost:
                    _log.warning("%s cannot be written: %s", self.path, error)
                self._lost, self._size = True, None

    def last_lines(self, count: int) -> tuple[str, ...]:
        """The last lines that are not empty, oldest first."""
        with self._lock:
            return tuple(line for line in self._last if line.strip())[-count:]

    def _append(self, data: bytes) -> None:
        if self._size is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._size = self.path.stat().st_size if self.path.exists() else 0
        if self._size and self._size + len(data) > self._max_bytes:
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
            self._size = 0
        with self.path.open("ab", buffering=0) as file:
            file.write(data)
        self._size += len(data)
