"""Writing down, keyframe by keyframe, what the next start goes on from; and going on from it."""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from backend.core.frame_buffer import Frame, FrameBuffer, FrameKind, Joint
from backend.core.frames_ahead import Ahead
from backend.core.generator import DreamGenerator, KeptLatent, Keyframe
from backend.core.jobs import FileRef
from backend.core.pace import Pace
from backend.core.resume_point import (
    MOST_KEYFRAMES,
    CountsRecord,
    KeyframeRecord,
    PromptsRecord,
    RandomState,
    ResumePoint,
)
from backend.core.resume_store import ResumeStore
from backend.errors import EngineError, LatentRejected, PictureRejected, StorageError
from backend.interpolation.latent_encoder import write_latents
from backend.utils.picture_check import inspect_picture
from backend.utils.prompt_manager import Prompt, PromptManager, Turn
from backend.utils.status_schema import utc_text

log = logging.getLogger(__name__)

_FADED_TO_S = 0.1


@dataclass(frozen=True)
class Counts:
    """What was counted since the dream began, in all its runs."""

    keyframes: int = 0
    in_betweens: int = 0
    rejected: int = 0
    failed_jobs: int = 0
    retries: int = 0


@dataclass(frozen=True)
class Resumed:
    """What an earlier run had come to.

    Attributes:
        keyframe: The newest that it had acknowledged; the dream goes on from it.
        to_open: Keyframes that were not reached yet by frames that lie ready, each with the one before it.
    """

    keyframe: Keyframe
    counts: Counts
    to_open: tuple[tuple[Keyframe | None, Keyframe], ...] = ()


@dataclass(frozen=True)
class _Moment:
    """The state just before the next keyframe is asked for: a restart asks for it in the same way."""

    turn: Turn
    random: RandomState


