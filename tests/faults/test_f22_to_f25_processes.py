"""F22 to F25: a second instance, signals at any moment, kills with children, parts that crash or hang."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from backend.core.resume_store import ResumeStore
from backend.utils.lock import LOCK_NAME
from tests.end_to_end.daemon import MAIN, command, write_config
from tests.end_to_end.quick_starts import ForkServer, QuickStarts, watched
from tests.end_to_end.test_kills import SMALL, acknowledged
from tests.fakes.fake_comfy import FakeComfy, free_port
from tests.fakes.service_manager import Manager

log = logging.getLogger(__name__)

pytestmark = pytest.mark.timeout(240)

GUARD_S = 60.0
SICK = "tests.faults.sick_parts:"


def config(folder: Path, url: str, **sections: dict[str, Any]) -> Path:
    comfyui = {"url": url, "connect_timeout_seconds": 1, **sections.pop("comfyui", {})}
    return write_config(folder, **SMALL, comfyui=comfyui, **sections)


@pytest.fixture
def starts(fork_server: ForkServer, tmp_path: Path, fake: FakeComfy) -> Iterator[QuickStarts]:
    config(tmp_path, fake.url)
    with QuickStarts(tmp_path, fork_server) as made:
        yield made


def dreams(status: dict[str, Any]) -> bool:
    return bool(status["dream"]["number"] >= 2 and status["frame"]["kind"] == "in_between")


def until(what: Any, guard_s: float = GUARD_S) -> float:
    """Waits; how long it took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < guard_s, "it did not come to that"
        time.sleep(0.01)
    return time.monotonic() - began


# F22


def test_two_configs_that_name_one_output_folder_are_one_dream_too_many(
    starts: QuickStarts, tmp_path: Path, fake: FakeComfy
) -> None:
    first = starts.start()
    starts.wait_for(dreams)
    other = tmp_path / "other"
    other.mkdir()
    config(other, fake.url, storage={"output": str(tmp_path / "output"), "status": "status"})
    second = command(other, "run", "--frames", "1")
    assert second.returncode == 75
    assert f"process {first}" in second.stderr
    assert str(tmp_path / "output") in second.stderr
    shown = starts.status()["frame"]["sequence"]
    starts.wait_for(lambda now: now["frame"]["sequence"] > shown + 5)
    assert starts.end(signal.SIGTERM) == 0


def test_locks_and_a_socket_that_dead_processes_left_stop_nobody(starts: QuickStarts, tmp_path: Path) -> None:
    starts.start()
    starts.wait_for(dreams)
    starts.end(signal.SIGKILL)
    for folder in (tmp_path / "output", tmp_path / "status"):
        (folder / LOCK_NAME).write_text(f"{os.getpid()}\n")  # by now the id of a process that lives
    assert (tmp_path / "status" / "control.sock").exists()
    starts.start()
    number = starts.status()["dream"]["number"]
    starts.wait_for(lambda now: now["dream"]["number"] > number)
    assert command(tmp_path, "pause").returncode == 0
    assert starts.end(signal.SIGTERM) == 0


# F23


def signalled(starts: QuickStarts, fake: FakeComfy, times: int, longest_s: float, seed: int) -> None:
    """Ends it by signals at random moments; each time in an orderly way, with all that a restart needs."""
    rng, took = random.Random(seed), []
    with watched(starts.folder):
        for _ in range(times):
            pid = starts.start()
            if rng.random() < 0.5:
                starts.wait_for(dreams)
            time.sleep(rng.uniform(0.0, longest_s))
            number = rng.choice([signal.SIGTERM, signal.SIGINT])
            before, began = acknowledged(starts.folder), time.monotonic()
            ended = starts.end(number)
            took.append(time.monotonic() - began)
            # Before it has begun, a process can only die of the signal.
            assert ended == 0 or (ended == -number and pid != starts.newest_pid()), starts.said()
            assert acknowledged(starts.folder) >= before
            point = ResumeStore(starts.folder / "output").load()
            assert (point is None) == (acknowledged(starts.folder) == 0)
            until(lambda: not any(fake.server.core.queue.snapshot()))
    log.info("ended %d times, after %.2f s at the most", times, max(took))
    assert max(took) < GUARD_S


def test_signals_at_random_moments_end_it_cleanly(starts: QuickStarts, fake: FakeComfy) -> None:
    signalled(starts, fake, times=4, longest_s=0.5, seed=23)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_two_hundred_signals_at_random_moments_end_it_cleanly(starts: QuickStarts, fake: FakeComfy) -> None:
    signalled(starts, fake, times=200, longest_s=3.0, seed=24)


# F24


