"""Whether to send work to an engine that has shown itself to be broken."""

from __future__ import annotations

from enum import Enum


class BreakerState(Enum):
    """Where work goes."""

    CLOSED = "closed"
    """All of it goes to the engine."""
    OPEN = "open"
    """None does."""
    HALF_OPEN = "half_open"
    """One job is on trial."""


class Breaker:
    """Keeps work back from an engine, but for one trial at a time. Not thread-safe.

    Args:
        trial_every_s: From one failure to the next trial.
    """

    def __init__(self, trial_every_s: float = 60.0) -> None:
        self.trial_every_s = trial_every_s
        self.state = BreakerState.CLOSED
        self._trial_at = float("-inf")

    @property
    def closed(self) -> bool:
        """Whether any amount of work may go to the engine."""
        return self.state is BreakerState.CLOSED

    def ready(self, now: float) -> bool:
        """Whether a job may be sent now: any, or the one on trial."""
        return self.closed or (self.state is BreakerState.OPEN and now >= self._trial_at)

    def sent(self) -> None:
        """A job was sent: if the breaker is open, it is the one on trial."""
        if self.state is BreakerState.OPEN:
            self.state = BreakerState.HALF_OPEN

    def open(self, now: float) -> None:
        """The engine is broken, or has failed its trial."""
        self.state = BreakerState.OPEN
        self._trial_at = now + self.trial_every_s

    def undecided(self) -> None:
        """The trial was cut short by something else: there may be another one at once."""
        if self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.OPEN

    def close(self) -> None:
        """The engine works, or it is another one."""
        self.state = BreakerState.CLOSED
