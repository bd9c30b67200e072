"""The gaps between keyframes: places in the buffer, in-betweens on their way, pictures to check."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backend.core.frame_buffer import Frame, FrameBuffer, FrameKind
from backend.core.generator import DreamGenerator, Keyframe
from backend.core.pace import Pace
from backend.errors import EngineError, LatentRejected, PictureRejected
from backend.interpolation.hybrid_generator import HybridGenerator, Leg
from backend.utils.picture_check import inspect_picture

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


@dataclass(eq=False)  # a tensor inside: two are the same only if they are one
class _LegOnItsWay:
    leg: Leg
    places: range
    keyframe: Keyframe
    frame_s: float
    retried: bool = False


@dataclass
class _Intake:
    """The pictures of one leg that arrived, checked one a turn so that a keyframe never waits long."""

    waiting: _LegOnItsWay
    pictures: deque[bytes]
    next: int = 0


class GapFiller:
    """Opens a gap for each new keyframe and fills it; what does not come is abandoned, never waited for.

    Args:
        fps: Frames in a second of dream.
        gap_s: Seconds from keyframe to keyframe.
        max_pixels: Larger pictures are refused.
        patience_s: How long after opening a place is given up at the latest.
        wake: Called, from any thread, when a leg has ended.
    """

    def __init__(
        self,
        generator: DreamGenerator,
        hybrid: HybridGenerator,
        buffer: FrameBuffer,
        pace: Pace,
        *,
        fps: float,
        gap_s: float,
        max_pixels: int,
        patience_s: float,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self.in_betweens = 0
        self.rejected = 0
        self.retries = 0
        self.failed_jobs = 0
        self.gap_s = gap_s
        self._generator = generator
        self._hybrid = hybrid
        self._buffer = buffer
        self._pace = pace
        self._frame_s = 1.0 / fps
        self._max_pixels = max_pixels
        self._patience_s = patience_s
        self._clock = clock
        self._wake = wake
        self._legs: deque[_LegOnItsWay] = deque()
        self._intake: deque[_Intake] = deque()

    @property
    def jobs(self) -> int:
        """Legs that the engine has not delivered yet."""
        return len(self._legs)

    @property
    def busy(self) -> bool:
        """Whether pictures are on their way or wait to be checked."""
        return bool(self._legs or self._intake)

    def open(self, previous: Keyframe | None, keyframe: Keyframe) -> None:
        """Make room for the frames up to ``keyframe`` and send for those in between.

        Raises:
            LatentRejected: If the keyframe's latent is no good; nothing of it is shown then.
        """
        walks = self._generator.mode.walks
        steps = max(1, round(self.gap_s / self._frame_s)) if walks and previous is not None else 1
        # Without a walk the keyframe itself stands for the whole gap; the first of a walk only begins it.
        duration_s = self._frame_s if walks and previous is None else self.gap_s / steps
        legs = self._send(previous, keyframe, steps)
        places = self._buffer.reserve([duration_s] * steps, self._clock() + self._patience_s)
        for leg in legs:
            self._watch(_LegOnItsWay(leg, places[leg.first : leg.first + len(leg)], keyframe, duration_s))
        if not legs:
            self._buffer.abandon(places[:-1])
        self._put(places[-1], keyframe.picture, FrameKind.KEYFRAME, keyframe, duration_s)
        if not legs:
            self._pace.supplied(self._clock(), self._buffer.ready_s)

    def turn(self) -> bool:
        """Take in one picture, or the end of one leg; False if there is nothing to do now."""
        if self._intake:
            self._check_one(self._intake[0])
            return True
        for waiting in self._legs:
            if waiting.leg.job.done():
                self._legs.remove(waiting)
                self._arrived(waiting)
                return True
        return False

    def abandon_all(self) -> None:
        """Give up what has not arrived, for example because the engine is gone for good."""
        for waiting in self._legs:
            self._buffer.abandon(waiting.places)
        self._legs.clear()

    def _send(self, previous: Keyframe | None, keyframe: Keyframe, steps: int) -> tuple[Leg, ...]:
        try:
            # Also where nothing is walked: it shows that the latent is finite, and is our copy of it.
            end = self._generator.latent(keyframe)
            if previous is None or steps < 2:
                return ()
            return self._walk(self._generator.latent(previous), end, steps, keyframe)
        except EngineError as error:
            self.failed_jobs += 1
            log.warning("the in-betweens up to keyframe %d could not be sent for: %s", keyframe.number, error)
            return ()

    def _walk(self, start: Tensor, end: Tensor, steps: int, keyframe: Keyframe) -> tuple[Leg, ...]:
        try:
            return self._hybrid.walk(start, end, steps, keyframe.prompt)
        except LatentRejected as error:  # the shapes differ: a model change in mid-dream
            log.warning("no walk to keyframe %d: %s", keyframe.number, error)
            return ()

    def _watch(self, waiting: _LegOnItsWay) -> None:
        self._legs.append(waiting)
        waiting.leg.job.add_done_callback(self._wake)

    def _arrived(self, waiting: _LegOnItsWay) -> None:
        try:
            pictures = waiting.leg.job.pictures()
        except EngineError as error:
            self.failed_jobs += 1
            self._try_again(waiting, error)
            return
        self._intake.append(_Intake(waiting, deque(pictures)))

    def _try_again(self, waiting: _LegOnItsWay, error: EngineError) -> None:
        try:
            if waiting.retried:
                raise error
            self._generator.relieve(error)
            again = self._hybrid.again(waiting.leg)
        except EngineError as final:
            log.warning("%d in-betweens are left out: %s", len(waiting.places), final)
            self._buffer.abandon(waiting.places)
            return
        self.retries += 1
        self._watch(replace(waiting, leg=again, retried=True))

    def _check_one(self, intake: _Intake) -> None:
        waiting = intake.waiting
        place = waiting.places[intake.next]
        intake.next += 1
        data = intake.pictures.popleft()
        if self._put(place, data, FrameKind.IN_BETWEEN, waiting.keyframe, waiting.frame_s):
            self.in_betweens += 1
        if not intake.pictures:
            self._intake.popleft()
            self._pace.supplied(self._clock(), self._buffer.ready_s)

    def _put(self, place: int, data: bytes, kind: FrameKind, keyframe: Keyframe, duration_s: float) -> bool:
        try:
            facts = (
                keyframe.facts
                if kind is FrameKind.KEYFRAME
                else inspect_picture(data, max_pixels=self._max_pixels)
            )
        except PictureRejected as error:
            self.rejected += 1
            log.warning("a picture on the way to keyframe %d is left out: %s", keyframe.number, error)
            self._buffer.abandon([place])
            return False
        return self._buffer.put(place, Frame(data, facts, kind, keyframe.prompt.theme, duration_s))
