"""The engine that this dream runs on: which one, what it offers, and jobs for it."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from PIL import Image

from backend.core.comfyui_api import ComfyUIClient
from backend.core.jobs import FileRef, Finished, Interrupted, Job, JobEnd
from backend.core.model_choice import ModelWish, choose_models
from backend.core.model_family import ModelFamily
from backend.core.sampling import Sampling
from backend.core.workflow_builder import (
    DecodeLatents,
    EncodePicture,
    Request,
    Workflow,
    WorkflowBuilder,
)
from backend.errors import EngineAnswerError, EngineError, JobFailed
from backend.utils.prompt_manager import Prompt

log = logging.getLogger(__name__)

# Uploaded batches take turns under this many names; more than are ever queued at once, since a file
# that is overwritten while its job waits would be read with the new content.
_RING = 16


class EngineKind(StrEnum):
    """Whose pictures these are."""

    EMBEDDED = "embedded"
    COMFYUI = "comfyui"


@dataclass(frozen=True)
class EngineFacts:
    """What is known of an engine once it has answered."""

    kind: EngineKind
    url: str
    version: str
    device: str
    checkpoint: str
    family: ModelFamily


@dataclass(frozen=True)
class SamplingChoice:
    """What the settings ask for; None leaves it to the model family."""

    checkpoint: str | None
    steps: int | None
    cfg: float | None
    sampler: str | None
    scheduler: str | None

    def resolve(self, family: ModelFamily) -> Sampling:
        """Fill the gaps with what the family likes."""
        return family.sampling(self.steps, self.cfg, self.sampler, self.scheduler)


class Engine:
    """A ComfyUI, or the embedded engine, ready to take typed requests.

    Args:
        client: Talks to it.
        kind: Which of the two it is.
        choice: The model and sampling that the settings ask for.
        job_timeout_s: After this a job counts as failed.
        instance: A few letters that tell our files from those of another Dreamloop on the same server.
        hour: Names the sub-folder for latents; it changes with time, since each save lists its folder.
        start: Starts the engine, or restarts it, where its process is ours; gives its URL.
        own_output: Its output folder, where that is ours.
    """

    def __init__(
        self,
        client: ComfyUIClient,
        kind: EngineKind,
        choice: SamplingChoice,
        *,
        job_timeout_s: float,
        instance: str,
        hour: Callable[[], str],
        start: Callable[[], str] | None = None,
        own_output: Path | None = None,
    ) -> None:
        self.kind = kind
        self.facts: EngineFacts | None = None
        self.client = client
        self.job_timeout_s = job_timeout_s
        self._choice = choice
        self._instance = instance
        self._hour = hour
        self._start = start
        self._own_output = own_output
        self._builder: WorkflowBuilder | None = None
        self._turn = 0

    @property
    def reachable(self) -> bool:
        """False once the server has been heard to be gone."""
        return self.client.connection.reachable

    def connect(self) -> EngineFacts:
        """Make sure that the engine is there and has the model.

        Raises:
            EngineUnreachable: If nobody answers.
            EngineAnswerError: If whoever answers is not a ComfyUI.
            ModelMissing: If the model, or a part of it, is not there.
        """
        if self._start is not None:
            self.client.move_to(self._start())
        stats = self.client.system_stats()
        models = choose_models(ModelWish(checkpoint=self._choice.checkpoint), self.client)
        sampling = self._choice.resolve(models.family)
        self._builder = WorkflowBuilder(models, sampling, self._latent_prefix)
        self.facts = EngineFacts(
            self.kind, self.client.url, stats.version, stats.device, models.label, models.family
        )
        return self.facts

    def submit(self, request: Request) -> tuple[Job, Workflow]:
        """Queue a request whose result is one picture.

        Raises:
            EngineUnreachable: If the server does not answer.
            GraphRejected: If it refuses the graph.
        """
        workflow = self._workflow(request)
        pictures = 0 if workflow.picture_node is None else 1
        return self.client.submit(workflow.graph, deadline_s=self.job_timeout_s, pictures=pictures), workflow

    def submit_decode(self, latents: bytes, count: int, prompt: Prompt) -> DecodeJob:
        """Upload ``count`` latents as one file and queue their decoding."""
        file = self.upload_latent(latents)
        workflow = self._workflow(DecodeLatents(file, prompt.positive, prompt.negative))
        return DecodeJob(
            self.client.submit(workflow.graph, deadline_s=self.job_timeout_s, pictures=count), count
        )

    def encode_picture(self, picture: bytes, timeout_s: float) -> bytes:
        """Encode a picture with the checkpoint's VAE and return the latent file."""
        file = self.client.upload(_as_png(picture), self._ring_name("png"))
        job, workflow = self.submit(EncodePicture(file))
        end = finished(job.result(timeout_s))
        return self.fetch_latent(latent_file(end, workflow))

    def upload_latent(self, data: bytes) -> FileRef:
        """Give the server a latent file of ours."""
        return self.client.upload(data, self._ring_name("latent"))

    def fetch_latent(self, latent: FileRef) -> bytes:
        """The bytes of a latent file on the server."""
        return self.client.download(latent)

    def retire_latent(self, latent: FileRef) -> None:
        """Free the space of a latent that is not needed any more.

        ComfyUI has no way to delete from its output folder; an empty upload replaces the content.
        Where the folder is ours, the file is deleted. Failing to do either costs only space.
        """
        if latent.type != "output":
            return
        try:
            if self._own_output is not None:
                path = (self._own_output / latent.subfolder / latent.filename).resolve()
                if path.is_relative_to(self._own_output.resolve()):
                    path.unlink(missing_ok=True)
            else:
                self.client.upload(b"", latent.filename, subfolder=latent.subfolder, type="output")
        except (EngineError, OSError) as error:
            log.debug("a spent latent stays on the server: %s: %s", latent.annotated, error)

    def free_memory(self) -> None:
        """Ask the server to let go of models and results that it holds; a refusal is no new trouble."""
        try:
            self.client.free(unload_models=True, free_memory=True)
        except EngineError as error:
            log.debug("no memory was freed: %s", error)

    def _workflow(self, request: Request) -> Workflow:
        if self._builder is None:
            raise EngineAnswerError(self.client.url, "asked for a picture before connect()")
        return self._builder.build(request)

    def _latent_prefix(self) -> str:
        return f"dreamloop/{self._instance}/{self._hour()}/keyframe"

    def _ring_name(self, suffix: str) -> str:
        self._turn = (self._turn + 1) % _RING
        return f"dreamloop_{self._instance}_{self._turn:02d}.{suffix}"


