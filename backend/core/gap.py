"""The gaps between keyframes: places in the buffer, in-betweens on their way, pictures to check."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from backend.core.engine_care import EngineCare
from backend.core.frame_buffer import Frame, FrameBuffer, FrameKind
from backend.core.generator import DreamGenerator, Keyframe
from backend.core.jobs import FailureKind
from backend.core.pace import Pace
from backend.errors import EngineError, EngineUnreachable, JobFailed, LatentRejected, PictureRejected
from backend.interpolation.decoder import PicturesJob
from backend.interpolation.gap_length import LONGEST, stretch
from backend.interpolation.hybrid_generator import HybridGenerator, Leg
from backend.interpolation.picture_futures import UNFIT
from backend.interpolation.walk import Knot, Walk, Waypoint
from backend.utils.picture_check import encoded_for, inspect_picture
from backend.utils.picture_formats import AS_IT_COMES, Encoding

log = logging.getLogger(__name__)

# Legs at the engine at a time: one at work, one waiting. More would only stand before the next keyframe.
_LEGS_AT_ENGINE = 2
# A job ends by its own deadline; its places are given up a little later in any case.
_GRACE_S = 30.0
# What a smaller job may be spared.
_TOO_MUCH = {FailureKind.OUT_OF_MEMORY.value, FailureKind.DEADLINE.value}


@dataclass(eq=False)  # latents have no equality to speak of
class _Part:
    """A leg of a gap and the places that its pictures will take."""

    leg: Leg
    places: Sequence[int]
    keyframe: Keyframe
    frame_s: float
    job: PicturesJob | None = None
    retried: bool = False


@dataclass
class _Intake:
    """The pictures of one leg that arrived, checked one a turn so that a keyframe never waits long."""

    part: _Part
    pictures: deque[bytes]
    next: int = 0


class GapFiller:
    """Opens a gap for each new keyframe and fills it; what does not come is abandoned, never waited for.

    Args:
        fps: Frames in a second of dream.
        gap_s: Seconds from keyframe to keyframe, where the walk between them turns no farther than usual.
        max_pixels: Larger pictures are refused.
        job_timeout_s: How long the engine may take for a job.
        path: A key of PATHS: how the walk leads from keyframe to keyframe.
        encoding: Of the frames; what is encoded so already stays as it came.
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
        job_timeout_s: float,
        path: str = "smooth",
        encoding: Encoding = AS_IT_COMES,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self.in_betweens = 0
        self.rejected = 0
        self.retries = 0
        self.failed_jobs = 0
        self.gap_s = gap_s
        self.opened_s = gap_s
        """Seconds of the gap that was opened last: longer than usual where the walk turns far."""
        self._generator = generator
        self.hybrid = hybrid
        self._buffer = buffer
        self._pace = pace
        self._fps = fps
        self._steps = max(1, round(gap_s * fps))
        self._max_pixels = max_pixels
        self.job_timeout_s = job_timeout_s
        self.path = path
        self._knot: tuple[int, Knot] | None = None  # where the newest walk ended, and at which keyframe
        self._encoding = encoding
        self._clock = clock
        self._wake = wake
        self._parts: deque[_Part] = deque()
        self._intake: deque[_Intake] = deque()

    def retime(self, fps: float, gap_s: float) -> None:
        """Open gaps of this many frames a second and seconds from now on; those that are open stay."""
        self.gap_s, self._fps, self._steps = gap_s, fps, max(1, round(gap_s * fps))

    @property
    def busy(self) -> bool:
        """Whether pictures are on their way or wait to be checked."""
        return bool(self._parts or self._intake)

    @property
    def busy_at_engine(self) -> bool:
        """Whether the engine is at work on pictures of ours."""
        return any(part.job is not None for part in self._parts)

    @property
    def _care(self) -> EngineCare:
        return self._generator.care

    def engine_begins(self) -> None:
        """The engine is given work after a rest, a pause or an absence: its pace counts from now."""
        self._pace.begin(self._clock())

    def open(self, previous: Keyframe | None, keyframe: Keyframe) -> None:
        """Make room for the frames up to ``keyframe`` and lay out those in between.

        Raises:
            LatentRejected: If the keyframe's latent is no good; nothing of it is shown then.
        """
        walk = self._walk(previous, keyframe)
        walks = self._generator.mode.walks
        gap_s = self.opened_s = self.gap_s if walk is None else walk.seconds
        steps = max(1, round(gap_s * self._fps)) if walks and previous is not None else 1
        # Without a walk the keyframe itself stands for the whole gap; the first of a walk only begins it.
        frame_s = 1.0 / self._fps if walks and previous is None else gap_s / steps
        places = self._buffer.reserve([frame_s] * steps)
        legs = self._legs(walk, steps, previous, keyframe)
        for leg in legs:
            self._parts.append(_Part(leg, places[: len(leg)], keyframe, frame_s))
            places = places[len(leg) :]
        self._buffer.abandon(places[:-1])
        self._put(places[-1], keyframe.picture, FrameKind.KEYFRAME, keyframe, frame_s)
        if not legs:
            self._pace.supplied(self._clock(), self._buffer.ready_s)

    def coming_s(self, folded: str | None) -> float:
        """Seconds that the gap up to a keyframe takes at the most, whatever its latent will be.

        Args:
            folded: The memory that was folded into it, if any: then it may take its time.
        """
        return self.gap_s * (LONGEST if folded is not None else 1.0)

    def collect(self) -> bool:
        """Take over the pictures of a leg that has ended; False if none has."""
        ended = next((part for part in self._parts if part.job is not None and part.job.done()), None)
        if ended is not None:
            self._arrived(ended)
        return ended is not None

    def check(self) -> bool:
        """Look at one of the pictures taken over and put it into its place; False if there is none."""
        if self._intake:
            self._check_one(self._intake[0])
            return True
        return False

    def send(self) -> bool:
        """Send the next leg if the engine is well and has few, and the buffer has room; False if not.

        Raises:
            EngineUnreachable: If nobody answers; the leg waits.
        """
        unsent = next((part for part in self._parts if part.job is None), None)
        at_engine = sum(part.job is not None for part in self._parts)
        full = self._buffer.size_bytes > self._buffer.max_bytes / 2
        if unsent is None or at_engine >= _LEGS_AT_ENGINE or full or not self._care.well:
            return False
        unsent = self._fitted(unsent)
        try:
            unsent.job = self.hybrid.send(unsent.leg)
        except EngineUnreachable:
            raise
        except EngineError as error:
            self.failed_jobs += 1
            self._give_up(unsent, error)
            return True
        self._buffer.expect(unsent.places, self._clock() + self.job_timeout_s + _GRACE_S)
        unsent.job.add_done_callback(self._wake)
        return True

    def _walk(self, previous: Keyframe | None, keyframe: Keyframe) -> Walk | None:
        """From the one to the other; None where nothing leads there, or nothing is walked."""
        if keyframe.latent is None:  # a workflow that gives pictures only
            return None
        try:
            # Also where nothing is walked: it shows that the latent is finite, and is our copy of it.
            end = self._waypoint(keyframe)
            if previous is None or not self._generator.mode.walks:
                return None
            if previous.latent is None or self._generator.is_of_another_model(previous):
                return None
            start = self._waypoint(previous)
        except EngineError as error:
            self.failed_jobs += 1
            log.warning("no walk to keyframe %d: %s", keyframe.number, error)
            return None
        try:
            return self._joined(previous, start, keyframe, end)
        except LatentRejected as error:  # the shapes differ: a model change in mid-dream
            log.warning("no walk to keyframe %d: %s", keyframe.number, error)
            return None

    def _waypoint(self, keyframe: Keyframe) -> Waypoint:
        file = self._generator.file_on_server(keyframe)
        return Waypoint(self._generator.latent(keyframe), None if file is None else file.annotated)

    def _joined(self, previous: Keyframe, start: Waypoint, keyframe: Keyframe, end: Waypoint) -> Walk:
        """A walk that begins as the one before it ended."""
        angle = self.hybrid.angle(start.latent, end.latent)
        seconds = self.gap_s * stretch(angle, self._generator.usual_turn)
        first = Knot(start, after=end, after_s=seconds)
        if self._knot is not None and self._knot[0] == previous.number:
            first = self._knot[1]
        last = Knot(end, before=start, before_s=seconds)
        self._knot = keyframe.number, last
        return Walk.between(self.path, first, last, seconds)

    def _legs(
        self, walk: Walk | None, steps: int, previous: Keyframe | None, keyframe: Keyframe
    ) -> tuple[Leg, ...]:
        import torch

        if walk is None or previous is None:
            return ()
        t = torch.arange(1, steps) / steps
        return self.hybrid.plan(walk, t, keyframe.prompt, (previous.picture, keyframe.picture))

    def _arrived(self, part: _Part) -> None:
        assert part.job is not None  # noqa: S101 - for the type checker: the caller has looked
        try:
            pictures = part.job.pictures()
        except EngineError as error:
            self.failed_jobs += 1
            self._fail(part, error)
            return
        self._care.walk_worked()
        self._parts.remove(part)
        self._intake.append(_Intake(part, deque(pictures)))

    def _fail(self, part: _Part, error: EngineError) -> None:
        """Send a leg once more, then in smaller ones if that may help, then do without it."""
        if isinstance(error, JobFailed) and error.kind != UNFIT:  # else the engine is not to blame
            self._care.walk_failed(error, self._clock())
        if part.retried and not self._ask_for_less(part, error):
            self._give_up(part, error)
            return
        self.retries += 1
        part.job, part.retried = None, True

    def _ask_for_less(self, part: _Part, error: EngineError) -> bool:
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
        most = min(self.hybrid.frames_per_job(leg.walk.end.at.latent), self._steps)
        return max(1, int(most * self._care.batches.share))

    def _fitted(self, part: _Part) -> _Part:
        """The part itself, or the first of the two that it becomes where it asks for too much at once."""
        frames = self._frames_per_job(part.leg)
        if len(part.leg) <= frames:
            return part
        at = self._parts.index(part)
        first, rest = (
            replace(part, leg=leg, places=places)
            for leg, places in zip(
                part.leg.split(frames), (part.places[:frames], part.places[frames:]), strict=True
            )
        )
        self._parts[at] = first
        self._parts.insert(at + 1, rest)
        return first

    def _give_up(self, part: _Part, error: EngineError) -> None:
        log.warning("%d in-betweens are left out: %s", len(part.places), error)
        self._parts.remove(part)
        self._buffer.abandon(part.places)

    def _check_one(self, intake: _Intake) -> None:
        part, data = intake.part, intake.pictures.popleft()
        place = part.places[intake.next]
        intake.next += 1
        if self._put(place, data, FrameKind.IN_BETWEEN, part.keyframe, part.frame_s):
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
            self._generator.rejects[error.reason] += 1
            log.warning("a picture on the way to keyframe %d is left out: %s", keyframe.number, error)
            self._buffer.abandon([place])
            return False
        data, facts = encoded_for(self._encoding, data, facts)
        return self._buffer.put(
            place, Frame(data, facts, kind, keyframe.prompt.theme, duration_s, keyframe.number)
        )
