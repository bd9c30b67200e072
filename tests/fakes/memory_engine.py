"""An engine that lives in memory: jobs end when the test says so, pictures are real and small."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image

from backend.core.engine import EngineFacts, EngineKind
from backend.core.engine_jobs import DecodeJob
from backend.core.jobs import (
    Failed,
    FailureKind,
    FileRef,
    Finished,
    Interrupted,
    Job,
    JobEnd,
    Picture,
    parse_annotated,
)
from backend.core.latent_nodes import WalkFrames
from backend.core.model_families import EMBEDDED
from backend.core.workflow_builder import DecodeLatents, Request, TextToImage, Workflow
from backend.errors import EngineError
from backend.interpolation.latent_encoder import read_latents, write_latents
from backend.interpolation.walk_course import Course
from backend.utils.prompt_manager import Prompt


def picture(seed: int, size: tuple[int, int] = (64, 40)) -> bytes:
    """A small PNG with something to see in it, a different one for each seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (5, 8, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def black_picture(size: tuple[int, int] = (64, 40)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    return file.getvalue()


@dataclass
class SentJob:
    """One job as the engine received it."""

    request: Request
    job: Job
    count: int
    latents: bytes = b""


@dataclass
class MemoryEngine:
    """Implements DreamEngine, LatentEngine and Connectable; records all that it is asked."""

    facts: EngineFacts | None = None
    reachable: bool = True
    connects: int = 0
    refuse: EngineError | None = None
    sent: list[SentJob] = field(default_factory=list)
    retired: list[FileRef] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    freed: int = 0
    pictures: list[bytes] = field(default_factory=list)
    feeds_pictures: bool = False
    ours: bool = False
    walks: bool = False
    restarts: int = 0
    latent_size: tuple[int, int] = (5, 8)
    engine_s: float = 0.4

    def connect(self) -> EngineFacts:
        self.connects += 1
        if self.refuse is not None:
            raise self.refuse
        self.reachable = True
        self.facts = EngineFacts(EngineKind.EMBEDDED, "memory://", "1", "cpu", "dreamloop-painter", EMBEDDED)
        self.facts = replace(self.facts, feeds_pictures=self.feeds_pictures)
        return self.facts

    def submit(self, request: Request) -> tuple[Job, Workflow]:
        return self._take(request, 1), Workflow({}, "picture", None if self.feeds_pictures else "latent")

    def submit_decode(self, latents: bytes, count: int, prompt: Prompt, *, tiny: bool = False) -> DecodeJob:
        request = DecodeLatents(FileRef("batch"), prompt.positive, prompt.negative, tiny)
        return DecodeJob(self._take(request, count, latents), count)

    def submit_walk(self, course: Course, places: tuple[float, ...], prompt: Prompt) -> DecodeJob | None:
        if not self.walks:
            return None
        files = tuple(parse_annotated(name) for name in course.names)
        request = WalkFrames(files, course.text, places, prompt.positive, prompt.negative)
        return DecodeJob(self._take(request, len(places)), len(places))

    def encode_picture(self, picture: bytes, timeout_s: float) -> bytes:
        return self._latent(0)

    def fetch_latent(self, latent: FileRef) -> bytes:
        return self.files[latent.filename]

    def upload_latent(self, data: bytes) -> FileRef:
        name = f"uploaded{len(self.files)}"
        self.files[name] = data
        return FileRef(name, type="temp")

    def upload_picture(self, picture: bytes) -> FileRef:
        self.pictures.append(picture)
        return FileRef(f"picture{len(self.pictures)}.png", type="temp")

    def retire_latent(self, latent: FileRef) -> None:
        self.retired.append(latent)

    def free_memory(self) -> None:
        self.freed += 1

    def restart(self) -> bool:
        self.restarts += self.ours
        return self.ours

    @property
    def open_jobs(self) -> list[SentJob]:
        """What the engine still has to do, in order."""
        return [sent for sent in self.sent if not sent.job.done()]

    def finish_next(self, pictures: list[bytes] | None = None) -> SentJob:
        """The job at the head of the queue ends well."""
        return self.finish(self.open_jobs[0], pictures)

    def finish(self, sent: SentJob, pictures: list[bytes] | None = None) -> SentJob:
        """A job ends well, wherever in the queue it is."""
        number = self.sent.index(sent)
        made = pictures if pictures is not None else [picture(number * 1000 + i) for i in range(sent.count)]
        name = f"latent{number}"
        self.files[name] = self._latent(number)
        sent.job.end(
            Finished(
                sent.job.prompt_id,
                tuple(Picture(data, "png") for data in made),
                {"latent": (FileRef(name),)},
                executed=("latent",),
                engine_s=self.engine_s,
            )
        )
        return sent

    def arrive(self, sent: SentJob, *places: int) -> None:
        """Some pictures of a job come before it ends."""
        number = self.sent.index(sent)
        for place in places:
            sent.job.deliver(place, Picture(picture(number * 1000 + place), "png"))

    def fail_next(self, kind: FailureKind = FailureKind.EXECUTION) -> SentJob:
        return self._end_next(Failed(self.open_jobs[0].job.prompt_id, kind, "it broke"))

    def interrupt_next(self) -> SentJob:
        return self._end_next(Interrupted(self.open_jobs[0].job.prompt_id))

    def _end_next(self, end: JobEnd) -> SentJob:
        sent = self.open_jobs[0]
        sent.job.end(end)
        return sent

    def _take(self, request: Request, count: int, latents: bytes = b"") -> Job:
        if self.refuse is not None:
            raise self.refuse
        if latents:
            assert len(read_latents(latents)) == count
        job = Job(f"job-{len(self.sent)}")
        self.sent.append(SentJob(request, job, count, latents))
        return job

    def _latent(self, seed: int) -> bytes:
        return write_latents(
            torch.randn(1, 4, *self.latent_size, generator=torch.Generator().manual_seed(seed))
        )


def is_fresh(sent: SentJob) -> bool:
    """Whether a job dreams from words alone."""
    return isinstance(sent.request, TextToImage)


def is_walk(sent: SentJob) -> bool:
    """Whether a job decodes in-betweens."""
    return isinstance(sent.request, DecodeLatents | WalkFrames)