class DecodeJob:
    """Pictures of a decoded batch, as HybridGenerator asks for them."""

    def __init__(self, job: Job, count: int) -> None:
        self._job = job
        self._count = count

    def done(self) -> bool:
        """Whether it has ended, however."""
        return self._job.done()

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call back, from any thread, when it ends."""
        self._job.add_done_callback(lambda _: callback())

    def pictures(self) -> tuple[bytes, ...]:
        """The pictures in batch order.

        Raises:
            JobFailed: If the job failed, or brought another number of pictures.
        """
        pictures = finished(self._job.result(0.0)).pictures
        if len(pictures) != self._count:
            raise JobFailed("no_pictures", f"{len(pictures)} pictures came for {self._count} latents")
        return tuple(picture.data for picture in pictures)


def finished(end: JobEnd) -> Finished:
    """The good end, or JobFailed."""
    if isinstance(end, Finished):
        return end
    if isinstance(end, Interrupted):
        raise JobFailed("interrupted", "somebody stopped the job at the server")
    raise JobFailed(end.kind.value, end.message)


def latent_file(end: Finished, workflow: Workflow) -> FileRef:
    """Where SaveLatent has put the latent; raises JobFailed if it says nothing of it."""
    files = end.files.get(workflow.latent_node or "", ())
    if not files:
        raise JobFailed("no_latent", "the job ended well but saved no latent")
    return files[0]


def _as_png(picture: bytes) -> bytes:
    with Image.open(io.BytesIO(picture)) as opened:
        if opened.format == "PNG":
            return picture
        file = io.BytesIO()
        opened.convert("RGB").save(file, "PNG", compress_level=1)
        return file.getvalue()
