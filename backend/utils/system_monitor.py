"""**SystemMonitor**: when to leave the machine to somebody else, and when to take it back.

Each reason to yield is a small predicate in `PREDICATES`: a function of a reading of the machine, the
settings and the time. Adding one is adding a function.
"""

from __future__ import annotations

import fnmatch
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from backend.config import MachineSettings
from backend.utils.hours import within
from backend.utils.logs import EVENT
from backend.utils.machine import Reading
from backend.utils.part import Part
from backend.utils.status_schema import Reason, ReasonCode

log = logging.getLogger(__name__)

LOOK_S = 2.0
_TURN_S = 60.0
_TRIED = 3
"""Readings in a row that must agree where numbers flicker."""


@dataclass(frozen=True)
class Moment:
    """What a predicate may go by.

    Attributes:
        reading: The machine.
        wishes: The user's settings.
        wall: Local time.
        uses_gpu: Whether the dream's engine computes on this machine's GPU.
    """

    reading: Reading
    wishes: MachineSettings
    wall: datetime
    uses_gpu: bool


@dataclass(frozen=True)
class Yield:
    """A reason to rest.

    Attributes:
        code: For programs.
        sentence: For people.
        after: Readings in a row that must say so.
    """

    code: ReasonCode
    sentence: str
    after: int = 1


Predicate = Callable[[Moment], Yield | None]


def outside_hours(now: Moment) -> Yield | None:
    """The hours in which it may dream are over."""
    if within(now.wishes.hours, now.wall):
        return None
    return Yield(
        ReasonCode.SCHEDULE, f"it dreams {', '.join(now.wishes.hours)}, and it is {now.wall:%a %H:%M}"
    )


def program_runs(now: Moment) -> Yield | None:
    """A program runs that the user wants left alone."""
    running = now.reading.processes or frozenset()
    for wanted in now.wishes.yield_to:
        name = wanted.lower().removesuffix(".exe")
        if any(fnmatch.fnmatchcase(one, name) for one in running):
            return Yield(ReasonCode.MACHINE, f"{wanted} runs")
    return None


def gpu_memory_taken(now: Moment) -> Yield | None:
    """Others hold much of the GPU's memory."""
    gpu, most = now.reading.gpu, now.wishes.gpu_memory
    if not now.uses_gpu or gpu is None or gpu.others_bytes is None or most >= 1.0:
        return None
    share = gpu.others_bytes / max(gpu.total_bytes, 1)
    return (
        Yield(ReasonCode.MACHINE, f"others hold {share:.0%} of the GPU's memory", 2) if share > most else None
    )


def gpu_busy(now: Moment) -> Yield | None:
    """Others keep the GPU busy."""
    gpu, most = now.reading.gpu, now.wishes.gpu_load
    if not now.uses_gpu or gpu is None or gpu.others_load is None or most >= 1.0:
        return None
    if gpu.others_load <= most:
        return None
    return Yield(ReasonCode.MACHINE, f"others use {gpu.others_load:.0%} of the GPU", _TRIED)


def on_battery(now: Moment) -> Yield | None:
    """The machine runs on its battery."""
    if now.wishes.on_battery == "dream" or not now.reading.on_battery:
        return None
    return Yield(ReasonCode.MACHINE, "the machine runs on its battery")


def memory_short(now: Moment) -> Yield | None:
    """The machine's memory is nearly full."""
    free = now.reading.memory_free
    if free is None or free >= now.wishes.memory_free:
        return None
    return Yield(ReasonCode.MACHINE, f"only {free:.1%} of the machine's memory is free", _TRIED)


PREDICATES: tuple[Predicate, ...] = (
    outside_hours,
    program_runs,
    gpu_memory_taken,
    gpu_busy,
    on_battery,
    memory_short,
)
"""The first that says so gives the reason."""


class Readable(Protocol):
    """The machine; tests hand in one that they make up."""

    def read(self) -> Reading: ...


class SystemMonitor:
    """Looks at the machine, and says when to rest; by a thread of its own.

    Args:
        machine: What is looked at.
        wishes: The user's settings.
        uses_gpu: Whether the engine computes on this machine's GPU.
        rest: Told the reason when the dream is to rest, None when it may go on.
        clock: Monotonic seconds.
        wall: Local time.
        beside: Done with each look.

    Attributes:
        reading: The newest.
        wishes: May be replaced while it runs.
    """

    def __init__(
        self,
        machine: Readable,
        wishes: MachineSettings,
        *,
        uses_gpu: Callable[[], bool],
        rest: Callable[[Reason | None], None],
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        beside: Callable[[], None] = lambda: None,
        predicates: Sequence[Predicate] = PREDICATES,
    ) -> None:
        self.reading = Reading()
        self.wishes = wishes
        self._machine = machine
        self._uses_gpu = uses_gpu
        self._rest = rest
        self._clock = clock
        self._wall = wall
        self._beside = beside
        self._predicates = tuple(predicates)
        self._in_a_row = [0] * len(self._predicates)
        self._yields: Yield | None = None
        self._clear_since: float | None = None
        self._awake = threading.Event()
        self.part = Part("system-monitor", self._one_turn, limit_s=_TURN_S)

    @property
    def yields(self) -> Yield | None:
        """Why the machine is left to others; None while the dream has it."""
        return self._yields

    def start(self) -> None:
        """Begin to look."""
        self.part.start()

    def stop(self, timeout_s: float = 3.0) -> None:
        """Look no more."""
        self.part.stopping.set()
        self._awake.set()
        self.part.stop(timeout_s)

    def look_again(self) -> None:
        """Look now: the wishes have changed."""
        self._awake.set()

    def turn(self) -> None:
        """Look once, and decide."""
        self._beside()
        self.reading = self._machine.read()
        moment = Moment(self.reading, self.wishes, self._wall(), self._uses_gpu())
        reasons = [predicate(moment) for predicate in self._predicates]
        reason = next((one for at, one in enumerate(reasons) if self._insists(at, one)), None)
        if reason is not None:
            self._clear_since = None
            self._leave(reason)
        elif any(reasons):  # one that flickers holds what is
            self._clear_since = None
        elif self._yields is not None:
            self._take_back()

    def _insists(self, at: int, reason: Yield | None) -> bool:
        """Whether a predicate has said so often enough in a row."""
        self._in_a_row[at] = 0 if reason is None else self._in_a_row[at] + 1
        return reason is not None and self._in_a_row[at] >= reason.after

    def _leave(self, reason: Yield) -> None:
        first = self._yields is None
        self._yields = reason
        if first:
            log.info("the dream rests: %s", reason.sentence, extra=EVENT)
        sentence = f"the dream rests: {reason.sentence}; it goes on by itself"
        self._rest(Reason(code=reason.code, sentence=sentence))

    def _take_back(self) -> None:
        """The way back is slower than the way there: a game that loads its next level is not over.

        The hours of the day do not flicker; when they begin, the dream does.
        """
        now = self._clock()
        if self._clear_since is None:
            self._clear_since = now
        scheduled = self._yields is not None and self._yields.code is ReasonCode.SCHEDULE
        if not scheduled and now - self._clear_since < self.wishes.back_after_seconds:
            return
        self._yields = self._clear_since = None
        log.info("the machine is free again: the dream goes on", extra=EVENT)
        self._rest(None)

    def _one_turn(self) -> None:
        self._awake.clear()
        self.turn()
        self._awake.wait(LOOK_S)
