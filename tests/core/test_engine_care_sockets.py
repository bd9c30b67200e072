"""The same over real sockets: a server that runs out of memory, breaks its device, or hangs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.core.comfyui_api import ComfyUIClient, FileRef, Job, Patience, SocketTimes
from backend.core.engine import EngineFacts, EngineKind
from backend.core.engine_jobs import DecodeJob
from backend.core.model_families import EMBEDDED
from backend.core.sampling import Sampling
from backend.core.workflow_builder import DecodeLatents, Request, Workflow, WorkflowBuilder
from backend.interpolation.walk_course import Course
from backend.utils.prompt_manager import Prompt
from backend.utils.status_schema import ReasonCode
from tests.core.test_comfyui_api import MODELS
from tests.core.test_controller import Clock, Dream, dream
from tests.fakes.fake_comfy import FakeComfy
from tests.fakes.faulty import illegal_access, out_of_memory

HASTY = Patience(
    poll_s=0.1,
    deaf_poll_s=0.02,
    success_s=0.05,
    miss_gap_s=0.1,
    grace_s=0.1,
    load_s=1.0,
    step_s=1.0,
    stop_s=0.3,
    retry_s=0.05,
)
GUARD_S = 100.0
FULL, SMALLER = (256, 128), (224, 112)


class SkippingClock(Clock):
    """The real one, of which a part may be skipped."""

    def __init__(self) -> None:
        self.skipped_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.skipped_s


class SocketEngine:
    """An engine behind a real client, without the rest of what an Engine does."""

    def __init__(self, fake: FakeComfy, ours: bool) -> None:
        self.client = ComfyUIClient(fake.url, patience=HASTY, times=SocketTimes(tick_s=0.02))
        self.facts: EngineFacts | None = None
        self.restarts = 0
        self._fake = fake
        self._ours = ours
        self._builder = WorkflowBuilder(MODELS, Sampling(2, 5.0, "euler", "normal"), lambda: "test/kf")

    @property
    def reachable(self) -> bool:
        return self.client.connection.reachable

    def connect(self) -> EngineFacts:
        self.client.system_stats()
        self.facts = EngineFacts(EngineKind.COMFYUI, self.client.url, "1", "cpu", "painter", EMBEDDED)
        return self.facts

    def submit(self, request: Request) -> tuple[Job, Workflow]:
        workflow = self._builder.build(request)
        return self.client.submit(workflow.graph, deadline_s=GUARD_S, pictures=1), workflow

    def submit_walk(self, course: Course, places: tuple[float, ...], prompt: Prompt) -> None:
        return None

    def submit_decode(self, latents: bytes, count: int, prompt: Prompt, *, tiny: bool = False) -> DecodeJob:
        graph = self._builder.build(
            DecodeLatents(self.upload_latent(latents), prompt.positive, prompt.negative)
        ).graph
        return DecodeJob(self.client.submit(graph, deadline_s=GUARD_S, pictures=count), count)

    def upload_latent(self, data: bytes) -> FileRef:
        return self.client.upload(data, f"{len(data)}_{time.monotonic_ns()}.latent")

    def fetch_latent(self, latent: FileRef) -> bytes:
        return self.client.download(latent)

    def retire_latent(self, latent: FileRef) -> None:
        pass

    def encode_picture(self, picture: bytes, timeout_s: float) -> bytes:
        raise NotImplementedError

    def free_memory(self) -> None:
        self.client.free(unload_models=True, free_memory=True)

    def restart(self) -> bool:
        self.restarts += self._ours
        if self._ours:
            self._fake.heal()
            self._fake.restart()
        return self._ours


@pytest.fixture
def start(tmp_path: Path, fake_comfy: FakeComfy) -> Iterator[Callable[[bool], Dream]]:
    """Begins to dream on a FakeComfy that is ours, or not."""
    engines: list[SocketEngine] = []

    def make(ours: bool) -> Dream:
        engine = SocketEngine(fake_comfy, ours)
        engine.client.start()
        engines.append(engine)
        looped = dream(tmp_path / "dream", buffer_s=6.0, size=FULL, engine=engine, clock=SkippingClock())
        until(looped, lambda: looped.gaps.in_betweens > 0)
        return looped

    (tmp_path / "dream").mkdir()
    yield make
    for engine in engines:
        engine.client.close()


def until(looped: Dream, holds: Callable[[], bool]) -> None:
    """Turns the loop and takes what is to be shown, until something holds; fails only if it hangs."""
    give_up_at = time.monotonic() + GUARD_S
    while not holds():
        assert time.monotonic() < give_up_at, looped.controller.reason
        if not looped.controller.turn() and looped.buffer.take(looped.clock()) is None:
            time.sleep(0.01)


def more(looped: Dream) -> None:
    """Another keyframe comes, and in-betweens."""
    keyframes, in_betweens = looped.controller.keyframes, looped.gaps.in_betweens
    until(
        looped, lambda: looped.controller.keyframes > keyframes + 1 and looped.gaps.in_betweens > in_betweens
    )


def keyframe_posts(fake: FakeComfy) -> list[dict[str, Any]]:
    graphs = [request.json()["prompt"] for request in fake.posted("/prompt")]
    return [graph for graph in graphs if any(node["class_type"] == "SaveLatent" for node in graph.values())]


def size(looped: Dream) -> tuple[int, int]:
    assert looped.controller.newest is not None
    return looped.controller.newest.facts.width, looped.controller.newest.facts.height


@pytest.mark.faults
def test_f10_a_server_out_of_memory_frees_some_and_goes_on_with_smaller_pictures(
    start: Callable[[bool], Dream], fake_comfy: FakeComfy
) -> None:
    looped = start(False)
    assert size(looped) == FULL
    fake_comfy.painter.errors.extend([out_of_memory(), out_of_memory()])
    until(looped, lambda: looped.controller.setbacks.failed_jobs == 2)
    assert len(fake_comfy.posted("/free")) == 2
    until(looped, lambda: size(looped) == SMALLER)
    more(looped)
    assert "224x112 px instead of 256x128" in looped.controller.reason.sentence
    assert looped.buffer.skipped == 0
    looped.clock.skipped_s += 601.0  # type: ignore[attr-defined]
    until(looped, lambda: size(looped) == FULL)
    more(looped)
    assert looped.controller.reason.code is ReasonCode.OK
    assert looped.gaps.failed_jobs == 0


@pytest.mark.faults
def test_f11_a_broken_device_of_others_gets_one_trial_a_minute_until_it_is_restarted(
    start: Callable[[bool], Dream], fake_comfy: FakeComfy
) -> None:
    looped = start(False)
    fake_comfy.painter.always = illegal_access()
    until(looped, lambda: looped.controller.setbacks.failed_jobs >= 2)
    until(looped, lambda: not looped.gaps.busy_at_engine)
    posts = len(keyframe_posts(fake_comfy))
    assert "must be restarted by its owner" in looped.controller.reason.sentence
    assert "illegal memory access" in looped.controller.reason.sentence
    assert looped.playback.engine_away
    for trial in (1, 2):
        looped.clock.skipped_s += 61.0  # type: ignore[attr-defined]
        until(looped, lambda trial=trial: looped.controller.setbacks.failed_jobs >= 2 + trial)  # type: ignore[misc]
        assert len(keyframe_posts(fake_comfy)) == posts + trial
    fake_comfy.kill()
    until(looped, lambda: not looped.engine.reachable)
    fake_comfy.heal()
    fake_comfy.restart()
    more(looped)
    assert looped.controller.reason.code is ReasonCode.OK
    assert not looped.playback.engine_away


def test_f11_a_broken_device_of_ours_is_restarted(
    start: Callable[[bool], Dream], fake_comfy: FakeComfy
) -> None:
    looped = start(True)
    fake_comfy.painter.always = illegal_access()
    more(looped)
    assert looped.engine.restarts == 1
    assert looped.controller.reason.code is ReasonCode.OK


@pytest.mark.faults
def test_f12_a_job_that_hangs_and_ignores_the_interrupt_has_our_engine_restarted(
    start: Callable[[bool], Dream], fake_comfy: FakeComfy
) -> None:
    looped = start(True)
    fake_comfy.painter.hold()
    more(looped)
    assert looped.engine.restarts == 1
    assert looped.controller.reason.code is ReasonCode.OK
    interrupts = [request.json() for request in fake_comfy.posted("/interrupt")]
    ours = {request.json()["prompt_id"] for request in fake_comfy.posted("/prompt")}
    assert interrupts
    assert all(interrupt["prompt_id"] in ours for interrupt in interrupts)


def test_f12_a_server_of_others_that_hangs_is_named_and_waited_for_until_it_goes_on(
    start: Callable[[bool], Dream], fake_comfy: FakeComfy
) -> None:
    looped = start(False)
    fake_comfy.painter.hold()
    until(looped, lambda: "it hangs: ComfyUI must be restarted" in looped.controller.reason.sentence)
    assert "KSampler" in looped.controller.reason.sentence
    assert looped.playback.engine_away
    fake_comfy.painter.release()
    looped.clock.skipped_s += 31.0  # type: ignore[attr-defined]
    more(looped)
    assert looped.controller.reason.code is ReasonCode.OK
