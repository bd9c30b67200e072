"""The shown frames on disk: output/frames/<sequence>.<ext>, and the newest as output/current_frame.png."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from backend.core.current_frame import CurrentFrame
from backend.core.frame_buffer import Frame, FrameKind
from backend.core.replay import KeptFrame
from backend.core.shown_log import Showing, ShownLog, read_shown
from backend.errors import PictureRejected, StorageError
from backend.utils.file_ops import link_atomic, sweep_temporaries, write_atomic
from backend.utils.picture_check import PictureFacts, inspect_picture
from backend.utils.picture_formats import FORMATS

log = logging.getLogger(__name__)

_KEPT_WHERE_SCARCE_S = 5.0
"""Enough for displays that poll."""


@dataclass(frozen=True)
class ShownFrame:
    """A picture that was shown; its file never changes.

    Attributes:
        sequence: Grows by one with each shown frame, over restarts too.
        bytes: Size of the file.
        shown_at: Monotonic seconds; for a frame of an earlier run the time of taking it over.
    """

    sequence: int
    path: Path
    bytes: int
    sha256: str
    facts: PictureFacts
    kind: FrameKind
    theme: str
    duration_s: float
    shown_at: float


@dataclass(frozen=True)
class _File:
    sequence: int
    path: Path
    bytes: int
    shown_at: float
    duration_s: float


class FrameShelf:
    """Writes frames as they came and forgets them when they are old or too many.

    Args:
        output: The output folder; frames go to its ``frames/``.
        keep_s: How long a shown frame stays on disk.
        budget_bytes: The most that all frames together may take.
        max_pixels: Pictures above this are not read back.
        clock: Monotonic seconds.
        wall: Seconds since 1970, for what is noted of the frames.
        spooled: Told of the file that a frame had already, once it is shown.
        scarce: Whether the disk has room for little; then frames stay for seconds only.
    """

    def __init__(
        self,
        output: Path,
        *,
        keep_s: float,
        budget_bytes: int,
        max_pixels: int,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
        spooled: Callable[[Path | None], None] = lambda _: None,
        scarce: Callable[[], bool] = lambda: False,
    ) -> None:
        self.output = output
        self.frames_folder = output / "frames"
        self._current = CurrentFrame(output / "current_frame.png")
        self.budget_bytes = budget_bytes
        self.keep_s = keep_s
        self._max_pixels = max_pixels
        self._clock = clock
        self._wall = wall
        self._spooled = spooled
        self._scarce = scarce
        self._log = ShownLog(output)
        self._files: deque[_File] = deque()
        self._bytes = 0
        self._sequence = 0
        self._pinned: frozenset[Path] = frozenset()
        self.stuck: str | None = None
        """Why old frames cannot be deleted, where that is so."""

    def open(self) -> ShownFrame | None:
        """Take over what an earlier run left: its frames, its numbering, a whole current frame.

        Returns:
            The newest of its frames that is whole, which is on display still; None if there is none.

        Raises:
            StorageError: If the folder cannot be used.
        """
        try:
            self.frames_folder.mkdir(parents=True, exist_ok=True)
            sweep_temporaries(self.output)
            sweep_temporaries(self.frames_folder)
            found = sorted(_numbered(self.frames_folder))
            now, noted = self._clock(), _noted(self.output, found)
            for sequence, path in found:
                size = path.stat().st_size
                if size == 0:  # a power cut after the rename
                    path.unlink()
                    continue
                showing = noted.get(sequence)
                self._remember(_File(sequence, path, size, now, showing.duration_s if showing else 0.0))
        except OSError as error:
            raise StorageError(self.frames_folder, error) from error
        self._sequence = max((sequence for sequence, _ in found), default=0)
        if not found:
            self._log.begin_anew()
        self.prune()
        newest = self._mend_current()
        showing = None if newest is None else noted.get(newest.sequence)
        if newest is None or showing is None:
            return newest
        return replace(newest, kind=showing.kind, theme=showing.theme)

    @property
    def current_path(self) -> Path:
        """The newest frame under one name, always a PNG."""
        return self._current.path

    def close(self) -> None:
        """Let the current frame follow to the last one; show none after this."""
        self._current.close()
        self._log.close()

    def show(self, frame: Frame) -> ShownFrame:
        """Write a frame under the next sequence number, and as the current one.

        Raises:
            StorageError: If the disk does not take it; nothing half-written stays.
        """
        path = self._next_path(FORMATS[frame.facts.format].suffix)
        try:
            _place(frame, path)
        except StorageError as error:
            if not (error.full and self._make_room()):
                raise
            _place(frame, path)
        shown = self._shown(path, frame, frame.data)
        self._spooled(frame.file)
        return shown

    def show_again(self, path: Path, duration_s: float) -> tuple[ShownFrame, bytes]:
        """Show a kept frame once more, under a new sequence number; it takes no further space.

        Args:
            path: A file of ``kept()``.
            duration_s: How long it is to be shown this time.

        Returns:
            The shown frame, and its picture.

        Raises:
            StorageError: If it cannot be read or linked.
            PictureRejected: If the file is not a picture any more.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StorageError(path, error) from error
        facts = inspect_picture(data, max_pixels=self._max_pixels)
        again = self._next_path(path.suffix)
        link_atomic(path, again)
        frame = Frame(data, facts, FrameKind.REPLAY, theme="", duration_s=duration_s)
        return self._shown(again, frame, data), data

    def kept(self, first: int = 0) -> tuple[KeptFrame, ...]:
        """The kept frames from sequence number ``first`` on, oldest first.

        Of a frame of an earlier run it may not be known how long it was shown; then it says 0.
        """
        return tuple(KeptFrame(file.path, file.duration_s) for file in self._files if file.sequence >= first)

    def pin(self, paths: tuple[Path, ...]) -> None:
        """Keep these, however old, until other ones are pinned (for replay)."""
        self._pinned = frozenset(paths)

    def drop(self, path: Path) -> None:
        """Forget a frame that turned out to be broken."""
        path.unlink(missing_ok=True)
        for file in [file for file in self._files if file.path == path]:
            self._files.remove(file)
            self._bytes -= file.bytes

    def prune(self) -> None:
        """Delete what is older than ``keep_s`` or beyond the budget; never the newest."""
        keep_s = min(self.keep_s, _KEPT_WHERE_SCARCE_S) if self._scarce() else self.keep_s
        oldest_kept = self._clock() - keep_s
        spared: list[_File] = []
        while len(self._files) > 1 and (
            self._files[0].shown_at < oldest_kept or self._bytes > self.budget_bytes
        ):
            file = self._files.popleft()
            if file.path in self._pinned:
                spared.append(file)
                continue
            self._bytes -= file.bytes
            try:
                file.path.unlink(missing_ok=True)
            except OSError as error:
                self._files.appendleft(file)
                self._bytes += file.bytes
                self._files.extendleft(reversed(spared))
                raise StorageError(file.path, error) from error
        self._files.extendleft(reversed(spared))

    @property
    def frames(self) -> int:
        """How many frames are kept."""
        return len(self._files)

    @property
    def size_bytes(self) -> int:
        """What they take, counting a frame shown twice twice."""
        return self._bytes

    def _make_room(self) -> bool:
        """The disk is full: give up the oldest eighth of our frames, but none that is needed.

        So many at once, because the status and the embedded engine need space on the same disk.
        """
        loose = [file for file in list(self._files)[:-1] if file.path not in self._pinned]
        spare = loose[: len(loose) // 8 + 1]
        for file in spare:
            self._files.remove(file)
            self._bytes -= file.bytes
            with contextlib.suppress(OSError):
                file.path.unlink()
        if spare:
            log.warning("the disk is full: the oldest %d of the kept frames were deleted", len(spare))
        return bool(spare)

    def _shown(self, path: Path, frame: Frame, data: bytes) -> ShownFrame:
        now = self._clock()
        self._sequence += 1
        self._remember(_File(self._sequence, path, len(data), now, frame.duration_s))
        self._log.add(
            Showing(self._sequence, self._wall(), frame.duration_s, frame.kind, frame.theme),
            self._files[0].sequence,
        )
        try:
            self._current.show(path, data, frame.facts.format)
        finally:
            self._tidy()  # also where the current one cannot be had: the others must not pile up
        digest = hashlib.sha256(data).hexdigest()
        return ShownFrame(
            self._sequence,
            path,
            len(data),
            digest,
            frame.facts,
            frame.kind,
            frame.theme,
            frame.duration_s,
            now,
        )

    def _tidy(self) -> None:
        """Prune; a file that cannot be deleted is told of, but the frame that was shown counts."""
        try:
            self.prune()
        except StorageError as error:
            self.stuck = str(error)
            log.warning("an old frame cannot be deleted: %s", error)
        else:
            self.stuck = None

    def _mend_current(self) -> ShownFrame | None:
        """After a crash the newest whole frame is the current one."""
        for file in reversed(list(self._files)):
            try:
                data = file.path.read_bytes()
                facts = inspect_picture(data, max_pixels=self._max_pixels)
            except (PictureRejected, OSError):
                self.drop(file.path)
                continue
            try:
                self._current.show(file.path, data, facts.format)
            except StorageError as error:
                if not error.full:  # else the display keeps what it has until there is space
                    raise
                log.error("the newest frame could not be made the current one: %s", error)
            digest = hashlib.sha256(data).hexdigest()
            return ShownFrame(
                file.sequence,
                file.path,
                file.bytes,
                digest,
                facts,
                FrameKind.REPLAY,
                "",
                file.duration_s,
                file.shown_at,
            )
        return None

    def _next_path(self, suffix: str) -> Path:
        return self.frames_folder / f"{self._sequence + 1:09d}{suffix}"

    def _remember(self, file: _File) -> None:
        self._files.append(file)
        self._bytes += file.bytes


def _place(frame: Frame, path: Path) -> None:
    """Let a path hold the frame: by another name for the file that it has, else by writing it."""
    if frame.file is not None:
        with contextlib.suppress(StorageError):  # somebody removed that file
            link_atomic(frame.file, path)
            return
    write_atomic(path, frame.data)


def _noted(output: Path, found: list[tuple[int, Path]]) -> dict[int, Showing]:
    """What was noted of the frames that were found."""
    return {showing.sequence: showing for showing in read_shown(output, found[0][0])} if found else {}


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """Our own frames in a folder; what other people put there is left alone."""
    suffixes = {format.suffix for format in FORMATS.values()}
    return [
        (int(path.stem), path)
        for path in folder.iterdir()
        if path.suffix in suffixes and path.stem.isascii() and path.stem.isdigit() and path.is_file()
    ]
