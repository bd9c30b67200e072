"""Kept frames, walked to and fro while the engine is away, so that the display moves on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class Replay:
    """Goes back from the newest kept frame to the oldest, forward again, and so on.

    Neighbours in the walk were neighbours in the dream, so nothing jumps.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self._place = len(self._paths) - 1
        self._step = -1

    @property
    def paths(self) -> tuple[Path, ...]:
        """All frames of the walk, oldest first."""
        return tuple(self._paths)

    def next(self) -> Path | None:
        """The next frame to show, or None where there are fewer than two to move between."""
        if len(self._paths) < 2:
            return None
        if not 0 <= self._place + self._step < len(self._paths):
            self._step = -self._step
        self._place += self._step
        return self._paths[self._place]

    def discard(self, path: Path) -> None:
        """Leave out a frame that could not be shown."""
        if path in self._paths:
            index = self._paths.index(path)
            del self._paths[index]
            if index <= self._place:
                self._place -= 1
            self._place = max(0, min(self._place, len(self._paths) - 1))
