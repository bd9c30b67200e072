"""How fast the dream is shown: as configured, or stretched evenly where the engine is slower."""

from __future__ import annotations

# Each supply is planned to last this much longer than the usual time to the next, so that a late
# one finds something left.
_MARGIN = 1.5
# A change of speed takes about this long: a viewer feels a sudden one.
_SMOOTHING_S = 1.5
# How much the newest interval counts; more where it is far shorter than usual: a recovered engine.
_WEIGHT = 0.3
_RECOVERED_WEIGHT = 0.7
_RECOVERED_SHARE = 0.5
# One interval this many times the usual is an accident (a suspended machine, a long pause), not a pace.
_LONGEST_SHARE = 4.0
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
        self.interval_s: float | None = None
        """The usual time from supply to supply, as far as the engine was at work."""
        self._supplies = 0
        self._since: float | None = None
        self._planned = 1.0
        self._speed = 1.0
        self._last_reading: float | None = None

    def go_on(self, interval_s: float | None, ready_s: float) -> None:
        """Take up the usual time of an earlier run; ``ready_s`` of its frames are still to be shown."""
        self.interval_s = interval_s
        if ready_s > 0.0:
            self._planned = self._speed = self._plan(ready_s)

    def begin(self, now: float) -> None:
        """The engine begins to work after a rest, a pause or an absence: that time was not its own."""
        self._since = now

    def supplied(self, now: float, ready_s: float) -> None:
        """Frames have arrived; ``ready_s`` can now be shown without waiting."""
        if self._since is not None:
            self._learn(max(now - self._since, 1e-3))
        self._since = now
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

    def _learn(self, interval_s: float) -> None:
        self._supplies += 1
        if self.interval_s is None or self._supplies == 2:  # the first one waited for the model to load
            self.interval_s = interval_s
            return
        capped_s = min(interval_s, _LONGEST_SHARE * self.interval_s)
        weight = _RECOVERED_WEIGHT if capped_s < _RECOVERED_SHARE * self.interval_s else _WEIGHT
        self.interval_s += weight * (capped_s - self.interval_s)

    def _plan(self, ready_s: float) -> float:
        if self.interval_s is None:
            return 1.0
        return min(1.0, ready_s / (_MARGIN * self.interval_s))

    def _overdue_limit(self, now: float, ready_s: float) -> float:
        if self.interval_s is None or self._since is None or now - self._since <= self.interval_s:
            return 1.0
        return min(1.0, ready_s / (_OVERDUE_SHARE * self.interval_s))
