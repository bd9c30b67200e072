"""How a gap is laid out: where its walk leads, how long it takes, which of its frames are decoded when."""

from __future__ import annotations

import logging

from backend.core.density import Density
from backend.core.gap_frames import STRETCHES, Gap, Shot
from backend.core.generator import DreamGenerator, Keyframe
from backend.errors import EngineError, LatentRejected, PictureRejected
from backend.interpolation.gap_length import FAR, LONGEST_SEEN, stretch
from backend.interpolation.hybrid_generator import HybridGenerator
from backend.interpolation.looks import Look, look_of
from backend.interpolation.timetable import Timetable, eased, even, perceived, shown_for
from backend.interpolation.usual_length import CHANGED_GAPS, UsualPace
from backend.interpolation.walk import Knot, Walk, Waypoint
from backend.utils.picture_check import look_at

log = logging.getLogger(__name__)

# Shorter gaps are not seen in part first: the parts would have no frames between them.
_LEAST_SKETCHED = 2 * STRETCHES
# A gap is shorter than usual by so much at the most, however little is to be seen in it.
_SHORTEST = 0.6
# All of its frames tell its length better than some did; by so much that may change its time at the most, ...
_REFINED = 1.2
# ... and its frames come no faster than so many times what is set.
_HASTE = 1.1