@pytest.fixture
def owner(fork_server: ForkServer, tmp_path: Path) -> Iterator[QuickStarts]:
    """A daemon that is to start its ComfyUI itself."""
    port = free_port()
    program = [sys.executable, "-m", "tests.fakes.comfy_on_port", str(tmp_path / "comfy")]
    program += ["--port", str(port)]
    config(tmp_path, f"http://127.0.0.1:{port}", comfyui={"launch": program})
    with QuickStarts(tmp_path, fork_server) as made:
        yield made


def port_of(folder: Path) -> int:
    tree = json.loads((folder / "config.yaml").read_text())
    return int(tree["comfyui"]["url"].rsplit(":", 1)[1])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def family_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_the_comfyui_that_it_started_dies_with_a_killed_daemon_and_the_dream_goes_on_with_another(
    owner: QuickStarts, tmp_path: Path
) -> None:
    pid = owner.start()
    owner.wait_for(dreams)
    family = family_of(pid)
    assert len(family) >= 2
    owner.end(signal.SIGKILL)
    took_s = until(lambda: is_free(port_of(tmp_path)) and not any(one.is_running() for one in family))
    log.info("F24: the port was free %.2f s after kill -9", took_s)
    pid, number = owner.start(), acknowledged(tmp_path)
    status = owner.wait_for(lambda now: now["dream"]["number"] > number)
    assert status["dream"]["parent"] == status["dream"]["number"] - 1
    family = family_of(pid)
    assert owner.end(signal.SIGTERM) == 0
    until(lambda: is_free(port_of(tmp_path)) and not any(one.is_running() for one in family))


@pytest.mark.faults
def test_an_orphan_that_could_not_die_is_known_by_its_mark_at_the_next_start_and_ended(
    owner: QuickStarts, tmp_path: Path
) -> None:
    pid = owner.start()
    owner.wait_for(dreams)
    family = family_of(pid)
    (launcher,) = psutil.Process(pid).children()
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "comfy_on_port"])
    try:
        launcher.suspend()  # it cannot hear that its parent is gone
        owner.end(signal.SIGKILL)
        assert not is_free(port_of(tmp_path))
        owner.start()
        number = acknowledged(tmp_path)
        owner.wait_for(lambda now: now["dream"]["number"] > number)
        assert not any(one.is_running() for one in family)
        assert bystander.poll() is None
        assert owner.end(signal.SIGTERM) == 0
    finally:
        bystander.kill()
        bystander.wait(GUARD_S)
        for one in family:
            if one.is_running():
                one.kill()


# F25


def test_a_part_that_crashes_again_and_again_ends_all_with_70_so_that_another_takes_over(
    starts: QuickStarts, tmp_path: Path
) -> None:
    with watched(tmp_path):
        starts.start(sickness=f"{SICK}playback_raises")
        assert starts.wait() == 70
        status = starts.status()
        assert (status["state"], status["reason"]["code"]) == ("stopping", "fault")
        assert (
            "playback failed 6 times within 60 s (ZeroDivisionError: a bug of ours)"
            in (status["reason"]["sentence"])
        )
        starts.start()  # as systemd would
        shown = starts.wait_for(lambda now: now["state"] != "starting")["frame"]["sequence"]
        starts.wait_for(lambda now: now["frame"]["sequence"] > shown + 5)
        assert starts.end(signal.SIGTERM) == 0


def test_threads_that_die_without_a_word_are_started_again_and_the_dream_goes_on(
    starts: QuickStarts, tmp_path: Path
) -> None:
    with watched(tmp_path):
        starts.start(sickness=f"{SICK}threads_die_once")
        until(lambda: "scorer had ended" in starts.said())
        until(lambda: "dream-loop had ended" in starts.said())
        number = starts.status()["dream"]["number"]
        starts.wait_for(lambda now: now["dream"]["number"] >= number + 3 and now["reason"]["code"] == "ok")
        assert starts.end(signal.SIGTERM) == 0


def test_a_part_that_hangs_is_not_told_as_life_to_the_watchdog_and_ends_all_where_there_is_none(
    starts: QuickStarts, tmp_path: Path, manager: Manager
) -> None:
    told = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "400000"}
    with watched(tmp_path):
        pid = starts.start(sickness=f"{SICK}playback_hangs", environment=told)
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            manager.listen()
        assert starts.wait() == 70
        stopping = manager.when[manager.wait_for("STOPPING=1")]
    pings = [when for when, heard in zip(manager.when, manager.heard, strict=True) if heard == "WATCHDOG=1"]
    assert len(pings) >= 2
    assert stopping - pings[-1] > 2.0, "it was told of life while a part hung"
    assert "the watchdog is not told of life: playback stands still" in starts.said()
    assert "playback stands still for 3 s" in starts.said()
    assert str(MAIN.parent) not in starts.status()["reason"]["sentence"]
