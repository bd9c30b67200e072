"""The gaps between keyframes: laid out once it is known how the dream goes on, filled as pictures come."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backend.core.density import Density
from backend.core.frame_buffer import Frame, FrameBuffer, FrameKind, Joint
from backend.core.gap_frames import Gap, Shot
from backend.core.gap_layout import GapLayout
from backend.core.generator import DreamGenerator, Keyframe
from backend.core.legs import Legs
from backend.core.pace import Pace
from backend.errors import PictureRejected
from backend.interpolation.gap_length import LONGEST
from backend.interpolation.hybrid_generator import HybridGenerator
from backend.interpolation.looks import look_of
from backend.interpolation.walk import Waypoint
from backend.utils.picture_check import encoded_for, look_at
from backend.utils.picture_formats import AS_IT_COMES, Encoding

log = logging.getLogger(__name__)

# A job ends by its own deadline; its places are given up a little later in any case.
_GRACE_S = 30.0
# With less than this share of a gap ahead, the next is shown without knowing where the dream goes on to.
_DRY_SHARE = 0.5


@dataclass
class _Intake:
    """Pictures of one leg that arrived, checked one a turn so that a keyframe never waits long.

    Attributes:
        ends: Whether the leg has ended, so that these are the last of it; there may be none.
    """

    gap: Gap
    left: deque[tuple[Shot, bytes]]
    ends: bool


class GapFiller:
    """Opens a gap for each new keyframe and fills it; what does not come is abandoned, never waited for.

    A gap waits until the keyframe after it is known, so that the walk passes its keyframes without a kink.
    Where the eye is to decide the pace, a few frames of it are decoded first; how far they look apart decides
    how long the gap takes and where the others lie.

    Args:
        fps: Frames in a second of dream.
        gap_s: Seconds from keyframe to keyframe, where nothing asks for more or less.
        max_pixels: Larger pictures are refused.
        job_timeout_s: How long the engine may take for a job.
        path: A key of PATHS: how the walk leads from keyframe to keyframe.
        pacing: ``uniform``, ``eased`` or ``perceptual``.
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
        pacing: str = "perceptual",
        encoding: Encoding = AS_IT_COMES,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self.in_betweens = 0
        self.rejected = 0
        self.opened_s = gap_s
        """Seconds of the gap that was opened last, as it was expected to be."""
        self.hybrid = hybrid
        self.job_timeout_s = job_timeout_s
        self.layout = GapLayout(
            generator, hybrid, fps=fps, gap_s=gap_s, max_pixels=max_pixels, path=path, pacing=pacing
        )
        self._generator = generator
        self._buffer = buffer
        self._pace = pace
        self._max_pixels = max_pixels
        self._encoding = encoding
        self._clock = clock
        self._legs: Legs[Shot] = Legs(
            hybrid, generator.care, usual=max(1, round(gap_s * fps)), wake=wake, clock=clock
        )
        self._waiting: Gap | None = None  # for the keyframe after it
        self._open: deque[Gap] = deque()  # not in the buffer yet, in order
        self._gaps: dict[Shot, Gap] = {}  # of what is on its way
        self._intake: deque[_Intake] = deque()
        self._last_place: int | None = None  # of the newest keyframe in the buffer

    def retime(self, fps: float, gap_s: float) -> None:
        """Open gaps of this many frames a second and seconds from now on; those that are open stay."""
        self.layout.gap_s, self.layout.fps = gap_s, fps
        self._legs.usual = max(1, round(gap_s * fps))

    @property
    def gap_s(self) -> float:
        """Seconds of a usual gap."""
        return self.layout.gap_s

    @property
    def density(self) -> Density:
        """How many of its frames are decoded."""
        return self.layout.density

    @property
    def busy(self) -> bool:
        """Whether pictures are on their way or wait to be checked."""
        return bool(self._legs or self._intake)

    @property
    def busy_at_engine(self) -> bool:
        """Whether the engine is at work on pictures of ours."""
        return self._legs.at_engine > 0

    @property
    def waiting(self) -> bool:
        """Whether a gap waits for the keyframe after it, or for a look at some of its frames."""
        return self._waiting is not None or bool(self._open)

    @property
    def opening_s(self) -> float:
        """Seconds of dream that will have their places in the buffer before long."""
        return sum(gap.seconds for gap in self._open)

    @property
    def retries(self) -> int:
        """Legs that were sent again."""
        return self._legs.retries

    @property
    def failed_jobs(self) -> int:
        """Jobs and questions that failed."""
        return self._legs.failed_jobs + self.layout.lost_fetches

    def engine_begins(self) -> None:
        """The engine is given work after a rest, a pause or an absence: its pace counts from now."""
        self._pace.begin(self._clock())

    def open(self, previous: Keyframe | None, keyframe: Keyframe) -> None:
        """A keyframe has come: lay out the gap before it, or have it wait for the keyframe after.

        Raises:
            LatentRejected: If the keyframe's latent is no good; nothing of it is shown then.
        """
        self.density.keyframe_took(keyframe.seconds)
        self._legs.engine_turns()
        here = self.layout.waypoint(keyframe)
        self._settle(here)
        gap = self.layout.gap(previous, keyframe, here)
        self.opened_s = gap.seconds
        ahead_s = self._buffer.promised_s + self.opening_s
        if gap.ends is not None and self.layout.path == "smooth" and ahead_s >= _DRY_SHARE * self.gap_s:
            self._waiting = gap
        else:
            self._lay(gap, None)

    def settle(self) -> None:
        """Show what there is: nothing more is known before long of how the dream goes on, or how it looks."""
        self._settle(None)
        for gap in self._open:
            if gap.timetable is None:
                self.layout.settle_unseen(gap)
        self._place_next()

    def _settle(self, after: Waypoint | None) -> None:
        gap, self._waiting = self._waiting, None
        if gap is not None:
            self._lay(gap, after)

    def coming_s(self, folded: str | None) -> float:
        """Seconds that the next keyframe brings into the buffer: of the gap that waits for it, else its own.

        Args:
            folded: The memory that was folded into it, if any: then the gap may take its time.
        """
        if self._waiting is not None:
            return self._waiting.seconds
        return self.gap_s * (LONGEST if folded is not None else 1.0)

    def collect(self) -> bool:
        """Take over pictures that have come, or a leg that has ended; False if there is neither."""
        if self._collect_early():
            return True
        part = self._legs.ended()
        if part is None:
            return False
        gap, frames = self._gaps.get(part.shots[0]), len(part.shots)
        brought = self._legs.pictures_of(part)
        if brought is not None:
            pictures, seconds = brought
            self.density.frames_took(frames, seconds)
            if gap is not None:  # else all had come, and the gap was settled by another leg of it
                self._intake.append(_Intake(gap, deque(pictures), ends=True))
        elif gap is not None and self._legs.given_up(part):
            self._lose(gap, part.shots)
        return True

    def _collect_early(self) -> bool:
        """Take over pictures of a leg that is still at work."""
        arrived = self._legs.arrived()
        if arrived is None:
            return False
        part, came = arrived
        gap = self._gaps.get(part.shots[0])
        if gap is not None:
            self._intake.append(_Intake(gap, deque(came), ends=False))
        return True

    def check(self) -> bool:
        """Look at one of the pictures taken over and put it into its place; False if there is none."""
        if not self._intake:
            return False
        intake = self._intake[0]
        if intake.left:
            self._check_one(intake.gap, *intake.left.popleft())
        if not intake.left:
            self._intake.popleft()
            if intake.ends:
                self._arrived(intake.gap)
        return True

    def send(self) -> bool:
        """Send the next leg if the engine is well and has few, and the buffer has room; False if not.

        Raises:
            EngineUnreachable: If nobody answers; the leg waits.
        """
        if self._buffer.size_bytes > self._buffer.max_bytes / 2:
            return False
        sent = self._legs.send()
        if sent is None:
            return False
        part, taken = sent
        if taken:
            places = [shot.place for shot in part.shots if shot.place is not None]
            self._buffer.expect(places, self._clock() + self.job_timeout_s + _GRACE_S)
        else:
            self._lose(self._gaps[part.shots[0]], part.shots)
        return True

    def _lay(self, gap: Gap, after: Waypoint | None) -> None:
        self.layout.settle(gap, after, self._buffer.ready_s)
        if gap.timetable is None:
            self._add_legs(gap)
        self._open.append(gap)
        self._place_next()

    def _add_legs(self, gap: Gap) -> None:
        """Have those frames of a gap decoded that are not."""
        shots = [shot for shot in gap.shots if not shot.settled]
        if gap.walk is None or gap.previous is None or not shots:
            return
        by_turn = self.layout.pacing != "uniform"
        t = gap.walk.at(tuple(shot.share for shot in shots), by_turn=by_turn)
        for shot, way in zip(shots, t.tolist(), strict=True):
            shot.way = way
        pictures = (gap.previous.picture, gap.keyframe.picture)
        self._gaps.update(dict.fromkeys(shots, gap))
        for leg in self.hybrid.plan(gap.walk, t, gap.keyframe.prompt, pictures):
            self._legs.add(leg, shots[: len(leg)])
            shots = shots[len(leg) :]

    def _place_next(self) -> None:
        """Give places in the buffer to the gaps that have their timetable, in the order of the dream."""
        while self._open and self._open[0].timetable is not None:
            gap = self._open.popleft()
            self._place(gap, gap.timetable.shown_s if gap.timetable else ())

    def _place(self, gap: Gap, shown_s: Sequence[float]) -> None:
        if gap.previous is not None and self._last_place is not None:
            gap.before_place = self._last_place
            self._buffer.retime([self._last_place], shown_s[:1])
        last_s = self.layout.last_s(gap)
        places = self._buffer.reserve([*shown_s[1:], last_s])
        self._last_place = places[-1]
        gap.assign(places)
        for shot in gap.shots:
            if shot.frame is not None and shot.place is not None:
                self._buffer.put(shot.place, shot.frame)
                shot.frame = None
        self._add_legs(gap)
        self._put_keyframe(gap, places[-1], last_s)
        if gap.settled:
            self._pace.supplied(self._clock(), self._buffer.lasting_s)

    def _put_keyframe(self, gap: Gap, place: int, shown_s: float) -> None:
        keyframe = gap.keyframe
        data, facts = encoded_for(self._encoding, keyframe.picture, keyframe.facts)
        joint = Joint.WALK if gap.walk is not None else Joint.FADE
        if not self._generator.mode.walks:
            joint = Joint.CUT
        theme = keyframe.prompt.theme
        frame = Frame(data, facts, FrameKind.KEYFRAME, theme, shown_s, keyframe=keyframe.number, joint=joint)
        self._buffer.put(place, frame)

    def _check_one(self, gap: Gap, shot: Shot, data: bytes) -> None:
        try:
            facts, image = look_at(data, max_pixels=self._max_pixels)
        except PictureRejected as error:
            self.rejected += 1
            log.warning("a picture on the way to keyframe %d is left out: %s", gap.keyframe.number, error)
            self._forget(shot)
            return
        shot.look = look_of(image)
        data, facts = encoded_for(self._encoding, data, facts)
        shown_s = 1.0 / self.layout.fps  # its place says otherwise
        keyframe = gap.keyframe
        theme = keyframe.prompt.theme
        frame = Frame(data, facts, FrameKind.IN_BETWEEN, theme, shown_s, keyframe.number, way=shot.way)
        if shot.place is None:
            shot.frame = frame
            self.in_betweens += 1
        elif self._buffer.put(shot.place, frame):
            self.in_betweens += 1

    def _lose(self, gap: Gap, shots: Sequence[Shot]) -> None:
        """A leg was given up."""
        for shot in shots:
            self._forget(shot)
        self._intake.append(_Intake(gap, deque(), ends=True))  # behind those of it that came before

    def _forget(self, shot: Shot) -> None:
        shot.lost = True
        if shot.place is not None:
            self._buffer.abandon([shot.place])

    def _arrived(self, gap: Gap) -> None:
        """A leg of a gap has come, or will not."""
        if gap.placed:
            self._pace.supplied(self._clock(), self._buffer.lasting_s)
        if not gap.settled:
            return
        for shot in gap.shots:
            self._gaps.pop(shot, None)
        if not gap.placed:
            self.layout.settle_seen(gap)
            self._place_next()
            return
        shown_s = self.layout.refined(gap)
        if shown_s is not None:
            places = [shot.place for shot in gap.seen() if shot.place is not None]
            if gap.before_place is not None:
                self._buffer.retime([gap.before_place], shown_s[:1])
            self._buffer.retime(places, shown_s[1:])
