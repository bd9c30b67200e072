"""**DreamGenerator**: prompt + previous keyframe -> the next keyframe, as a future."""

from __future__ import annotations

import logging
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from backend.core.engine import EngineFacts
from backend.core.engine_care import EngineCare
from backend.core.engine_jobs import finished, latent_file
from backend.core.folding import Arc
from backend.core.jobs import FileRef, Job
from backend.core.provenance import Provenance, stamped
from backend.core.workflow_builder import DreamStep, ImageToImage, Request, TextToImage, Workflow
from backend.errors import GraphRejected, GraphUnfit, LatentRejected, PictureRejected
from backend.interpolation.latent_encoder import read_latents, write_latents
from backend.interpolation.spherical_lerp import angle_between
from backend.utils.ladder import scaled_size
from backend.utils.picture_check import PictureFacts, inspect_picture
from backend.utils.prompt_manager import Prompt

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

# Seeds fit into every number that a graph passes through on its way (JavaScript's are 53 bits).
_SEED_BITS = 53
# The two ends of the newest gap, and one to spare.
_LATENTS_KEPT = 3
# Untouched keyframes from which the usual turn is told.
_TURNS_KEPT = 24


@dataclass(frozen=True)
class Mode:
    """How keyframes follow one another.

    Attributes:
        continues: Each keyframe starts from the latent of the one before; else each is fresh.
        walks: The gap between two keyframes is filled by walking from latent to latent.
    """

    continues: bool
    walks: bool


MODES: Mapping[str, Mode] = MappingProxyType(
    {
        "txt2img": Mode(continues=False, walks=False),
        "img2img": Mode(continues=True, walks=False),
        "interpolate": Mode(continues=False, walks=True),
        "hybrid": Mode(continues=True, walks=True),
    }
)


@dataclass(frozen=True)
class Keyframe:
    """A picture that the engine dreamt, with the latent that the dream goes on from.

    Attributes:
        number: Counts the requests for keyframes from 1; failed ones leave a hole.
        latent: Where the latent lies on the server; None where a workflow of the user's gives none.
        parent: The number of the keyframe it was dreamt from; None for a fresh one.
        seconds: What the engine needed for it.
        size: Width and height in pixels that were asked for, None where that is not known; the picture may
            be larger.
        folded: The memory that was folded into its start, if any.
    """

    number: int
    picture: bytes
    facts: PictureFacts
    latent: FileRef | None
    prompt: Prompt
    seed: int
    denoise: float
    parent: int | None
    seconds: float
    size: tuple[int, int] | None = None
    folded: str | None = None


@dataclass(frozen=True)
class KeptLatent:
    """Our own copy of the latent of a keyframe that an earlier run dreamt; it lies on no server.

    Attributes:
        data: A ``.latent`` file.
        model: What painted it, as ``DreamGenerator.model`` told then.
    """

    data: bytes
    model: str


@dataclass(frozen=True)
class KeyframeJob:
    """A keyframe that the engine is working on."""

    number: int
    prompt: Prompt
    seed: int
    denoise: float
    parent: int | None
    job: Job
    workflow: Workflow
    size: tuple[int, int]
    folded: str | None = None


class DreamEngine(Protocol):
    """What the generator needs of an Engine; tests hand in one that lives in memory."""

    @property
    def facts(self) -> EngineFacts | None: ...

    def submit(self, request: Request) -> tuple[Job, Workflow]: ...

    def fetch_latent(self, latent: FileRef) -> bytes: ...

    def upload_latent(self, data: bytes) -> FileRef: ...

    def upload_picture(self, picture: bytes) -> FileRef: ...

    def retire_latent(self, latent: FileRef) -> None: ...

    def free_memory(self) -> None: ...

    def restart(self) -> bool:
        """Begin anew with another process; False if the process is not ours, and nothing was done."""
        ...


