"""One calm line on a terminal: state, frame rate, buffer, theme, engine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:  # `main.py --help` must not wait for pydantic
    from backend.utils.status_schema import Status

_PERIOD_S = 0.4
_WIDTH = 80
_ENGINES = {"embedded": "embedded engine", "comfyui": "ComfyUI", "none": "no engine yet"}


def describe(status: Status) -> str:
    """The status in one line, the most important first."""
    display = status.display
    parts = [
        status.state.value,
        f"{display.shown_fps:.1f} fps",
        f"buffer {display.buffer_seconds:.1f}/{display.buffer_target_seconds:g} s",
        status.dream.theme,
        _ENGINES[status.engine.kind],
    ]
    if display.pace < 0.95:
        parts.insert(2, f"time stretched {1 / max(display.pace, 0.01):.1f}x")
    if status.reason.code.value != "ok":
        parts.append(status.reason.sentence)
    return " · ".join(printable(part) for part in parts if part)


def printable(text: str) -> str:
    """The text without line ends and terminal commands, which servers and files may have put into it."""
    return "".join(c if c.isprintable() else " " for c in text)


class LiveLine:
    """Rewrites the last line of a terminal; writes nothing where the stream is none.

    Args:
        stream: Where to; log lines on the same terminal wipe the line and it comes back.
        clock: Monotonic seconds.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.on_terminal = stream.isatty()
        self._stream = stream
        self._clock = clock
        self._shown_at = float("-inf")

    def show(self, status: Status) -> None:
        """Show a status, if the last one has stood for a moment."""
        if self.on_terminal and self._clock() - self._shown_at >= _PERIOD_S:
            self.say(describe(status))

    def say(self, text: str) -> None:
        """Show a text at once, cut to the width of the terminal."""
        if not self.on_terminal:
            return
        self._shown_at = self._clock()
        room = max(10, self._width() - 1)  # in the last column terminals wrap
        line = text if len(text) <= room else text[: room - 1] + "…"
        self._write(f"\r{line}\x1b[K")

    def close(self) -> None:
        """Wipe the line."""
        if self.on_terminal:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal was closed: the dream goes on
            self.on_terminal = False

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or _WIDTH
        except (OSError, ValueError):
            return _WIDTH
