"""A log of JSON lines in segments: appended to by one writer, read at any time, forgotten from the front."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from backend.errors import StorageError
from backend.utils.file_ops import read_at_most

_log = logging.getLogger(__name__)

_LINES_PER_SEGMENT = 2000
_SEGMENT = re.compile(r"(\d{9,18})\.jsonl")
_MAX_SEGMENT_BYTES = 8_000_000


class LineLog:
    """Appends numbered lines; each segment is named by the number of its first line.

    A killed writer or a full disk leaves at most one broken line, which readers pass over. Nothing is
    synced: a power cut may cost the newest lines.
    """

    def __init__(self, folder: Path, lines_per_segment: int = _LINES_PER_SEGMENT) -> None:
        self._folder = folder
        self._lines_per_segment = lines_per_segment
        self._descriptor: int | None = None
        self._lines = 0
        self._torn = False

    def append(self, number: int, line: Mapping[str, object]) -> None:
        """Add a line; numbers grow.

        Raises:
            StorageError: The disk does not take it; the next line may be tried.
        """
        data = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
        if self._torn:  # what follows half a line must not become a part of it
            data = b"\n" + data
        try:
            if self._descriptor is None or self._lines >= self._lines_per_segment:
                self._begin(number)
            assert self._descriptor is not None  # noqa: S101 - for the type checker: _begin() has opened it
            written = os.write(self._descriptor, data)
        except OSError as error:
            raise StorageError(self._folder, error) from error
        self._torn = written < len(data)
        self._lines += 1

    def forget_before(self, number: int) -> None:
        """Delete the segments that hold nothing from ``number`` on, but never the newest.

        Raises:
            StorageError: One cannot be deleted.
        """
        try:
            segments = _segments(self._folder)
            for (_, path), (first_of_next, _) in itertools.pairwise(segments):
                if first_of_next <= number:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(self._folder, error) from error

    def clear(self) -> None:
        """Forget everything; numbers may begin anew.

        Raises:
            StorageError: Something cannot be deleted.
        """
        self.close()
        try:
            for _, path in _segments(self._folder):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(self._folder, error) from error

    def close(self) -> None:
        """The next line begins a new segment."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _begin(self, number: int) -> None:
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self._folder / f"{number:09d}.jsonl", flags, 0o644)
        self._lines, self._torn = 0, True  # a segment of this name may end in half a line


class Notes:
    """A log that never stands in the way: what the disk refuses is left out, and that is said once.

    Args:
        log: Where the lines go.
        what: What it notes, for the warning that it does not.
        forget_every: So many lines later, what need not be kept is forgotten.
    """

    def __init__(self, log: LineLog, what: str, forget_every: int) -> None:
        self._log = log
        self._what = what
        self._forget_every = forget_every
        self._failing = False
        self._added = 0

    def begin_anew(self) -> None:
        """Nothing of what was told of is there any more, so that its numbers begin again."""
        self._try(self._log.clear)

    def close(self) -> None:
        """Let go of the file."""
        self._log.close()

    def add(self, number: int, line: Mapping[str, object], oldest_kept: int) -> None:
        """Note a line, and now and then forget those before ``oldest_kept``."""
        self._try(lambda: self._log.append(number, line))
        self._added += 1
        if self._added % self._forget_every == 0:
            self._try(lambda: self._log.forget_before(oldest_kept))

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except StorageError as error:
            if not self._failing:
                _log.warning("%s is not noted: %s", self._what, error)
            self._failing = True
        else:
            self._failing = False


def read_lines(folder: Path, first: int = 0) -> Iterator[Mapping[str, Any]]:
    """The lines of a log, oldest first, from the segment on that holds line ``first``.

    Whatever cannot be read is passed over; the writer may be at work.
    """
    try:
        segments = _segments(folder)
    except OSError:
        return
    for place, (_, path) in enumerate(segments):
        if place + 1 < len(segments) and segments[place + 1][0] <= first:
            continue
        try:
            data = read_at_most(path, _MAX_SEGMENT_BYTES)
        except OSError:
            continue
        for text in data.split(b"\n"):
            line = _parsed(text)
            if line is not None:
                yield line


def _segments(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    return sorted(
        (int(name[1]), path)
        for path in folder.iterdir()
        if (name := _SEGMENT.fullmatch(path.name)) is not None
    )


def _parsed(text: bytes) -> Mapping[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None
