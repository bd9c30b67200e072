"""Kept frames, walked to and fro while the engine is away, so that the display moves on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KeptFrame:
    """A frame on disk, and how long it was shown."""

    path: Path
    duration_s: float


class Replay:
    """Goes back from the newest kept frame to the oldest, forward again, and so on.

    Neighbours in the walk were neighbours on the display, and each lasts as long as it did then: what
    morphed morphs again, and stills change no faster than they did.
    """

    def __init__(self, frames: Sequence[KeptFrame]) -> None:
        self._frames = list(frames)
        self._place = len(self._frames) - 1
        self._step = -1

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files of the walk, oldest first."""
        return tuple(frame.path for frame in self._frames)

    def next(self) -> KeptFrame | None:
        """The next frame to show, or None where there are fewer than two to move between."""
        if len(self._frames) < 2:
            return None
        if not 0 <= self._place + self._step < len(self._frames):
            self._step = -self._step
        self._place += self._step
        return self._frames[self._place]

    def discard(self, path: Path) -> None:
        """Leave out a frame that could not be shown."""
        index = next((index for index, frame in enumerate(self._frames) if frame.path == path), None)
        if index is None:
            return
        del self._frames[index]
        if index <= self._place:
            self._place -= 1
        self._place = max(0, min(self._place, len(self._frames) - 1))
