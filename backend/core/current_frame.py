"""output/current_frame.png: the newest frame under one name, always a PNG, for whatever opens no other."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from backend.errors import StorageError
from backend.utils.file_ops import link_atomic, write_atomic
from backend.utils.picture_check import to_png

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Newest:
    path: Path
    data: bytes
    format: str


class CurrentFrame:
    """Follows the frames that are shown.

    A PNG is linked, which costs nothing. Making a PNG of another format takes longer than showing the
    frame, so a thread does it, for the newest frame only, and rests as long as it worked: half a core at
    the most.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: _Newest | None = None
        self._at_work = False
        self._failed: StorageError | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def show(self, path: Path, data: bytes, format: str) -> None:
        """Let the file follow to a frame; call it from one thread only.

        Args:
            path: The frame's own file.
            data: Its bytes.
            format: A key of FORMATS.

        Raises:
            StorageError: The disk does not take it, or has not taken one before it.
        """
        newest = _Newest(path, data, format)
        quick = format == "png" or not self.path.exists()
        with self._changed:
            at_once = quick and not self._at_work and self._waiting is None
            failed, self._failed = self._failed, None
            if not at_once:
                self._waiting = newest
                self._start()
                self._changed.notify_all()
        if at_once:
            self._write(newest)
        elif failed is not None:
            raise failed

    def turn(self) -> bool:
        """Write the newest frame that waits; False if none does."""
        with self._changed:
            newest, self._waiting = self._waiting, None
            self._at_work = newest is not None
        if newest is None:
            return False
        failed: StorageError | None = None
        try:
            self._write(newest)
        except StorageError as error:
            failed = error
        with self._changed:
            self._at_work, self._failed = False, failed
        return True

    def close(self, timeout_s: float = 2.0) -> None:
        """Bring the file up to date and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _start(self) -> None:
        if self._thread is None and not self._closing:
            self._thread = threading.Thread(target=self._run, name="current-frame", daemon=True)
            self._thread.start()

    def _write(self, newest: _Newest) -> None:
        if newest.format != "png":
            write_atomic(self.path, to_png(newest.data))
            return
        link_atomic(newest.path, self.path)
        try:
            os.utime(self.path)  # a replayed file is old; widgets look for a newer time
        except OSError as error:
            raise StorageError(self.path, error) from error

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closing)
                if self._waiting is None:
                    return
            start = time.monotonic()
            try:
                self.turn()
            except Exception:
                log.exception("current_frame.png stays behind; it follows with the next frame")
                with self._changed:
                    self._at_work = False
            with self._changed:
                self._changed.wait_for(lambda: self._closing, time.monotonic() - start)
