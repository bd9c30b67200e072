"""What is done for an engine whose jobs fail: memory freed, less asked of it, a restart, or peace."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Protocol

from backend.core.breaker import Breaker, BreakerState
from backend.core.jobs import FailureKind
from backend.errors import JobFailed
from backend.utils.ladder import Ladder

log = logging.getLogger(__name__)

# One failure of these kinds may be an accident; a second in a row is the engine.
_SICK_AFTER = 2
_SIZES = (1.0, 0.85, 0.7, 0.5)
_BATCHES = tuple(0.5**halvings for halvings in range(10))


class Restartable(Protocol):
    """The engine, as far as it can be helped."""

    def free_memory(self) -> None: ...

    def restart(self) -> bool:
        """Begin anew with another process; False if the process is not ours, and nothing was done."""
        ...


class EngineCare:
    """Counts what fails in a row and acts on it. Not thread-safe: it belongs to the dream loop.

    Attributes:
        breaker: Keeps work back from an engine that is broken and not ours.
        sizes: Share of each side of the keyframes.
        batches: Share of the frames that travel as one job.
        sick: What is wrong with the engine and what has to be done, for people; None while it works.
        restarts: How often an engine of ours was begun anew.
        restarted_why: Why, the last time; None for never.
    """

    def __init__(self, engine: Restartable) -> None:
        self.breaker = Breaker()
        self.sizes = Ladder(_SIZES)
        self.batches = Ladder(_BATCHES)
        self.sick: str | None = None
        self.restarts = 0
        self.restarted_why: str | None = None
        self._engine = engine
        # Apart, since pictures are still decoded by a device that fails in sampling, and by one that is slow.
        self._keyframes_in_a_row: Counter[FailureKind] = Counter()
        self._walks_in_a_row: Counter[FailureKind] = Counter()
        self._memory_in_a_row = 0
        self._restarts_in_a_row = 0
        self._restarted = False

    @property
    def well(self) -> bool:
        """Whether more may be asked of the engine than one keyframe at a time, to see how it is."""
        return self.sick is None and self.breaker.closed

    def keyframe_worked(self) -> None:
        """A keyframe came: the engine is in order."""
        self._forget()
        self._memory_in_a_row = self._restarts_in_a_row = 0
        self.breaker.close()

    def walk_worked(self) -> None:
        """In-betweens came, which is no proof that keyframes would."""
        self._walks_in_a_row.clear()

    def keyframe_failed(self, error: JobFailed, now: float) -> None:
        """A keyframe failed; the second without memory is followed by a smaller one."""
        self._failed(error, self._keyframes_in_a_row, now)
        if error.kind == FailureKind.OUT_OF_MEMORY.value:
            self._memory_in_a_row += 1
            if self._memory_in_a_row > 1 and self.sizes.down(now):
                log.warning(
                    "keyframes have %.0f %% of their sides now: the engine ran out of memory", self._percent
                )

    def walk_failed(self, error: JobFailed, now: float) -> None:
        """In-betweens failed."""
        self._failed(error, self._walks_in_a_row, now)

    def recover(self, now: float) -> None:
        """Ask for more again where there was no want of memory for a while."""
        if self.sizes.rise(now):
            log.info("keyframes may have %.0f %% of their sides again", self._percent)
        self.batches.rise(now)

    def server_gone(self) -> None:
        """Whoever answers next is another process: of its owner's making, or one more of ours."""
        self._forget()
        if self._restarts_in_a_row == 0:
            self.breaker.close()
        self.breaker.undecided()

    def renew(self, why: str) -> bool:
        """Begin an engine of ours anew though it is well; False where it is none, and nothing was done."""
        return self._restart(why) or self._restarted

    def take_restarted(self) -> bool:
        """Whether the engine was restarted since this was last asked."""
        restarted, self._restarted = self._restarted, False
        return restarted

    def _restart(self, why: str) -> bool:
        ours = self._engine.restart()
        if ours:
            self.restarts += 1
            self.restarted_why = why
            self._restarted = True
        return ours

    @property
    def _percent(self) -> float:
        return 100.0 * self.sizes.share

    def _forget(self) -> None:
        self._keyframes_in_a_row.clear()
        self._walks_in_a_row.clear()
        self.sick = None

    def _failed(self, error: JobFailed, in_a_row: Counter[FailureKind], now: float) -> None:
        on_trial = self.breaker.state is BreakerState.HALF_OPEN
        if on_trial:
            self.breaker.open(now)
        if error.kind == FailureKind.OUT_OF_MEMORY.value:
            self.sizes.hold(now)
            self.batches.hold(now)
            self._engine.free_memory()
        for kind in (FailureKind.DEVICE, FailureKind.DEADLINE):
            if error.kind == kind.value:
                in_a_row[kind] += 1
                times = self._keyframes_in_a_row[kind] + self._walks_in_a_row[kind]
                if on_trial or times >= _SICK_AFTER:
                    self._fell_sick(kind, error, now)

    def _fell_sick(self, kind: FailureKind, error: JobFailed, now: float) -> None:
        ours = self._restart(str(error))
        if ours:
            self._forget()
            self._restarts_in_a_row += 1
        # A restart in vain need not be repeated at once.
        if self._restarts_in_a_row > 1 or (kind is FailureKind.DEVICE and not ours):
            self.breaker.open(now)
        sick = f"{error}; {self._wish(kind, ours)}"
        if sick != self.sick:
            log.error("%s", sick)
        self.sick = sick

    def _wish(self, kind: FailureKind, ours: bool) -> str:
        if ours:
            return "the engine is started again by itself"
        if kind is FailureKind.DEVICE:
            return (
                "only a restart clears such an error of the device: ComfyUI must be restarted by its "
                f"owner (tried again every {self.breaker.trial_every_s:.0f} s)"
            )
        return "it hangs: ComfyUI must be restarted by its owner, unless it goes on by itself"
