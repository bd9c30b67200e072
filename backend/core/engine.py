"""The engine that this dream runs on: which one, what it offers, and jobs for it."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass, replace
from enum import StrEnum

from PIL import Image

from backend.core.comfyui_answers import SystemStats
from backend.core.comfyui_api import ComfyUIClient
from backend.core.engine_jobs import DecodeJob, finished, latent_file
from backend.core.engine_plan import Plan, Planner
from backend.core.graph_validation import graph_problems
from backend.core.housekeeping import Housekeeping
from backend.core.jobs import FileRef, Graph, Job
from backend.core.latent_nodes import WalkFrames
from backend.core.model_family import ModelFamily
from backend.core.node_catalog import NodeCatalog
from backend.core.node_pack import NO_PACK, NodePack
from backend.core.streamed_walks import StreamedWalks
from backend.core.supervisor import Supervised
from backend.core.workflow_builder import DecodeLatents, EncodePicture, Request, Workflow
from backend.errors import (
    EngineAnswerError,
    EngineError,
    EngineUnreachable,
    GraphUnfit,
    JobFailed,
)
from backend.interpolation.walk_course import Course
from backend.utils.prompt_manager import Prompt

log = logging.getLogger(__name__)

_PROBLEMS_TOLD = 5
_SOME_FILE = FileRef("some.latent", type="temp")


class EngineKind(StrEnum):
    """Whose pictures these are."""

    EMBEDDED = "embedded"
    COMFYUI = "comfyui"


@dataclass(frozen=True)
class EngineFacts:
    """What is known of an engine once it has answered.

    Attributes:
        checkpoint: The model or workflow that paints, as people call it.
        vram_total: Bytes of the device's memory.
        vram_free: Bytes of it that were free then.
        nodes: How many node classes it has.
        feeds_pictures: Keyframes go on from pictures instead of latents.
        pack: What it has of our own nodes.
    """

    kind: EngineKind
    url: str
    version: str
    device: str
    checkpoint: str
    family: ModelFamily
    vram_total: int = 0
    vram_free: int = 0
    nodes: int = 0
    feeds_pictures: bool = False
    pack: NodePack = NO_PACK


class OwnProcess:
    """An engine's process that is ours; this one stands for a process that is not.

    Attributes:
        supervised: Who keeps it running, and counts how often it fails.
    """

    supervised: Supervised | None = None

    def ensure_running(self) -> str | None:
        """Starts it, or starts it again where it has ended or hangs; its URL, None where it is not ours.

        Raises:
            EngineUnreachable: It is not there yet.
        """
        return None

    @property
    def pid(self) -> int | None:
        """Its process id; None where it is not ours, or does not run."""
        return None

    def restart(self) -> bool:
        """Ends it, to be started again by ensure_running(); False where it is not ours."""
        return False


@dataclass(frozen=True)
class DreamNeeds:
    """What the dream will ask an engine for, so that it can be looked at before the first job.

    Attributes:
        size: Width and height in pixels; None for the model's own.
        walks: Whether latents between keyframes are decoded.
        continues: Whether keyframes go on from one another.
    """

    size: tuple[int, int] | None = None
    walks: bool = True
    continues: bool = True


class Engine:
    """A ComfyUI, or the embedded engine, ready to take typed requests.

    Args:
        client: Talks to it.
        kind: Which of the two it is.
        planner: Makes graphs for what it has.
        house: Keeps its folders.
        needs: What is going to be asked.
        job_timeout_s: After this a job counts as failed.
        process: Its process, where that is ours.
    """

    def __init__(
        self,
        client: ComfyUIClient,
        kind: EngineKind,
        planner: Planner,
        house: Housekeeping,
        *,
        needs: DreamNeeds,
        job_timeout_s: float,
        process: OwnProcess | None = None,
    ) -> None:
        self.kind = kind
        self.facts: EngineFacts | None = None
        self.client = client
        self.house = house
        self.job_timeout_s = job_timeout_s
        self._planner = planner
        self._needs = needs
        self._process = process or OwnProcess()
        self._plan: Plan | None = None
        self._catalog = NodeCatalog({})
        self._words = ("", "")
        self._walks = StreamedWalks(self._submit_walk, self.upload_latent)
        self._is_tidy = False

    @property
    def parts(self) -> tuple[Supervised, ...]:
        """What may fail and is to be supervised: the client's threads, and the process where that is ours."""
        process = self._process.supervised
        return self.client.parts if process is None else (*self.client.parts, process)

    @property
    def catalog(self) -> NodeCatalog:
        """The nodes that the server had when it was last connected to."""
        return self._catalog

    @property
    def own_pid(self) -> int | None:
        """The engine's process where that is ours and runs."""
        return self._process.pid

    @property
    def reachable(self) -> bool:
        """False once the server has been heard to be gone."""
        return self.client.connection.reachable

    def connect(self) -> EngineFacts:
        """Make sure that the engine is there and has everything that the dream will need.

        Raises:
            EngineUnreachable: If nobody answers.
            EngineAnswerError: If whoever answers is not a ComfyUI.
            ModelMissing: If the model, or a part of it, is not there.
            GraphUnfit: If it lacks a node or a file, or cannot do what the settings ask for.
        """
        stats = self.reach()
        self._tidy_up()
        self._catalog = self._nodes()
        plan = self._planned(self._planner, self._needs)
        self._plan = plan
        self.facts = EngineFacts(
            self.kind,
            self.client.url,
            stats.version,
            stats.device,
            plan.label,
            plan.family,
            stats.vram_total,
            stats.vram_free,
            len(self._catalog.names),
            plan.feeds_pictures,
            plan.pack,
        )
        self._walks.found(plan.pack, installable=self.kind is EngineKind.COMFYUI)
        return self.facts

    def _tidy_up(self) -> None:
        """Once: jobs of a run that was killed would only stand before the next keyframe."""
        if self._is_tidy:
            return
        count = self.client.take_back_leftovers()
        self._is_tidy = True
        if count:
            log.info("took back %d jobs that an earlier run had left at %s", count, self.client.url)

    def adopt(self, planner: Planner, needs: DreamNeeds) -> None:
        """Go by another plan from the next job on; one that is found wrong only when connecting is told then.

        Raises:
            EngineUnreachable: Nobody answers; it is planned so as soon as somebody does.
            EngineError: The server cannot do it; all stays as it was.
        """
        if self._plan is not None and self.facts is not None:
            try:
                plan = self._planned(planner, needs)
            except EngineUnreachable:
                self._planner, self._needs = planner, needs
                raise
            self._plan = plan
            self.facts = replace(
                self.facts,
                checkpoint=plan.label,
                family=plan.family,
                feeds_pictures=plan.feeds_pictures,
                pack=plan.pack,
            )
            self._walks.found(plan.pack, installable=self.kind is EngineKind.COMFYUI)
        self._planner, self._needs = planner, needs

    def _planned(self, planner: Planner, needs: DreamNeeds) -> Plan:
        """A plan for what the server has, looked at."""
        plan = planner.plan(self.client, self.house, self._catalog)
        size = needs.size or (plan.family.width, plan.family.height)
        for sample in plan.samples(size, walks=needs.walks, continues=needs.continues):
            self._check(sample.graph)
        return plan

    def reach(self) -> SystemStats:
        """Make sure that the engine is there, whatever it can do.

        Raises:
            EngineUnreachable: If nobody answers.
            EngineAnswerError: If whoever answers is not a ComfyUI.
        """
        url = self._process.ensure_running()
        if url is not None:
            self.client.move_to(url)
        return self.client.system_stats()

    def submit(self, request: Request) -> tuple[Job, Workflow]:
        """Queue a request whose result is one picture.

        Raises:
            EngineUnreachable: If the server does not answer.
            GraphRejected: If it refuses the graph, or would.
        """
        workflow = self._workflow(request)
        pictures = 0 if workflow.picture_node is None else 1
        return self.client.submit(workflow.graph, deadline_s=self.job_timeout_s, pictures=pictures), workflow

    def submit_decode(self, latents: bytes, count: int, prompt: Prompt, *, tiny: bool = False) -> DecodeJob:
        """Upload ``count`` latents as one file and queue their decoding, perhaps by the tiny VAE."""
        if tiny:  # which the server may not have: nothing is to be uploaded in vain
            self._workflow(DecodeLatents(_SOME_FILE, prompt.positive, prompt.negative, tiny))
        file = self.upload_latent(latents)
        workflow = self._workflow(DecodeLatents(file, prompt.positive, prompt.negative, tiny))
        return DecodeJob(
            self.client.submit(workflow.graph, deadline_s=self.job_timeout_s, pictures=count), count
        )

    def submit_walk(self, course: Course, places: tuple[float, ...], prompt: Prompt) -> DecodeJob | None:
        """Have the server walk, decode and stream; see StreamedWalks.send()."""
        return self._walks.send(course, places, prompt)

    def encode_picture(self, picture: bytes, timeout_s: float) -> bytes:
        """Encode a picture with the model's VAE and return the latent file.

        Nothing of it stays on the server, and what keyframes need stays warm there.

        Raises:
            EngineError: If it is not done within ``timeout_s``, or not at all.
        """
        job, workflow = self.submit(EncodePicture(self.upload_picture(picture), *self._words))
        try:
            end = job.result(timeout_s)
        except TimeoutError:
            self.client.cancel(job)
            raise JobFailed("deadline", f"a picture was not encoded within {timeout_s:.0f} s") from None
        latent = latent_file(finished(end), workflow)
        try:
            return self.client.download(latent)  # no keyframe, by which the house would tell this run's files
        finally:
            self.retire_latent(latent)

    def upload_picture(self, picture: bytes) -> FileRef:
        """Give the server a picture of ours."""
        return self.client.upload(_as_png(picture), self.house.ring_name("png"))

    def upload_latent(self, data: bytes) -> FileRef:
        """Give the server a latent file of ours."""
        return self.client.upload(data, self.house.ring_name("latent"))

    def fetch_latent(self, latent: FileRef) -> bytes:
        """The bytes of a latent file on the server."""
        data = self.client.download(latent)
        self.house.fetched(latent, data)
        return data

    def retire_latent(self, latent: FileRef) -> None:
        """Free the space of a latent that is not needed any more."""
        self.house.retire(latent)

    def free_memory(self) -> None:
        """Ask the server to let go of models and results that it holds; a refusal is no new trouble.

        Not while others have jobs there: their models would go, too.
        """
        try:
            if self.client.others_have_jobs():
                log.info("no memory is freed: others have jobs on %s", self.client.url)
                return
            self.client.free(unload_models=True, free_memory=True)
        except EngineError as error:
            log.debug("no memory was freed: %s", error)

    def restart(self) -> bool:
        """Begin anew with another process; False if the process is not ours, and nothing was done."""
        return self._process.restart()

    def _submit_walk(self, walk: WalkFrames, pictures: int) -> Job:
        graph = self._workflow(walk).graph
        return self.client.submit(graph, deadline_s=self.job_timeout_s, pictures=pictures)

    def _nodes(self) -> NodeCatalog:
        try:
            return NodeCatalog.parse(self.client.object_info())
        except ValueError as error:
            raise EngineAnswerError(self.client.url, str(error)) from error

    def _workflow(self, request: Request) -> Workflow:
        if self._plan is None:
            raise EngineAnswerError(self.client.url, "asked for a picture before connect()")
        try:
            workflow = self._plan.builder.build(request)
        except ValueError as error:
            raise GraphUnfit((str(error),)) from error
        self._check(workflow.graph)
        self._words = (request.prompt, request.negative)
        return workflow

    def _check(self, graph: Graph) -> None:
        problems = graph_problems(graph, self._catalog)
        if problems:
            raise GraphUnfit(tuple(str(problem) for problem in problems[:_PROBLEMS_TOLD]))


def _as_png(picture: bytes) -> bytes:
    with Image.open(io.BytesIO(picture)) as opened:
        if opened.format == "PNG":
            return picture
        file = io.BytesIO()
        opened.convert("RGB").save(file, "PNG", compress_level=1)
        return file.getvalue()
