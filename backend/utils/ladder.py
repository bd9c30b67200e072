"""How much is asked of an engine that runs out of memory: a rung less each time, a rung more when it held."""

from __future__ import annotations

from collections.abc import Sequence

# Models halve, merge and patch their latents; sides of so many pixels suit all families.
_SIDE_STEP_PX = 16


class Ladder:
    """Shares of the whole, the largest first; begins at the top. Not thread-safe.

    Args:
        rungs: The shares, falling.
        rise_after_s: Without trouble for this long, one rung more is dared.
    """

    def __init__(self, rungs: Sequence[float], rise_after_s: float = 600.0) -> None:
        self._rungs = tuple(rungs)
        self._rise_after_s = rise_after_s
        self._at = 0
        self._quiet_from = float("-inf")

    @property
    def share(self) -> float:
        """Of the whole; 1.0 at the top."""
        return self._rungs[self._at]

    def down(self, now: float) -> bool:
        """Ask for less; False if this is the least already."""
        self.hold(now)
        if self._at == len(self._rungs) - 1:
            return False
        self._at += 1
        return True

    def hold(self, now: float) -> None:
        """It was too much, again: the quiet time begins anew."""
        self._quiet_from = now

    def rise(self, now: float) -> bool:
        """Ask for more if it has been quiet for long enough; whether it is more now."""
        if self._at == 0 or now - self._quiet_from < self._rise_after_s:
            return False
        self._at -= 1
        self._quiet_from = now
        return True


def scaled_size(size: tuple[int, int], share: float) -> tuple[int, int]:
    """Width and height in pixels at a share of each side: the same shape, but for rounding."""
    if share == 1.0:
        return size
    width, height = (max(1, round(side_px * share / _SIDE_STEP_PX)) * _SIDE_STEP_PX for side_px in size)
    return width, height
