"""Keeps the parts of the daemon going: what dies is started again, what cannot be kept alive ends all of it.

Nobody restarts a thread that hangs: a watchdog that is not told of life any more (systemd's), or the end that
this supervisor asks for a while later, does so with the whole process.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from backend.core.liveness import Liveness, Vital
from backend.utils.part import Part

log = logging.getLogger(__name__)

RESTARTS = 5
WITHIN_S = 60.0
_FIRST_PAUSE_S = 0.5
# A watchdog would have acted long before; where there is none, we end by ourselves.
_HUNG_S = 60.0


class Supervised(Protocol):
    """A part that may fail: a thread (:class:`Part`), or a process that is kept running by who needs it."""

    @property
    def name(self) -> str: ...

    @property
    def crashes(self) -> int:
        """How often it failed and went on, or was started again."""
        ...

    @property
    def last_crash(self) -> str:
        """What it failed with last."""
        ...


class Alive(Protocol):
    """Something whose progress can be seen."""

    @property
    def vital(self) -> Vital: ...


class RestartBudget:
    """So many restarts within any so long a time, and no more."""

    def __init__(self, restarts: int = RESTARTS, within_s: float = WITHIN_S) -> None:
        self._within_s = within_s
        self._spent: deque[float] = deque(maxlen=restarts)

    def spend(self, now: float) -> bool:
        """Counts a restart at this moment; False if it is one too many."""
        if len(self._spent) == self._spent.maxlen and now - self._spent[0] < self._within_s:
            return False
        self._spent.append(now)
        return True

    def lately(self, now: float) -> int:
        """How many were counted within the time."""
        return sum(now - moment < self._within_s for moment in self._spent)


@dataclass
class _Ward:
    part: Supervised
    budget: RestartBudget = field(default_factory=RestartBudget)
    crashes: int = 0
    again_at: float | None = None


class Supervisor:
    """Looks at every part a few times a second, from the main thread.

    Args:
        parts: Who may fail.
        alive: Whose progress shows that the dream lives, beside the turns of the parts.
    """

    def __init__(self, parts: Sequence[Supervised], alive: Sequence[Alive] = ()) -> None:
        self.given_up: str | None = None
        """Why the process must end, as a sentence; None while it need not."""
        self._wards = [_Ward(part, crashes=part.crashes) for part in parts]
        self._alive = tuple(alive)
        self._liveness = Liveness()

    @property
    def stalled(self) -> str | None:
        """Who hangs, as a sentence; None while all is well, and a watchdog may be told so."""
        return self._liveness.stalled

    def look(self, now: float) -> None:
        """Start again what has died, and count what failed.

        Args:
            now: Monotonic seconds.
        """
        for ward in self._wards:
            self._look_after(ward, now)
        self._liveness.look(now, self._vitals())
        if self._liveness.stalled_s >= _HUNG_S:
            self._give_up(f"{self._liveness.stalled} for {self._liveness.stalled_s:.0f} s")

    def _look_after(self, ward: _Ward, now: float) -> None:
        part = ward.part
        failed = part.crashes - ward.crashes
        ward.crashes = part.crashes
        died = isinstance(part, Part) and part.died
        if died and ward.again_at is None:
            failed += 1
            ward.again_at = now + _FIRST_PAUSE_S * 2.0 ** ward.budget.lately(now)
        if not all(ward.budget.spend(now) for _ in range(failed)):
            last = f" ({part.last_crash})" if part.last_crash else ""
            self._give_up(f"{part.name} failed {RESTARTS + 1} times within {WITHIN_S:.0f} s{last}")
        elif isinstance(part, Part) and died and now >= (ward.again_at or 0.0):
            log.error("%s had ended: it is started again", part.name)
            ward.again_at = None
            part.start()

    def _give_up(self, why: str) -> None:
        if self.given_up is None:
            self.given_up = why
            log.critical("%s: Dreamloop ends, to be started anew", why)

    def _vitals(self) -> Iterable[Vital]:
        for ward in self._wards:
            if isinstance(ward.part, Part):
                yield vital_of(ward.part)
        for one in self._alive:
            yield one.vital


def vital_of(part: Part) -> Vital:
    """What a thread has to show for itself: that it takes turns."""
    rest = "stopped" if part.stopping.is_set() else "waits after a failure" if part.pausing else ""
    return Vital(part.name, part.beats, part.limit_s, rest)
