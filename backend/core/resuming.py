"""Writing down, keyframe by keyframe, what the next start goes on from; and going on from it."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from backend.core.generator import DreamGenerator, KeptLatent, Keyframe
from backend.core.jobs import FileRef
from backend.core.pace import Pace
from backend.core.resume_point import (
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
    """

    keyframe: Keyframe
    counts: Counts


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
        self._pace = pace
        self._rng = rng
        self._seed = seed
        self._max_pixels = max_pixels
        self._clock = clock
        self._wall = wall
        self._moment: _Moment | None = None
        self._point: ResumePoint | None = None

    def take_up(self, point: ResumePoint) -> Resumed | None:
        """Go on from a point; None where its keyframe is lost, of which the rest is taken up all the same."""
        self._prompts.go_on(Turn(**point.prompts.model_dump()), self._clock())
        self._pace.go_on(point.interval_s, 0.0)
        if point.seed == self._seed:
            self._rng.setstate(point.random)
        record = point.keyframe
        latent = None if record.latent is None else self._store.file(record.latent)
        keyframe = self._keyframe(record, has_latent=latent is not None)
        if keyframe is None:
            log.warning("the last keyframe of the earlier run is gone: the dream begins anew")
            return None
        kept = None if latent is None else KeptLatent(latent, point.model)
        self._generator.go_on(keyframe, kept, point.turns)
        self._point = point
        log.info("going on from keyframe %d of an earlier run", keyframe.number)
        return Resumed(keyframe, Counts(**point.counts.model_dump()))

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
            record = self._record(keyframe)
            self._point = self._written(
                ResumePoint(
                    written_at=utc_text(self._wall()),
                    model=self._generator.model,
                    keyframe=record,
                    prompts=_prompts_record(moment.turn),
                    counts=CountsRecord(**asdict(counts)),
                    seed=self._seed,
                    random=moment.random,
                    turns=self._generator.turns,
                    interval_s=self._pace.interval_s,
                )
            )
        except StorageError as error:
            self._refused(error)
        else:
            self.problem = None

    def keep_clock(self, counts: Counts) -> None:
        """The run ends in an orderly way: note how far the clock of the themes and the counts have come."""
        if self._point is None:
            return
        update = {
            "written_at": utc_text(self._wall()),
            "prompts": _prompts_record(self._prompts.turn(self._clock())),
            "counts": CountsRecord(**asdict(counts)),
        }
        try:
            self._written(self._point.model_copy(update=update))
        except StorageError as error:
            self._refused(error)

    def _written(self, point: ResumePoint) -> ResumePoint:
        self._store.save(point)
        return point

    def _refused(self, error: StorageError) -> None:
        if self.problem is None:
            log.warning("where the dream has come to is not kept: %s", error)
        self.problem = str(error)

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


def _prompts_record(turn: Turn) -> PromptsRecord:
    return PromptsRecord(**asdict(turn))


def _state_of(rng: random.Random) -> RandomState:
    version, state, pair = rng.getstate()
    return version, state, pair
