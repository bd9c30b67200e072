"""How fast the dream is shown: as configured, or stretched evenly where the engine is slower."""

from __future__ import annotations

# Each supply is planned to last this much longer than the usual time to the next, so that a late
# one finds something left.
_MARGIN = 1.3
# A change of speed takes about this long: a viewer feels a sudden one.
_SMOOTHING_S = 1.5
_NEWEST_WEIGHT = 0.3
# A supply that is overdue stretches what is left over this share of the usual time.
_OVERDUE_SHARE = 0.3
_SLOWEST = 0.03


class Pace:
    """Pure arithmetic on clock readings; no clock of its own.

    Frames arrive in bursts (one job a gap). On each arrival the speed is planned so that what lies
    ready lasts until the next one is due; between arrivals it stays, so a slow engine is seen as a
    slower dream and never as a freeze with a burst behind it.
    """

    def __init__(self) -> None:
        self._interval_s: float | None = None
        self._last_supply: float | None = None
        self._planned = 1.0
        self._speed = 1.0
        self._last_reading: float | None = None

    def begin(self, now: float) -> None:
        """The engine has begun to work: the time to the first supply counts as an interval."""
        self._last_supply = now

    def supplied(self, now: float, ready_s: float) -> None:
        """Frames have arrived; ``ready_s`` can now be shown without waiting."""
        if self._last_supply is not None:
            interval_s = max(now - self._last_supply, 1e-3)
            if self._interval_s is None:
                self._interval_s = interval_s
            else:
                self._interval_s += _NEWEST_WEIGHT * (interval_s - self._interval_s)
        self._last_supply = now
        self._planned = self._plan(ready_s)
        if self._last_reading is None:  # nothing is moving yet: no change to smooth
            self._speed = self._planned

    def speed(self, now: float, ready_s: float) -> float:
        """Dream seconds per second, at most 1; call it about once a frame."""
        target = min(self._planned, self._overdue_limit(now, ready_s))
        elapsed = 0.0 if self._last_reading is None else max(0.0, now - self._last_reading)
        self._last_reading = now
        self._speed += (target - self._speed) * min(1.0, elapsed / _SMOOTHING_S)
        return max(_SLOWEST, self._speed)

    def _plan(self, ready_s: float) -> float:
        if self._interval_s is None:
            return 1.0
        return min(1.0, ready_s / (_MARGIN * self._interval_s))

    def _overdue_limit(self, now: float, ready_s: float) -> float:
        if (
            self._interval_s is None
            or self._last_supply is None
            or now - self._last_supply <= self._interval_s
        ):
            return 1.0
        return min(1.0, ready_s / (_OVERDUE_SHARE * self._interval_s))
