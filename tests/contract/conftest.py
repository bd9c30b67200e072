"""What the contract tests share: one client a test, and graphs small enough for a server without a card."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from backend.core.comfyui_api import ComfyUIClient, FileRef, Finished, Job
from backend.core.family_detection import family_of
from backend.core.model_choice import Models
from backend.core.sampling import Sampling
from backend.core.workflow_builder import Request, TextToImage, Workflow, WorkflowBuilder

GUARD_S = 90.0
SIZE_PX = 64
LONG_STEPS = 10_000
"""As many as KSampler allows: what has to be stopped must not be quicker than the test."""


@dataclass
class Server:
    """A server under test, with what is needed to give it work that it has not done before."""

    url: str
    checkpoint: str
    rng: random.Random

    def seed(self) -> int:
        return self.rng.getrandbits(48)

    def name(self, suffix: str) -> str:
        return f"contract_{self.rng.getrandbits(48):012x}.{suffix}"

    def builder(self, steps: int = 1) -> WorkflowBuilder:
        sampling = Sampling(steps, 5.0, "euler", "normal")
        models = Models(family_of(self.checkpoint), checkpoint=self.checkpoint)
        return WorkflowBuilder(models, sampling, lambda: "contract/kf")

    def keyframe(self, steps: int = 1) -> Workflow:
        return self.builder(steps).build(TextToImage("a cat", "", self.seed(), SIZE_PX, SIZE_PX))

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=GUARD_S, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=GUARD_S, **options)


@dataclass
class Studio:
    """A client of the server under test, that waits for what it asks for."""

    client: ComfyUIClient
    server: Server

    def submit(self, request: Request | Workflow, *, pictures: int = 1) -> tuple[Job, Workflow]:
        workflow = request if isinstance(request, Workflow) else self.server.builder().build(request)
        job = self.client.submit(workflow.graph, deadline_s=GUARD_S, pictures=pictures)
        return job, workflow

    def finish(self, request: Request | Workflow, *, pictures: int = 1) -> Finished:
        job, _ = self.submit(request, pictures=pictures)
        return finished(job)

    def keyframe(self) -> tuple[Finished, FileRef]:
        """A new keyframe, and where its latent lies."""
        job, workflow = self.submit(self.server.keyframe())
        end = finished(job)
        assert workflow.latent_node is not None
        return end, end.files[workflow.latent_node][0]


def finished(job: Job) -> Finished:
    end = job.result(GUARD_S)
    assert isinstance(end, Finished), end
    return end


def server_at(url: str) -> Server:
    checkpoint = requests.get(f"{url}/models/checkpoints", timeout=GUARD_S).json()[0]
    return Server(url, checkpoint, random.Random())


@contextmanager
def studio_of(server: Server) -> Iterator[Studio]:
    client = ComfyUIClient(server.url)
    client.start()
    try:
        yield Studio(client, server)
    finally:
        client.close()


@pytest.fixture
def server(server_url: str) -> Server:
    return server_at(server_url)


@pytest.fixture
def studio(server: Server) -> Iterator[Studio]:
    with studio_of(server) as studio:
        yield studio


@pytest.fixture
def live_studio(request: pytest.FixtureRequest) -> Iterator[Studio]:
    """A client of the real server; for what our own servers have no nodes for."""
    url = request.config.getoption("--comfyui-url")
    if url is None:
        pytest.skip("needs a real ComfyUI: --comfyui-url http://127.0.0.1:8188")
    with studio_of(server_at(url)) as studio:
        yield studio
