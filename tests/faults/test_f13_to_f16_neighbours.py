"""F13 to F16: other people's jobs, a server that is away, things it lacks, answers without sense."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.core.trouble import Trouble
from backend.errors import EngineUnreachable
from tests.fakes.fake_comfy import FakeComfy
from tests.faults.stage import Stage, dreams, long_forms, stage
from tests.faults.watch import resident_mb

log = logging.getLogger(__name__)


def test_f13_other_peoples_jobs_are_waited_for_and_never_touched(on_ab: Stage) -> None:
    fake = on_ab.fake
    before = on_ab.status()
    fake.painter.step_s = 0.05
    theirs = [fake.foreign_job(steps=20, seed=seed) for seed in range(2)]
    nobodys = fake.foreign_job(steps=10, seed=3, client_id=None)
    ended = fake.server.core.queue.history
    on_ab.wait_for(lambda _: all(one in ended() for one in (*theirs, nobodys)))
    fake.painter.step_s = 0.0
    after = on_ab.recovers(2)
    assert all(ended()[one]["status"]["status_str"] == "success" for one in (*theirs, nobodys))
    assert after["dream"]["failed_jobs"] == before["dream"]["failed_jobs"]
    assert not fake.posted("/interrupt")


def test_f13_a_job_of_ours_that_somebody_interrupts_is_tried_once_more(on_ab: Stage) -> None:
    fake = on_ab.fake
    before, posts = on_ab.status(), len(fake.posted("/prompt"))
    fake.painter.step_s = 0.2
    queue = fake.server.core.queue
    on_ab.wait_for(lambda _: queue.running() is not None)
    running = queue.running()
    assert running is not None
    queue.interrupt(None)  # as anybody's "Cancel" button does
    fake.painter.step_s = 0.0
    after = on_ab.recovers(2)
    assert after["dream"]["failed_jobs"] == before["dream"]["failed_jobs"]
    graphs = [request.json()["prompt"] for request in fake.posted("/prompt")[posts:]]
    assert sum(graph == running.graph for graph in graphs) <= 2, "once more"


def test_f14_without_a_server_at_the_start_the_kept_frames_play_until_it_comes(tmp_path: Path) -> None:
    with FakeComfy(tmp_path / "comfy", up=False) as fake:
        began = time.monotonic()
        with stage(tmp_path, fake) as made:
            first = made.wait_for(lambda now: now["reason"]["code"] == "engine_unreachable")
            log.info("F14: degraded but ready after %.2f s", time.monotonic() - began)
            assert "is ComfyUI running there?" in first["reason"]["sentence"]
            assert (made.output / "current_frame.png").exists(), "there is a picture to show"
            fake.restart()
            made.recovers(3)
            made.wait_for(lambda now: now["display"]["frames_shown"] >= 40)  # something to remember
        fake.kill()
        began = time.monotonic()
        with stage(tmp_path, fake) as made:
            made.wait_for(lambda now: now["state"] == "remembering" and now["frame"]["kind"] == "replay")
            log.info("F14: the memory plays %.2f s after the start", time.monotonic() - began)
            early = made.status()
            shown: set[str] = set()
            made.wait_for(lambda now: len(_add(shown, now)) >= 5)
            assert made.status()["frame"]["sequence"] > early["frame"]["sequence"]
            fake.restart()
            made.recovers()


def _add(shown: set[str], now: dict[str, Any]) -> set[str]:
    shown.add(now["frame"]["sha256"])
    return shown


def test_f14_an_outage_of_half_an_hour_fills_no_log_and_is_over_within_30_s_of_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "backend")
    trouble, now, tries = Trouble(random.Random(14)), 0.0, 0
    gaps: list[float] = []
    tried_at = 0.0
    while now < 1800.0:
        if not trouble.waiting(now):
            gaps.append(now - tried_at)
            tried_at, tries = now, tries + 1
            trouble.happened(EngineUnreachable("http://127.0.0.1:8188", "nobody listens there"), now)
        now += 0.1
    log.info("F14: %d tries, at most %.1f s apart, %d lines", tries, max(gaps), len(caplog.records))
    assert max(gaps) <= 30.2, "it is found within 30 s"
    lines = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert len([line for line in lines if line.name.startswith("backend")]) <= 31, "one line a minute"


def test_f14_a_server_that_goes_away_for_a_while_is_found_again(on: Stage) -> None:
    fake = on.fake
    fake.kill()
    on.wait_for(lambda now: now["state"] == "remembering" and now["frame"]["kind"] == "replay")
    assert on.status()["reason"]["code"] == "engine_unreachable"
    fake.restart()
    on.recovers(2)


def test_f15_a_node_that_is_missing_is_named_and_the_dream_begins_when_it_comes(
    tmp_path: Path, fake_ab: FakeComfy
) -> None:
    fake_ab.lose_node("SaveLatent")
    with stage(tmp_path, fake_ab) as made:
        told = made.wait_for(lambda now: "SaveLatent" in now["reason"]["sentence"])
        assert told["reason"]["code"] == "graph_rejected"
        posts, began = len(fake_ab.posted("/prompt")), time.monotonic()
        made.wait_for(lambda _: time.monotonic() - began > 2.0)
        log.info("F15: %d POSTs in two seconds", len(fake_ab.posted("/prompt")) - posts)
        assert len(fake_ab.posted("/prompt")) - posts <= 5, "no storm"
        fake_ab.give_node("SaveLatent")
        made.recovers(2)


def test_f15_a_model_that_is_missing_is_named_with_the_nearest_and_taken_when_it_comes(
    tmp_path: Path, fake_ab: FakeComfy
) -> None:
    fake_ab.set_checkpoints(["dreamshaper_8.safetensors", "other.safetensors"])
    with stage(tmp_path, fake_ab, comfyui={"checkpoint": "dreamshaper_9.safetensors"}) as made:
        told = made.wait_for(lambda now: now["reason"]["code"] == "model_missing")
        assert "dreamshaper_9.safetensors" in told["reason"]["sentence"]
        assert "dreamshaper_8.safetensors" in told["reason"]["sentence"], "the nearest there is"
        assert "models folder" in told["reason"]["sentence"], "what to do"
        assert not fake_ab.posted("/prompt")
        fake_ab.set_checkpoints(["dreamshaper_8.safetensors", "dreamshaper_9.safetensors"])
        made.recovers(2)


def test_f15_a_model_that_goes_away_while_it_dreams_is_told_and_waited_for(
    tmp_path: Path, fake_ab: FakeComfy
) -> None:
    fake_ab.set_checkpoints(["dreamshaper_8.safetensors", "other.safetensors"])
    with stage(tmp_path, fake_ab, comfyui={"checkpoint": "dreamshaper_8.safetensors"}) as made:
        made.wait_for(dreams)
        fake_ab.set_checkpoints(["dreamshaper_9.safetensors", "other.safetensors"])
        told = made.wait_for(lambda now: now["reason"]["code"] == "model_missing")
        assert "did you mean 'dreamshaper_9.safetensors'" in told["reason"]["sentence"]
        fake_ab.set_checkpoints(["dreamshaper_8.safetensors"])
        made.recovers(2)


class Megabytes:
    """A body of so many megabytes of JSON that never ends well, made while it is sent."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"x": "'
        for _ in range(self._count):
            yield bytes(2**20).replace(b"\0", b"x")


