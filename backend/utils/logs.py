"""Plain log lines, and no floods of them."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from backend.utils.rotating_log import RotatingLog

REPEAT_S = 60.0
"""Lines that say the same, apart from numbers and ids, come at most this often."""
_MAX_KEYS = 500
_MAX_LINE = 2000
_EVENT_KEY = "dreamloop_event"
EVENT = {_EVENT_KEY: True}
"""For lines that tell of something rare, each of which counts."""
_VARIABLE = re.compile(r"[0-9a-f]{8}(?:-?[0-9a-f]{4})*|\d+(?:\.\d+)?", re.IGNORECASE)
_JOURNAL_LEVELS = {
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
}
_CLEAR_LINE = "\r\x1b[K"


class Stream(Protocol):
    """What lines are written to: standard error, or a file."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...

    def isatty(self) -> bool: ...


def set_up_logging(level: str, stream: Stream | None = None, form: str = "text") -> None:
    """Sends every log line from a level up to a stream (standard error); may be called again.

    Args:
        level: debug, info, warning or error, as log.level in config.yaml.
        stream: Where to.
        form: text, json or journal, see `form_of`.
    """
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(_formatter(form))
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    set_level(level)


def form_of(wish: str, environ: Mapping[str, str]) -> str:
    """How lines are written: as it is wished, else for journald where it listens, else as text."""
    if wish != "auto":
        return wish
    return "journal" if "JOURNAL_STREAM" in environ else "text"


def _formatter(form: str) -> logging.Formatter:
    if form == "json":
        return _JsonLine()
    if form == "journal":
        return _JournalLine("%(message)s")
    return _OneLine("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")


def set_level(level: str) -> None:
    """Logs every line from this level up, from now on; where to stays as it is."""
    logging.getLogger().setLevel(level.upper())
    # Libraries tell too much for a log that is kept for years.
    for library in ("aiohttp", "urllib3", "websocket", "PIL", "asyncio"):
        logging.getLogger(library).setLevel(logging.NOTSET if level == "debug" else logging.WARNING)


class FileStream:
    """A file that cannot grow, as a stream for the log; a full disk costs lines and nothing else."""

    def __init__(self, path: Path) -> None:
        self._file = RotatingLog(path, complains=False)

    def write(self, text: str) -> None:
        """Append lines."""
        self._file.write(text.rstrip("\n"))

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """It is no terminal."""
        return False


@dataclass(frozen=True)
class LogLine:
    """One line of the log.

    Attributes:
        number: Counts the lines from 1.
        at: Seconds since the epoch.
    """

    number: int
    at: float
    level: str
    text: str


class LogTail(logging.Handler):
    """The newest lines, for whoever asks a running daemon."""

    def __init__(self, most: int = 400) -> None:
        super().__init__(logging.INFO)
        self._lines: deque[LogLine] = deque(maxlen=most)
        self._count = 0
        self.setFormatter(_OneLine("%(message)s"))
        self.addFilter(RepeatFilter())

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self._count += 1
        level = record.levelname.lower()
        self._lines.append(LogLine(self._count, record.created, level, self.format(record)[:_MAX_LINE]))

    def after(self, number: int) -> tuple[LogLine, ...]:
        """The kept lines behind one, oldest first."""
        self.acquire()
        try:
            return tuple(line for line in self._lines if line.number > number)
        finally:
            self.release()


@dataclass
class _Repeats:
    said_at: float
    held_back: int = 0


class RepeatFilter(logging.Filter):
    """Lets the same message through once a minute and then says how many it held back.

    The same means: same logger, level, exception type and text, apart from numbers and ids. Debug lines
    all pass: who asks for them wants them. So do events, each of which is to be told
    (``log.info(..., extra=EVENT)``).
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: OrderedDict[tuple[object, ...], _Repeats] = OrderedDict()
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written; adds the number of its like that were not."""
        if record.levelno <= logging.DEBUG or getattr(record, _EVENT_KEY, False):
            return True
        text = record.getMessage()
        kind = record.exc_info[0] if record.exc_info else None
        key = (record.name, record.levelno, kind, _VARIABLE.sub("#", text)[:300])
        held_back = self._count(key)
        if held_back is None:
            return False
        if held_back:
            record.msg, record.args = f"{text} (and {held_back} more like it)", None
        return True

    def _count(self, key: tuple[object, ...]) -> int | None:
        """How many were held back since the last that passed; None if this one is held back too."""
        now = self._clock()
        with self._lock:
            repeats = self._seen.get(key)
            if repeats is not None and now - repeats.said_at < REPEAT_S:
                repeats.held_back += 1
                return None
            self._seen[key] = _Repeats(now)
            self._seen.move_to_end(key)
            if len(self._seen) > _MAX_KEYS:
                self._seen.popitem(last=False)
            return repeats.held_back if repeats else 0


class _OneLine(logging.Formatter):
    """What servers and files say may hold line ends and terminal commands; in a log they are only text."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        message = record.message
        if not message.isprintable():
            record.message = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
        return super().formatMessage(record)


class _JournalLine(_OneLine):
    """journald stamps lines itself; it wants to be told how bad each one is (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        """Lines that begin with their level, those of a traceback, too."""
        mark = f"<{_JOURNAL_LEVELS.get(record.levelno, 6)}>"
        return "\n".join(mark + line for line in super().format(record).splitlines())


class _JsonLine(logging.Formatter):
    """One object a line, for collectors of logs."""

    def format(self, record: logging.LogRecord) -> str:
        """Time in UTC, level, who says it, and what."""
        moment = datetime.fromtimestamp(record.created, UTC)
        told: dict[str, object] = {
            "time": f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=True)


class _Handler(logging.StreamHandler[Stream]):
    """On a terminal a log line first wipes the live line that may stand there."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of log."""
        return (_CLEAR_LINE if self.stream.isatty() else "") + super().format(record)