class DreamGenerator:
    """The facade of everything between a prompt and a keyframe.

    Args:
        engine: Runs the jobs.
        mode: A key of MODES.
        denoise: Share of each keyframe that is dreamt anew, where it continues another.
        size: Width and height in pixels; None for the model family's own.
        max_pixels: Larger pictures are refused.
        rng: Draws the seeds.
        wall: Now, with a zone, for what keyframes tell of themselves.

    Attributes:
        care: What is done where the engine's jobs fail.
        rejects: Pictures and latents that were no good, by reason.
    """

    def __init__(
        self,
        engine: DreamEngine,
        *,
        mode: str,
        denoise: float,
        size: tuple[int, int] | None,
        max_pixels: int,
        rng: random.Random,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.mode_name = mode
        self.mode = MODES[mode]
        self.denoise = denoise
        self.care = EngineCare(engine)
        self.rejects: Counter[str] = Counter()
        self._engine = engine
        self._size = size
        self._max_pixels = max_pixels
        self._rng = rng
        self._wall = wall
        self._submitted = 0
        self._latents: OrderedDict[int, Tensor] = OrderedDict()
        self._kept: dict[int, KeptLatent] = {}
        self._arc: Arc | None = None
        self._turns: deque[float] = deque(maxlen=_TURNS_KEPT)

    def use(self, *, mode: str, denoise: float, size: tuple[int, int] | None) -> None:
        """Ask for keyframes in this way from now on; arguments as at the beginning."""
        self.mode_name, self.mode = mode, MODES[mode]
        self.denoise, self._size = denoise, size

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the next keyframe: as large as the engine's memory allows."""
        return scaled_size(self.full_size, self.care.sizes.share)

    @property
    def full_size(self) -> tuple[int, int]:
        """Width and height in pixels; (0, 0) while no engine has answered and none is set."""
        if self._size is not None:
            return self._size
        facts = self._engine.facts
        return (facts.family.width, facts.family.height) if facts else (0, 0)

    def request(self, prompt: Prompt, previous: Keyframe | None) -> KeyframeJob:
        """Queue the next keyframe: from ``previous`` where the mode continues, else fresh.

        Raises:
            EngineUnreachable: If the server does not answer.
            GraphRejected: If it refuses the graph.
        """
        seed = self._rng.getrandbits(_SEED_BITS)
        if previous is None or not self.mode.continues:
            width, height = self.size
            fresh = TextToImage(prompt.positive, prompt.negative, seed, width, height)
            return self._submit(fresh, prompt, seed, None)
        if previous.latent is None or self._feeds_pictures or self.is_of_another_model(previous):
            return self._submit(self._from_picture(previous, prompt, seed), prompt, seed, previous)
        leaning = self._leaning(previous)
        if leaning is not None:
            file = self._engine.upload_latent(write_latents(leaning))
            step = self._step(previous, file, prompt, seed)
            return self._submit(step, prompt, seed, previous, self._arc.memory_id if self._arc else None)
        kept = self._kept.get(previous.number)
        if kept is not None:
            file = self._engine.upload_latent(kept.data)
            return self._submit(self._step(previous, file, prompt, seed), prompt, seed, previous)
        try:
            return self._submit(self._step(previous, previous.latent, prompt, seed), prompt, seed, previous)
        except GraphUnfit:
            raise
        except GraphRejected:
            latent = self._latents.get(previous.number)
            if latent is None:
                raise
            # The file is gone from the server (cleaned up, another server): bring our own copy.
            file = self._engine.upload_latent(write_latents(latent))
            return self._submit(self._step(previous, file, prompt, seed), prompt, seed, previous)

    def go_on(
        self, keyframes: Sequence[tuple[Keyframe, KeptLatent | None]], turns: Sequence[float] = ()
    ) -> None:
        """Take up keyframes of an earlier run, the newest of which is to be continued from.

        Args:
            keyframes: Oldest first, with their latents, which ``Keyframe.latent`` only names.
            turns: How far that run turned of late, as ``turns`` told.
        """
        self._submitted = max([self._submitted, *(keyframe.number for keyframe, _ in keyframes)])
        self._kept |= {keyframe.number: kept for keyframe, kept in keyframes if kept is not None}
        self._turns.extend(turns)

    @property
    def model(self) -> str:
        """What paints, as people call it; empty while no engine has answered."""
        facts = self._engine.facts
        return f"{facts.family.name}: {facts.checkpoint}" if facts else ""

    @property
    def turns(self) -> tuple[float, ...]:
        """Radians from keyframe to keyframe of late, oldest first, where nothing was folded in."""
        return tuple(self._turns)

    def fold_in(self, arc: Arc) -> None:
        """Let the next keyframes lean toward a memory; may be called by any thread."""
        self._arc = arc

    @property
    def leans(self) -> bool:
        """Whether keyframes start from latents, which can be turned toward others."""
        return self.mode.continues and not self._feeds_pictures

    @property
    def usual_turn(self) -> float:
        """Radians that the dream turns from keyframe to keyframe by itself, as a median; 0 while unknown."""
        return median(self._turns) if self._turns else 0.0

    def file_on_server(self, keyframe: Keyframe) -> FileRef | None:
        """Where a keyframe's latent lies on the server; None where it lies on none."""
        return None if keyframe.number in self._kept else keyframe.latent

    def known_latent(self, keyframe: Keyframe) -> Tensor | None:
        """The latent of a keyframe if it is at hand; nothing is fetched."""
        return self._latents.get(keyframe.number)

    def _leaning(self, previous: Keyframe) -> Tensor | None:
        """Where the next keyframe starts while a memory is folded in; None while none is."""
        if self._arc is None or self._arc.over:
            self._arc = None
            return None
        try:
            return self._arc.lean(self.latent(previous), self.usual_turn)
        except LatentRejected as error:
            log.warning("memory %s is not folded in: %s", self._arc.memory_id[:12], error)
            return None

    def collect(self, pending: KeyframeJob) -> Keyframe:
        """The keyframe of a job that is done.

        Raises:
            JobFailed: If the job did not end well.
            PictureRejected: If the picture is broken, black or flat.
        """
        end = finished(pending.job.result(0.0))
        picture = end.pictures[0].data
        latent = None if pending.workflow.latent_node is None else latent_file(end, pending.workflow)
        try:
            facts = inspect_picture(picture, max_pixels=self._max_pixels)
        except PictureRejected:
            if latent is not None:
                self._engine.retire_latent(latent)
            raise
        return Keyframe(
            number=pending.number,
            picture=self._stamped(picture, pending),
            facts=facts,
            latent=latent,
            prompt=pending.prompt,
            seed=pending.seed,
            denoise=pending.denoise,
            parent=pending.parent,
            seconds=end.engine_s,
            size=pending.size,
            folded=pending.folded,
        )

    def latent(self, keyframe: Keyframe) -> Tensor:
        """The latent of a keyframe, shape ``[1, C, h, w]``, fetched once.

        Raises:
            EngineError: If the server does not deliver it.
            LatentRejected: If it is not finite, or no latent at all.
        """
        known = self._latents.get(keyframe.number)
        if known is None:
            kept = self._kept.get(keyframe.number)
            known = self.fetched(keyframe) if kept is None else read_latents(kept.data)
            self._latents[keyframe.number] = known
            self._note_turn(keyframe, known)
            while len(self._latents) > _LATENTS_KEPT:
                self._latents.popitem(last=False)
        return known

    def fetched(self, keyframe: Keyframe) -> Tensor:
        """The same from the server, kept nowhere: for what is no part of the dream."""
        if keyframe.latent is None:
            raise LatentRejected("the workflow gives no latent (latent_out is not bound)")
        return read_latents(self._engine.fetch_latent(keyframe.latent))

    def _note_turn(self, keyframe: Keyframe, latent: Tensor) -> None:
        """How far the dream turns by itself, for the pace at which memories may turn it."""
        parent = None if keyframe.parent is None else self._latents.get(keyframe.parent)
        if parent is not None and keyframe.folded is None and parent.shape == latent.shape:
            self._turns.append(angle_between(parent, latent))

    def retire(self, keyframe: Keyframe) -> None:
        """The keyframe's latent is not needed on the server any more."""
        if self._kept.pop(keyframe.number, None) is None and keyframe.latent is not None:
            self._engine.retire_latent(keyframe.latent)

    def is_of_another_model(self, keyframe: Keyframe) -> bool:
        """Whether an earlier run dreamt it with a model whose latents mean something else."""
        kept = self._kept.get(keyframe.number)
        return kept is not None and kept.model != self.model

    @property
    def _feeds_pictures(self) -> bool:
        return self._engine.facts is not None and self._engine.facts.feeds_pictures

    def _stamped(self, picture: bytes, pending: KeyframeJob) -> bytes:
        """The picture with its graph and history in it, so that it can be dragged into ComfyUI."""
        engine = self._engine.facts
        told = Provenance(
            sequence=pending.number,
            theme=pending.prompt.theme,
            prompt=pending.prompt.positive,
            negative=pending.prompt.negative,
            seed=pending.seed,
            parents=() if pending.parent is None else (pending.parent,),
            denoise=pending.denoise,
            score=None,
            model=engine.checkpoint if engine else "",
            engine=f"{engine.kind} {engine.version}" if engine else "",
            time=self._wall(),
        )
        try:
            return stamped(picture, pending.workflow.graph, told)
        except ValueError as error:
            log.debug("a keyframe goes without its history: %s", error)
            return picture

    def _from_picture(self, previous: Keyframe, prompt: Prompt, seed: int) -> ImageToImage:
        size = None if previous.size in (None, self.size) else self.size
        file = self._engine.upload_picture(previous.picture)
        return ImageToImage(file, prompt.positive, prompt.negative, seed, self.denoise, size=size)

    def _step(self, previous: Keyframe, latent: FileRef, prompt: Prompt, seed: int) -> DreamStep:
        size = None if previous.size in (None, self.size) else self.size
        return DreamStep(latent, prompt.positive, prompt.negative, seed, self.denoise, size=size)

    def _submit(
        self,
        request: Request,
        prompt: Prompt,
        seed: int,
        parent: Keyframe | None,
        folded: str | None = None,
    ) -> KeyframeJob:
        job, workflow = self._engine.submit(request)
        self._submitted += 1
        return KeyframeJob(
            number=self._submitted,
            prompt=prompt,
            seed=seed,
            denoise=1.0 if parent is None else self.denoise,
            parent=None if parent is None else parent.number,
            job=job,
            workflow=workflow,
            size=self.size,
            folded=folded,
        )
