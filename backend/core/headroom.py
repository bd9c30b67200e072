"""How much dream is wished ahead, in seconds, and whether there is room for more of it."""

from __future__ import annotations

from typing import Protocol

from backend.core.frame_buffer import FrameBuffer


class Coming(Protocol):
    """Who knows the seconds of gaps that are still to come."""

    @property
    def gap_s(self) -> float:
        """Of a usual gap."""
        ...

    @property
    def opening_s(self) -> float:
        """That will have their places in the buffer before long."""
        ...

    def coming_s(self, folded: str | None) -> float:
        """That the next keyframe brings into the buffer; more where a memory is folded into it."""
        ...


class Folded(Protocol):
    """A keyframe, or the job for one."""

    @property
    def folded(self) -> str | None: ...


class Headroom:
    """Says when the engine may rest: a faster one rests instead of hurrying.

    Attributes:
        wished_s: Seconds of dream to have ahead.
    """

    def __init__(self, wished_s: float, buffer: FrameBuffer, gaps: Coming) -> None:
        self.wished_s = wished_s
        self._buffer = buffer
        self._gaps = gaps

    @property
    def target_s(self) -> float:
        """Seconds of dream to have ahead: gaps that are longer must fit, too."""
        return max(self.wished_s, self._gaps.gap_s)

    def has_room(self, pending: Folded | None) -> bool:
        """Whether another keyframe may be asked for, besides one that may be on its way already."""
        coming_s = 0.0 if pending is None else self._gaps.coming_s(pending.folded)
        room_s = self.target_s - self._ahead_s - coming_s
        return room_s > 0.0 and self._buffer.size_bytes < self._buffer.max_bytes / 2

    def has_room_after(self, keyframe: Folded) -> bool:
        """The same once the gap up to this keyframe, which has just come, is filled."""
        return self._ahead_s + self._gaps.coming_s(keyframe.folded) < self.target_s

    @property
    def _ahead_s(self) -> float:
        return self._buffer.promised_s + self._gaps.opening_s