BAD_BODIES: tuple[Any, ...] = (
    '{"half": ',
    "NaN",
    "[" * 50_000,
    '{"queue_running": 7, "queue_pending": {"a": NaN}}',
    '{"devices": "none", "system": []}',
    b"\xff\xfe",
)


@pytest.mark.parametrize("path", ["/history/*", *long_forms("/queue", "/upload/image")])
def test_f16_answers_about_jobs_that_make_no_sense_are_lived_through(on: Stage, path: str) -> None:
    fake = on.fake
    fake.mute()
    on.wait_for(lambda now: now["engine"]["socket"] == "stale")
    fake.painter.step_s = 0.3 if path == "/queue" else 0.0  # it is only asked about jobs that take their time
    faults = [fake.fault("*", path, body=body, times=1) for body in BAD_BODIES]
    on.wait_for(lambda _: all(fault.hits for fault in faults))
    fake.painter.step_s = 0.0
    on.recovers(2)


@pytest.mark.parametrize("path", ["/system_stats", *long_forms("/models/*")])
def test_f16_a_server_that_comes_back_talking_nonsense_is_asked_again(on: Stage, path: str) -> None:
    fake = on.fake
    fake.kill()
    on.wait_for(lambda now: now["reason"]["code"] == "engine_unreachable")
    faults = [fake.fault("GET", path, body=body, times=1) for body in ("NaN", '{"devices": 7')]
    fake.restart()
    on.wait_for(lambda _: all(fault.hits for fault in faults))
    on.recovers(2)


def test_f16_a_history_of_100_mb_costs_no_memory(on: Stage) -> None:
    fake = on.fake
    fake.mute()
    on.wait_for(lambda now: now["engine"]["socket"] == "stale")
    on.more(1)
    before_mb = most_mb = resident_mb()
    fault = fake.fault("GET", "/history/*", body=Megabytes(100), times=3)

    def look(_: dict[str, Any]) -> bool:
        nonlocal most_mb
        most_mb = max(most_mb, resident_mb())
        return fault.hits == 3

    on.wait_for(look)
    fake.heal()
    on.recovers()
    log.info("F16: three histories of 100 MB: from %.0f MB to %.0f MB at most", before_mb, most_mb)
    assert most_mb - before_mb < 64


def test_f16_an_answer_that_never_comes_costs_its_deadline_and_no_more(on: Stage) -> None:
    fake = on.fake
    fake.mute()
    on.wait_for(lambda now: now["engine"]["socket"] == "stale")
    fault = fake.fault("GET", "/history/*", stall=True, times=2)
    on.wait_for(lambda _: fault.hits == 2)
    on.recovers(2)