class Resuming:
    """Keeps the resume point, for the dream loop and by its thread alone.

    Args:
        seed: ``dream.seed``; a random state of another seed is not taken up.
        max_pixels: Larger pictures are refused.
        clock: Monotonic seconds, of the prompts.
        wall: Now, with a zone.

    Attributes:
        problem: Why the newest keyframe could not be written down, as a sentence; None where it could.
    """

    def __init__(
        self,
        store: ResumeStore,
        generator: DreamGenerator,
        prompts: PromptManager,
        buffer: FrameBuffer,
        pace: Pace,
        rng: random.Random,
        *,
        seed: int | None,
        max_pixels: int,
        clock: Callable[[], float],
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.problem: str | None = None
        self._store = store
        self._generator = generator
        self._prompts = prompts
        self._buffer = buffer
        self._pace = pace
        self._rng = rng
        self._seed = seed
        self._max_pixels = max_pixels
        self._clock = clock
        self._wall = wall
        self._moment: _Moment | None = None
        self._point: ResumePoint | None = None
        self._records: deque[KeyframeRecord] = deque(maxlen=MOST_KEYFRAMES)

    def take_up(self, point: ResumePoint, ahead: Ahead) -> Resumed | None:
        """Go on from a point; None where its keyframe is lost, of which the rest is taken up all the same.

        Args:
            point: The point.
            ahead: The frames that lay ready, which are in the buffer by now.
        """
        self._prompts.go_on(Turn(**point.prompts.model_dump()), self._clock())
        if point.seed == self._seed:
            self._rng.setstate(point.random)
        tail = self._tail_of(point)
        if not tail:
            log.warning("the last keyframe of the earlier run is gone: the dream begins anew")
            return None
        self._generator.go_on(tail, point.turns)
        keyframes = [keyframe for keyframe, _ in tail]
        self._records.extend(point.tail[-len(tail) :])
        self._point = point
        log.info("going on from keyframe %d of an earlier run", keyframes[-1].number)
        opened = self._opened(point, ahead, keyframes)
        if ahead.reached is not None and not ahead.whole:
            self._fade_to(keyframes[opened - 1])
        pairs = zip([None, *keyframes], keyframes, strict=False)
        return Resumed(keyframes[-1], Counts(**point.counts.model_dump()), tuple(pairs)[opened:])

    def about_to_ask(self) -> None:
        """The next keyframe is about to be asked for: words and chance are as a restart is to find them."""
        self._moment = _Moment(self._prompts.turn(self._clock()), _state_of(self._rng))

    def keep(self, keyframe: Keyframe, counts: Counts) -> None:
        """A keyframe is acknowledged: from now on a restart continues from it, whatever happens.

        A disk that refuses costs no more than that: the dream goes on, and a restart would continue from
        the keyframe before.
        """
        moment = self._moment or _Moment(self._prompts.turn(self._clock()), _state_of(self._rng))
        try:
            self._records.append(self._record(keyframe))
            point = ResumePoint(
                written_at=utc_text(self._wall()),
                model=self._generator.model,
                tail=self._tail(),
                next_place=self._buffer.next_place,
                end_place=self._buffer.end_place,
                prompts=PromptsRecord(**asdict(moment.turn)),
                counts=CountsRecord(**asdict(counts)),
                seed=self._seed,
                random=moment.random,
                turns=self._generator.turns,
                interval_s=self._pace.interval_s,
            )
            self._store.save(point)
        except StorageError as error:
            self._refused(error)
        else:
            self._point, self.problem = point, None

    def keep_clock(self, counts: Counts) -> None:
        """The run ends in an orderly way: note how far the themes' clock, the counts and the display came."""
        if self._point is None:
            return
        update = {
            "written_at": utc_text(self._wall()),
            "tail": self._tail(),
            "next_place": self._buffer.next_place,
            "end_place": self._buffer.end_place,
            "prompts": PromptsRecord(**asdict(self._prompts.turn(self._clock()))),
            "counts": CountsRecord(**asdict(counts)),
        }
        try:
            self._store.save(self._point.model_copy(update=update))
        except StorageError as error:
            self._refused(error)

    def _refused(self, error: StorageError) -> None:
        if self.problem is None:
            log.warning("where the dream has come to is not kept: %s", error)
        self.problem = str(error)

    def _tail(self) -> tuple[KeyframeRecord, ...]:
        """The newest, those that the display has not come to, and two before, from which it is on its way."""
        for index, record in enumerate(self._records):
            place = self._buffer.place_of(record.number)
            if place is not None and place != record.place:
                self._records[index] = record.model_copy(update={"place": place})
        while len(self._records) > 2 and self._was_shown(self._records[2], self._buffer.next_place):
            self._records.popleft()
        return tuple(self._records)

    @staticmethod
    def _was_shown(record: KeyframeRecord, next_place: int) -> bool:
        return record.place is not None and record.place < next_place

    def _record(self, keyframe: Keyframe) -> KeyframeRecord:
        latent = self._latent_of(keyframe)
        return KeyframeRecord(
            number=keyframe.number,
            latent=None if latent is None else self._store.keep(latent, is_latent=True),
            picture=self._store.keep(keyframe.picture, is_latent=False),
            theme=keyframe.prompt.theme,
            positive=keyframe.prompt.positive,
            negative=keyframe.prompt.negative,
            seed=keyframe.seed,
            denoise=keyframe.denoise,
            parent=keyframe.parent,
            seconds=keyframe.seconds,
            size=keyframe.size,
            folded=keyframe.folded,
        )

    def _latent_of(self, keyframe: Keyframe) -> bytes | None:
        """None where there is none to be had: then the picture is what the dream goes on from."""
        try:
            return None if keyframe.latent is None else write_latents(self._generator.latent(keyframe))
        except (EngineError, LatentRejected) as error:
            log.warning("the latent of keyframe %d is not kept: %s", keyframe.number, error)
            return None

    def _tail_of(self, point: ResumePoint) -> list[tuple[Keyframe, KeptLatent | None]]:
        """The newest keyframes of a point, as many in a row as are whole; the newest last."""
        tail: list[tuple[Keyframe, KeptLatent | None]] = []
        for record in reversed(point.tail):
            latent = None if record.latent is None else self._store.file(record.latent)
            keyframe = self._keyframe(record, has_latent=latent is not None)
            if keyframe is None:
                break
            tail.insert(0, (keyframe, None if latent is None else KeptLatent(latent, point.model)))
        return tail

    def _keyframe(self, record: KeyframeRecord, *, has_latent: bool) -> Keyframe | None:
        """Without its latent it is continued from its picture; without that there is no keyframe."""
        picture = self._store.file(record.picture)
        if picture is None:
            return None
        try:
            facts = inspect_picture(picture, max_pixels=self._max_pixels)
        except PictureRejected:
            return None
        return Keyframe(
            number=record.number,
            picture=picture,
            facts=facts,
            latent=FileRef(f"{record.latent}.latent", type="kept") if has_latent else None,
            prompt=Prompt(record.theme, record.positive, record.negative),
            seed=record.seed,
            denoise=record.denoise,
            parent=record.parent,
            seconds=record.seconds,
            size=record.size,
            folded=record.folded,
        )

    def _opened(self, point: ResumePoint, ahead: Ahead, keyframes: Sequence[Keyframe]) -> int:
        """How many of these keyframes frames lead to that were shown or lie ready."""
        numbers = [keyframe.number for keyframe in keyframes]
        if ahead.reached in numbers:
            return numbers.index(ahead.reached) + 1
        shown = {record.number for record in point.tail if self._was_shown(record, point.next_place)}
        return sum(number in shown for number in numbers)

    def _fade_to(self, keyframe: Keyframe) -> None:
        """The frames that lie ready end on the way to it, and nobody makes the rest of that way now."""
        place = self._buffer.reserve([_FADED_TO_S])[0]
        theme, kind = keyframe.prompt.theme, FrameKind.KEYFRAME
        frame = Frame(
            keyframe.picture, keyframe.facts, kind, theme, _FADED_TO_S, keyframe.number, joint=Joint.FADE
        )
        self._buffer.put(place, frame)


def _state_of(rng: random.Random) -> RandomState:
    version, state, pair = rng.getstate()
    return version, state, pair
