"""How many frames of a gap are decoded, and how many are left to cross-fades: as the engine can bear."""

from __future__ import annotations

from collections import deque
from statistics import median_low

# Of the seconds of a gap, the engine may be at work for so large a share before fewer frames are asked of it,
# and for no more than so large a one if more are: in between all stays as it is.
_BAND = (0.75, 0.95)
# The same where so many gaps are ready to be shown: the engine has proved itself.
_EASY_BAND = (0.88, 1.0)
_EASY_GAPS = 2.0
# Seconds of dream from one decoded frame to the next, at the most: what is faded over longer is a fog.
_SPARSEST_S = 0.8
# Newest readings that count: one may be an accident, two in a row are the engine.
_READINGS = 3
# An in-between costs about this share of a keyframe, as long as none was decoded.
_GUESS = 0.1


class Density:
    """Of every so many frames one is decoded. Pure arithmetic on readings; changes only where it is clear.

    Attributes:
        every: 1 where all are decoded; 2 where each second one is, and so on.
    """

    def __init__(self) -> None:
        self.every = 1
        self._keyframe_s: deque[float] = deque(maxlen=_READINGS)
        self._frame_s: deque[float] = deque(maxlen=_READINGS)

    def keyframe_took(self, seconds: float) -> None:
        """A keyframe came for which the engine worked so long."""
        self._keyframe_s.append(seconds)

    def frames_took(self, frames: int, seconds: float) -> None:
        """In-betweens came for which the engine worked so long."""
        self._frame_s.append(seconds / frames)

    def settle(self, gap_s: float, fps: float, ready_s: float = 0.0) -> int:
        """Decide for the next gap.

        Args:
            gap_s: Seconds of dream that it takes.
            fps: Frames a second that the display shows.
            ready_s: Seconds of dream that are ready to be shown.

        Returns:
            The new value of ``every``.
        """
        sparsest = max(1, int(_SPARSEST_S * fps))
        spare, full = _EASY_BAND if ready_s >= _EASY_GAPS * gap_s else _BAND
        self.every = min(self.every, sparsest)
        while self.every < sparsest and self._load(gap_s, fps, self.every) > full:
            self.every += 1
        while self.every > 1 and self._load(gap_s, fps, self.every - 1) < spare:
            self.every -= 1
        return self.every

    def _load(self, gap_s: float, fps: float, every: int) -> float:
        """Share of a gap's time for which the engine is at work for it."""
        if not self._keyframe_s:
            return 0.0
        keyframe_s = median_low(self._keyframe_s)
        frame_s = median_low(self._frame_s) if self._frame_s else _GUESS * keyframe_s
        return (keyframe_s + max(0.0, gap_s * fps / every - 1.0) * frame_s) / gap_s
