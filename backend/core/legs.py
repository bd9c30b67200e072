"""Legs of walks on their way: sent, failed, sent again in smaller ones, or given up."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from backend.core.engine_care import EngineCare
from backend.core.jobs import FailureKind
from backend.errors import EngineError, EngineUnreachable, JobFailed
from backend.interpolation.decoder import PicturesJob
from backend.interpolation.hybrid_generator import HybridGenerator, Leg
from backend.interpolation.picture_futures import UNFIT

log = logging.getLogger(__name__)

# Legs at the engine at a time: one at work, one waiting. More would only stand before the next keyframe.
_AT_ENGINE = 2
# What a smaller job may be spared.
_TOO_MUCH = {FailureKind.OUT_OF_MEMORY.value, FailureKind.DEADLINE.value}

Shot = TypeVar("Shot")


@dataclass(eq=False)  # latents have no equality to speak of
class Part(Generic[Shot]):
    """A leg, and what its pictures are for, one each.

    Attributes:
        had: Places of the pictures that have been handed on, before the job has ended.
    """

    leg: Leg
    shots: Sequence[Shot]
    job: PicturesJob | None = None
    sent_at: float = 0.0
    retried: bool = False
    had: set[int] = field(default_factory=set)

    def take(self, pictures: Iterable[tuple[int, bytes]]) -> list[tuple[Shot, bytes]]:
        """Those that have not been handed on yet, with what they are for."""
        fresh = [(place, data) for place, data in pictures if place not in self.had]
        self.had.update(place for place, _ in fresh)
        return [(self.shots[place], data) for place, data in fresh]

    def leave_out_had(self) -> None:
        """Go on with what has not come."""
        left = [place for place in range(len(self.shots)) if place not in self.had]
        self.leg, self.shots = self.leg.only(left), [self.shots[place] for place in left]
        self.had.clear()


class Legs(Generic[Shot]):
    """Sends legs in order, few at a time, and sees to it that each ends: with pictures, or given up.

    Args:
        hybrid: Sends them.
        care: What is done for an engine whose jobs fail.
        usual: Frames of a usual gap: a longer one travels in several jobs, so that some are ready as soon.
        wake: Called, from any thread, when a leg has ended.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        hybrid: HybridGenerator,
        care: EngineCare,
        *,
        usual: int,
        wake: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self.retries = 0
        self.failed_jobs = 0
        self.usual = usual
        self.hybrid = hybrid
        self._care = care
        self._wake = wake
        self._clock = clock
        self._parts: deque[Part[Shot]] = deque()
        self._turned_at = clock()

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def at_engine(self) -> int:
        """How many of them the engine has."""
        return sum(part.job is not None for part in self._parts)

    def add(self, leg: Leg, shots: Sequence[Shot]) -> None:
        """One more to be sent, for as many pictures as it has positions."""
        self._parts.append(Part(leg, shots))

    def send(self) -> tuple[Part[Shot], bool] | None:
        """Send the next leg if the engine is well and has few; None if not.

        Returns:
            The leg, and whether the engine took it; else it is given up.

        Raises:
            EngineUnreachable: If nobody answers; the leg waits.
        """
        unsent = next((part for part in self._parts if part.job is None), None)
        if unsent is None or self.at_engine >= _AT_ENGINE or not self._care.well:
            return None
        unsent = self._fitted(unsent)
        try:
            unsent.job = self.hybrid.send(unsent.leg)
        except EngineUnreachable:
            raise
        except EngineError as error:
            self.failed_jobs += 1
            self._give_up(unsent, error)
            return unsent, False
        unsent.sent_at = self._clock()
        unsent.job.add_done_callback(self._wake)
        unsent.job.add_arrival_callback(self._wake)
        return unsent, True

    def engine_turns(self) -> float:
        """A job of whichever sort has ended; gives the time since the one before it did.

        Jobs stand in a queue: one that was sent earlier than that began then.
        """
        now, before = self._clock(), self._turned_at
        self._turned_at = now
        return now - before

    def arrived(self) -> tuple[Part[Shot], list[tuple[Shot, bytes]]] | None:
        """Pictures that have come since the last call, of one leg; None if none has."""
        for part in self._parts:
            if part.job is not None and (came := part.take(part.job.arrived())):
                return part, came
        return None

    def ended(self) -> Part[Shot] | None:
        """A leg whose job has ended; to be handed to :meth:`pictures_of`."""
        return next((part for part in self._parts if part.job is not None and part.job.done()), None)

    def pictures_of(self, part: Part[Shot]) -> tuple[list[tuple[Shot, bytes]], float] | None:
        """What a leg that has ended brought and was not handed on, and the seconds that all of it took.

        None if it failed; whether more is to come of it, :meth:`given_up` tells.
        """
        assert part.job is not None  # noqa: S101 - for the type checker: ended() has looked
        seconds = min(self._clock() - part.sent_at, self.engine_turns())
        try:
            pictures: tuple[bytes, ...] = part.job.pictures()
        except EngineError as error:
            self.failed_jobs += 1
            if len(part.had) < len(part.shots):
                self._fail(part, error)
                return None
            pictures = ()  # it went wrong when all of them had come
        self._care.walk_worked()
        self._parts.remove(part)
        return part.take(enumerate(pictures)), seconds

    def given_up(self, part: Part[Shot]) -> bool:
        """Whether nothing will come of a leg any more."""
        return part not in self._parts

    def _fail(self, part: Part[Shot], error: EngineError) -> None:
        """Send a leg once more, then in smaller ones if that may help, then do without it."""
        if isinstance(error, JobFailed) and error.kind != UNFIT:  # else the engine is not to blame
            self._care.walk_failed(error, self._clock())
        brought_some = bool(part.had)
        part.leave_out_had()
        if part.retried and not brought_some and not self._ask_for_less(part, error):
            self._give_up(part, error)
            return
        self.retries += 1
        part.job, part.retried = None, True

    def _ask_for_less(self, part: Part[Shot], error: EngineError) -> bool:
        """Step down until the leg must be split; False if that is of no use."""
        if not (isinstance(error, JobFailed) and error.kind in _TOO_MUCH):
            return False
        stepped = False
        while (frames := self._frames_per_job(part.leg)) >= len(part.leg) > 1:
            stepped = self._care.batches.down(self._clock())
            if not stepped:
                return False
        if stepped:
            log.warning("in-betweens travel %d at a time now: %s", frames, error)
        return len(part.leg) > 1

    def _frames_per_job(self, leg: Leg) -> int:
        most = min(self.hybrid.frames_per_job(leg.walk.end.at.latent), self.usual)
        return max(1, int(most * self._care.batches.share))

    def _fitted(self, part: Part[Shot]) -> Part[Shot]:
        """The part itself, or the first of the two that it becomes where it asks for too much at once."""
        frames = self._frames_per_job(part.leg)
        if len(part.leg) <= frames:
            return part
        at = self._parts.index(part)
        first, rest = (
            replace(part, leg=leg, shots=shots, had=set())
            for leg, shots in zip(
                part.leg.split(frames), (part.shots[:frames], part.shots[frames:]), strict=True
            )
        )
        self._parts[at] = first
        self._parts.insert(at + 1, rest)
        return first

    def _give_up(self, part: Part[Shot], error: EngineError) -> None:
        log.warning("%d in-betweens are left out: %s", len(part.shots), error)
        self._parts.remove(part)
