"""F33: few files, and memory that leaks: viewers are shed first, and what has grown too large begins anew."""

from __future__ import annotations

import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tests.browser.conftest import address
from tests.end_to_end.daemon import write_config
from tests.end_to_end.quick_starts import Display, ForkServer, QuickStarts, watched
from tests.end_to_end.test_kills import SMALL
from tests.fakes.fake_comfy import FakeComfy, free_port
from tests.faults.sick_parts import FILES, LEAK_BYTES
from tests.soak.gauges import numbers

log = logging.getLogger(__name__)

pytestmark = pytest.mark.timeout(240)

GUARD_S = 60.0
ILL = "tests.faults.sick_parts:"
MANY = 200


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + GUARD_S
    while not what():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def limit(starts: QuickStarts, key: str, process: psutil.Process) -> None:
    """What a process and its children hold now, and half a leak, is what they may hold."""
    held = sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
    path, taken = starts.folder / "config.yaml", starts.status()["config"]["taken"]
    tree = json.loads(path.read_text())
    tree["machine"] = {key: f"{(held + LEAK_BYTES // 2) // 1_000_000} MB"}
    path.write_text(json.dumps(tree))
    starts.wait_for(lambda now: now["config"]["taken"] > taken)


def dreams(status: dict[str, Any]) -> bool:
    return bool(status["dream"]["number"] >= 3 and status["frame"]["kind"] == "in_between")


def assert_unbroken(display: Display) -> None:
    """Each keyframe that was shown was dreamt from the one before it."""
    numbers = sorted(display.chain)
    assert len(numbers) >= 2
    assert all(display.chain[one] == (one - 1,) for one in numbers[1:]), display.chain


@pytest.fixture
def starts(fork_server: ForkServer, tmp_path: Path) -> Iterator[QuickStarts]:
    """A daemon with pages that dreams, may open few files, and can be made to leak."""
    with FakeComfy(tmp_path / "comfy", dialect="B") as fake, QuickStarts(tmp_path, fork_server) as made:
        comfyui = {"url": fake.url, "connect_timeout_seconds": 1}
        write_config(tmp_path, **{**SMALL, "shim": {"serve": "always", "port": 0}}, comfyui=comfyui)
        made.start(sickness=ILL + "has_few_files_and_grows_when_told")
        made.wait_for(dreams)
        yield made
        assert made.end(signal.SIGTERM) == 0
        assert "Traceback" not in made.log.read_text(), made.log.read_text()


class Viewer:
    """Somebody who watches the events."""

    def __init__(self, url: str) -> None:
        told = urlsplit(url)
        self._socket = socket.create_connection((told.hostname, told.port), GUARD_S)
        self._socket.sendall(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

    def hears(self, timeout_s: float) -> bytes:
        """What comes next; nothing where it was sent away, or nothing comes in time."""
        self._socket.settimeout(timeout_s)
        try:
            return self._socket.recv(65_536)
        except (TimeoutError, ConnectionError):
            return b""

    def close(self) -> None:
        self._socket.close()


def is_let_in(url: str) -> bool:
    one = Viewer(url)
    heard = one.hears(GUARD_S)
    one.close()
    return b"200 OK" in heard


def listens(process: psutil.Process) -> bool:
    return any(one.status == psutil.CONN_LISTEN for one in process.net_connections("tcp"))


@pytest.mark.faults
def test_f33_where_files_are_few_viewers_are_shed_and_those_who_watch_and_the_dream_go_on(
    starts: QuickStarts,
) -> None:
    until(lambda: "to watch" in starts.log.read_text())
    url, before = address(starts.log), starts.status()
    shim = next(one for one in psutil.Process(starts.pid).children(recursive=True) if listens(one))
    with ExitStack() as stack, watched(starts.folder):
        first = Viewer(url)
        stack.callback(first.close)
        assert b"200 OK" in first.hears(GUARD_S)
        crowd = [Viewer(url) for _ in range(MANY)]
        for one in crowd:
            stack.callback(one.close)
        heard = [one.hears(0.5) for one in crowd]
        let_in, told_off = (sum(word in one for one in heard) for word in (b"200 OK", b" 503 "))
        log.info("F33: %d of %d viewers were let in, %d told to come back", let_in, MANY, told_off)
        assert 0 < let_in < FILES
        assert told_off > 0
        assert shim.num_fds() < FILES
        until(lambda: b"event: frame" in first.hears(GUARD_S))
        starts.wait_for(lambda now: now["dream"]["number"] >= before["dream"]["number"] + 3)
    until(lambda: is_let_in(url))
    assert shim.is_running()
    assert starts.status()["boot_id"] == before["boot_id"]


@pytest.mark.faults
def test_f33_a_daemon_that_has_grown_too_large_begins_anew_in_place_and_goes_on_where_it_was(
    starts: QuickStarts,
) -> None:
    process = psutil.Process(starts.pid)
    before = starts.status()
    limit(starts, "own_memory", process)
    frames: set[int] = set()

    def goes_on(now: dict[str, Any]) -> bool:
        frames.update(numbers(starts.folder / "output" / "frames"))
        return now["boot_id"] != before["boot_id"] and dreams(now)

    with watched(starts.folder) as display:
        process.send_signal(signal.SIGUSR1)
        began = time.monotonic()
        after = starts.wait_for(goes_on)
        log.info("F33: a frame of the new life %.2f s after the leak", time.monotonic() - began)
        number = after["dream"]["number"]
        after = starts.wait_for(lambda now: now["dream"]["number"] >= number + 2)
    assert_unbroken(display)
    assert frames == set(range(min(frames), max(frames) + 1)), "no frame's number is left out"
    assert (before["restarts"]["own"], after["restarts"]["own"]) == (0, 1)
    assert "MB of memory" in after["restarts"]["own_why"]
    assert "it begins anew" in starts.log.read_text()


@pytest.mark.faults
def test_f33_a_comfyui_of_ours_that_has_grown_too_large_is_drained_and_begun_anew(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    port = free_port()
    launch = [sys.executable, "-m", "tests.fakes.comfy_on_port", str(tmp_path / "comfy"), "--port", str(port)]
    comfyui = {"url": f"http://127.0.0.1:{port}", "launch": launch, "connect_timeout_seconds": 1}
    write_config(tmp_path, **SMALL, comfyui=comfyui)
    with QuickStarts(tmp_path, fork_server) as starts, watched(tmp_path) as display:
        pid = starts.start(sickness=ILL + "grows_when_told")
        before = starts.wait_for(dreams)
        (launcher,) = psutil.Process(pid).children()
        (engine,) = launcher.children()
        limit(starts, "engine_memory", launcher)
        engine.send_signal(signal.SIGUSR1)
        until(lambda: not engine.is_running())
        gone = starts.status()
        starts.wait_for(lambda now: now["frame"]["sequence"] > gone["frame"]["sequence"] + 5)  # moves on
        after = starts.wait_for(lambda now: now["dream"]["number"] >= gone["dream"]["number"] + 2)
        assert after["boot_id"] == before["boot_id"]
        assert after["dream"]["failed_jobs"] == before["dream"]["failed_jobs"], "it was drained first"
        assert after["restarts"]["engine"] == 1
        assert "the engine holds" in after["restarts"]["engine_why"]
        assert "the engine is begun anew" in starts.said()
        assert starts.end(signal.SIGTERM) == 0
    assert_unbroken(display)