class GapLayout:
    """Decides; sends nothing and shows nothing.

    Args:
        fps: Frames in a second of dream.
        gap_s: Seconds from keyframe to keyframe, where nothing asks for more or less.
        max_pixels: Larger pictures are refused.
        path: A key of PATHS: how the walk leads from keyframe to keyframe.
        pacing: ``uniform``, ``eased`` or ``perceptual``.

    Attributes:
        density: How many frames the engine decodes.
    """

    def __init__(
        self,
        generator: DreamGenerator,
        hybrid: HybridGenerator,
        *,
        fps: float,
        gap_s: float,
        max_pixels: int,
        path: str,
        pacing: str,
    ) -> None:
        self.fps = fps
        self.gap_s = gap_s
        self.path = path
        self.pacing = pacing
        self.density = Density()
        self.lost_fetches = 0
        self._generator = generator
        self._hybrid = hybrid
        self._max_pixels = max_pixels
        self._knot: tuple[int, Knot] | None = None  # where the newest walk ended, and at which keyframe
        self._look: tuple[int, Look] | None = None  # of the newest keyframe that was looked at
        self._since_turn = CHANGED_GAPS  # gaps: so many are the dream's moving on from a turn
        self._straight = UsualPace()  # from look to look over some frames
        self._winding = UsualPace()  # from frame to frame

    def waypoint(self, keyframe: Keyframe) -> Waypoint | None:
        """The keyframe in the latent; None where it has none to be had.

        Fetched also where nothing is walked: it shows that it is finite, and is our copy of it.

        Raises:
            LatentRejected: If it is no good.
        """
        if keyframe.latent is None:  # a workflow that gives pictures only
            return None
        file = self._generator.file_on_server(keyframe)
        try:
            return Waypoint(self._generator.latent(keyframe), None if file is None else file.annotated)
        except EngineError as error:
            self.lost_fetches += 1
            log.warning("no walk to keyframe %d: %s", keyframe.number, error)
            return None

    def gap(self, previous: Keyframe | None, keyframe: Keyframe, here: Waypoint | None) -> Gap:
        """The gap up to a keyframe, as far as it can be told before the next one is known."""
        if previous is None or not self._generator.mode.walks:
            # Without a walk the keyframe itself stands for the whole gap; the first of a walk only begins it.
            return Gap(None, keyframe, None, 1.0 / self.fps if self._generator.mode.walks else self.gap_s)
        if here is None or self._generator.is_of_another_model(previous):
            return Gap(previous, keyframe, None, self.gap_s)
        before = self.waypoint(previous)
        seconds = None if before is None else self._seconds(before, here)
        if before is None or seconds is None:
            log.warning("no walk leads to keyframe %d; it is faded to", keyframe.number)
            return Gap(previous, keyframe, None, self.gap_s)
        turns = seconds >= FAR * self.gap_s
        self._since_turn = 0 if turns else self._since_turn + 1
        gently = self._since_turn <= CHANGED_GAPS
        return Gap(previous, keyframe, (before, here), seconds, turns=turns, gently=gently)

    def settle(self, gap: Gap, after: Waypoint | None, ready_s: float) -> None:
        """Lay out a gap, or choose the frames of it that are to be seen before the rest is laid out.

        Args:
            gap: Gets its walk, and its timetable or the first of its shots.
            after: Where the dream goes on to; None where that is not known.
            ready_s: Seconds of dream that are there to be shown meanwhile.
        """
        gap.walk = self._walk(gap, after)
        if gap.walk is None:
            gap.take_shots(Timetable((), (gap.seconds,)))
            return
        gap.every = self.density.settle(gap.seconds, self.fps, ready_s)
        frames = self._frames(gap)
        if self.pacing == "perceptual":
            gap.looks = self._looks(gap)
        has_time = after is not None and ready_s >= self.gap_s
        if gap.looks is not None and frames >= _LEAST_SKETCHED and has_time:
            gap.stretches = self._stretches(gap)
            gap.shots = [Shot(share) for share in even(gap.stretches, gap.seconds).places]
        else:
            gap.take_shots((eased if self.pacing == "eased" else even)(frames, gap.seconds))

    def settle_seen(self, gap: Gap) -> None:
        """A part of a gap was seen, or will not be: lay out the rest."""
        places, steps = [shot.share for shot in gap.seen()], self._measured(gap)
        if steps is not None:
            gap.seconds = self.gap_s * min(max(sum(steps), _SHORTEST), LONGEST_SEEN)
        else:
            steps = [step.motion for step in gap.steps()]
        if places:
            gap.take_shots(perceived(places, steps, gap.seconds * self.fps / gap.every, gap.seconds))
        else:
            gap.take_shots(even(self._frames(gap), gap.seconds))

    def settle_unseen(self, gap: Gap) -> None:
        """A part of a gap was to be seen, but is not waited for: lay out the rest around it."""
        places = [shot.share for shot in gap.shots if not shot.lost]
        gap.take_shots(perceived(places, [1.0] * (len(places) + 1), self._frames(gap), gap.seconds))

    def refined(self, gap: Gap) -> tuple[float, ...] | None:
        """How long each frame that was seen is shown, first the keyframe before; None where it stays so."""
        if gap.looks is None:
            return None
        self._measured(gap)
        steps = gap.steps()
        shares = self._winding.shares(steps, learn=not gap.turns, gently=gap.gently)
        if shares is None:  # frames of several sizes cannot be compared
            return None
        if gap.every == 1 and all(shot.look is not None for shot in gap.shots):
            least = max(gap.seconds / _REFINED, len(steps) / (_HASTE * self.fps))
            gap.seconds = min(max(self.gap_s * sum(shares), least), gap.seconds * _REFINED)
        return shown_for(shares, gap.seconds)

    def _measured(self, gap: Gap) -> list[float] | None:
        """The stretches of a gap as shares of the usual one; None where they are not known, or were told."""
        if gap.measured or not (steps := gap.straight()):
            return None
        gap.measured = True
        return self._straight.shares(steps, learn=not gap.turns, gently=gap.gently)

    def _stretches(self, gap: Gap) -> int:
        """How many stretches of a gap are seen first: a long one is seen as closely as a usual one.

        A look takes no longer than a usual gap does, and leaves frames between what it sees.
        """
        likely = round(STRETCHES * gap.seconds / self.gap_s)
        most = min(self._frames(gap) // 2, round(self.gap_s * self.fps / gap.every))
        return max(STRETCHES, min(likely, most))

    def last_s(self, gap: Gap) -> float:
        """How long the keyframe of a gap is shown, as long as nothing is known of the next gap."""
        if gap.walk is None and gap.previous is not None:
            return 1.0 / self.fps
        return gap.seconds / (len(gap.shots) + 1)

    def _frames(self, gap: Gap) -> int:
        return max(1, round(gap.seconds * self.fps / gap.every))

    def _seconds(self, before: Waypoint, here: Waypoint) -> float | None:
        """How long the way takes; None where there is none: a model change in mid-dream."""
        try:
            angle = self._hybrid.angle(before.latent, here.latent)
        except LatentRejected:
            return None
        return self.gap_s * stretch(angle, self._generator.usual_turn)

    def _walk(self, gap: Gap, after: Waypoint | None) -> Walk | None:
        """A walk that begins as the one before it ended."""
        if gap.ends is None or gap.previous is None:
            return None
        start, end = gap.ends
        first = Knot(start, after=end, after_s=gap.seconds)
        if self._knot is not None and self._knot[0] == gap.previous.number:
            first = self._knot[1]
        after_s = None if after is None else self._seconds(end, after)
        last = Knot(end, before=start, before_s=gap.seconds)
        if after_s is not None:
            last = Knot(end, start, after, gap.seconds, after_s)
        self._knot = gap.keyframe.number, last
        return Walk.between(self.path, first, last, gap.seconds)

    def _looks(self, gap: Gap) -> tuple[Look, Look] | None:
        """What both keyframes look like; None where they are not of one size."""
        assert gap.previous is not None  # noqa: S101 - for the type checker: there is a walk
        try:
            looks = self._look_of(gap.previous), self._look_of(gap.keyframe)
        except PictureRejected:  # one of an earlier run
            return None
        return looks if looks[0].shape == looks[1].shape else None

    def _look_of(self, keyframe: Keyframe) -> Look:
        if self._look is None or self._look[0] != keyframe.number:
            _, image = look_at(keyframe.picture, max_pixels=self._max_pixels)
            self._look = keyframe.number, look_of(image)
        return self._look[1]
