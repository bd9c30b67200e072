"""F01 to F04: the WebSocket stalls, dies half-way, loses its registration, or loses the end."""

from __future__ import annotations

import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.chaos_proxy import ChaosProxy
from tests.fakes.fake_comfy import FakeComfy
from tests.faults.stage import GUARD_S, Stage, dreams, stage

log = logging.getLogger(__name__)


def test_f01_a_socket_whose_events_stop_costs_no_throughput(on_ab: Stage) -> None:
    fake = on_ab.fake
    before, sockets = on_ab.status(), len(fake.sockets)
    fake.mute()
    stale = on_ab.wait_for(lambda now: now["engine"]["socket"] == "stale")
    deaf = on_ab.more(6)
    seconds = deaf["uptime_s"] - stale["uptime_s"]
    log.info("F01: 6 keyframes of 0.5 s in %.1f s, pace %.2f", seconds, deaf["display"]["pace"])
    if before["display"]["pace"] >= 0.9:  # else the machine had more to do than it could anyway
        assert deaf["display"]["pace"] >= 0.8
    assert deaf["display"]["skipped"] == before["display"]["skipped"]
    assert deaf["dream"]["failed_jobs"] == before["dream"]["failed_jobs"]
    last = fake.posted("/prompt")[-1].json()["prompt"]
    assert "PreviewImage" in {node["class_type"] for node in last.values()}, "pictures come by /view now"
    assert len(fake.sockets) - sockets <= 1, "opened anew once, then at most once a minute"
    fake.unmute()
    on_ab.recovers()
    on_ab.wait_for(lambda now: now["engine"]["socket"] == "open")


def test_f02_a_network_that_swallows_everything_is_noticed_and_lived_through(
    tmp_path: Path, fake: FakeComfy
) -> None:
    with ChaosProxy(fake.port) as proxy, stage(tmp_path, fake, url=proxy.url) as made:
        made.wait_for(dreams)
        proxy.blackhole()
        began = time.monotonic()
        made.wait_for(lambda now: now["engine"]["socket"] == "closed" and not now["engine"]["reachable"])
        log.info("F02: noticed after %.2f s (pings every 0.5 s, dead after 1.5 s)", time.monotonic() - began)
        made.wait_for(lambda now: now["state"] == "remembering" and now["frame"]["kind"] == "replay")
        made.wait_for(lambda now: now["reason"]["code"] == "engine_unreachable")
        until = time.monotonic() + 2.0
        made.wait_for(lambda _: time.monotonic() > until)
        proxy.heal()
        made.recovers()
        made.wait_for(lambda now: now["engine"]["socket"] == "open")
        knocks = [at_s for at_s, request in proxy.asked if request.startswith("GET /ws")]
        assert_unhurried(knocks)


def assert_unhurried(knocks: list[float]) -> None:
    """Never more than one attempt in half a second; a hair less is the accept's own delay."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(knocks)]
    assert all(gap > 0.45 for gap in gaps), gaps


@contextmanager
def server_process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The embedded engine's server with the quick painter, as a process that can be stopped."""
    program = [sys.executable, "-m", "tests.fakes.engine_program", str(folder)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        finally:
            process.kill()


@pytest.mark.parametrize("still_s", [3.0, pytest.param(60.0, marks=pytest.mark.faults)])
def test_f02_a_server_that_stands_still_is_waited_for(tmp_path: Path, still_s: float) -> None:
    with server_process(tmp_path / "comfy") as (process, url), stage(tmp_path, None, url=url) as made:
        made.wait_for(dreams)
        os.kill(process.pid, signal.SIGSTOP)
        try:
            until = time.monotonic() + still_s
            made.wait_for(lambda now: not now["engine"]["reachable"])
            made.wait_for(lambda _: time.monotonic() > until, still_s + GUARD_S)
        finally:
            os.kill(process.pid, signal.SIGCONT)
        made.recovers(2)


def test_f03_a_socket_that_comes_back_has_a_new_id_and_the_job_in_flight_ends(on_ab: Stage) -> None:
    fake = on_ab.fake
    before, known = on_ab.status(), len(fake.sockets)
    fake.painter.step_s = 0.1
    on_ab.wait_for(lambda _: bool(fake.server.core.queue.snapshot()[0]))
    fake.drop_sockets()
    on_ab.recovers(2)
    fake.painter.step_s = 0.0
    after = on_ab.wait_for(lambda now: now["engine"]["socket"] == "open")
    ids = [socket.client_id for socket in fake.sockets]
    assert len(ids) == len(set(ids)) > known, "no id is ever used twice"
    assert after["dream"]["failed_jobs"] == before["dream"]["failed_jobs"]
    assert after["display"]["skipped"] == before["display"]["skipped"]


def test_f04_ends_that_nobody_tells_are_found(on_ab: Stage) -> None:
    fake = on_ab.fake
    before, posts = on_ab.status(), len(on_ab.keyframe_posts())
    fake.drop_end_messages()
    after = on_ab.recovers(4)
    assert after["dream"]["failed_jobs"] == before["dream"]["failed_jobs"]
    assert after["display"]["skipped"] == before["display"]["skipped"]
    came = after["dream"]["keyframes"] - before["dream"]["keyframes"]
    assert len(on_ab.keyframe_posts()) - posts <= came + 3, "the pictures came over the socket: none twice"
    fake.heal()
    on_ab.recovers()
