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

from tests.end_to_end.daemon import Daemon, daemon, write_config
from tests.end_to_end.quick_starts import ForkServer, QuickStarts, watched
from tests.end_to_end.test_kills import SMALL
from tests.fakes.fake_comfy import FakeComfy, free_port
from tests.faults.sick_parts import LEAK_BYTES

log = logging.getLogger(__name__)

pytestmark = pytest.mark.timeout(240)

GUARD_S = 60.0
GROWS = "tests.faults.sick_parts:grows_when_told"
FILES = 64
MANY = 200


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + GUARD_S
    while not what():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def limited(folder: Path, key: str, process: psutil.Process) -> None:
    """What a process and its children hold now, and half a leak, is what they may hold."""
    held = sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
    path = folder / "config.yaml"
    tree = json.loads(path.read_text())
    tree["machine"] = {key: f"{(held + LEAK_BYTES // 2) // 1_000_000} MB"}
    path.write_text(json.dumps(tree))


def dreams(status: dict[str, Any]) -> bool:
    return bool(status["dream"]["number"] >= 3 and status["frame"]["kind"] == "in_between")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a shim, both of which may open few files, and that can be made to leak."""
    folder = tmp_path_factory.mktemp("pressure")
    with FakeComfy(folder / "comfy", dialect="B") as fake:
        comfyui = {"url": fake.url, "connect_timeout_seconds": 1}
        write_config(folder, **{**SMALL, "shim": {"serve": "always", "port": 0}}, comfyui=comfyui)
        few = ["prlimit", f"--nofile={FILES}:{FILES}"]
        with daemon(folder, prefix=few, program=["-m", "tests.faults.sick_main", GROWS]) as running:
            running.wait_for(dreams)
            yield running
            assert running.end() == 0
            assert "Traceback" not in running.log.read_text(), running.log.read_text()


def address_of(running: Daemon) -> tuple[str, int]:
    """Where its pages are, once they are."""
    told = "open http://"
    until(lambda: told in running.log.read_text())
    url = urlsplit(running.log.read_text().rpartition(told)[2].split("/")[0].join(["http://", "/"]))
    assert url.hostname is not None
    assert url.port is not None
    return url.hostname, url.port


class Viewer:
    """Somebody who watches the events."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, GUARD_S)
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


def test_f33_where_files_are_few_viewers_are_shed_and_those_who_watch_and_the_dream_go_on(
    shared: Daemon,
) -> None:
    address, before = address_of(shared), shared.status()
    shim = next(one for one in psutil.Process(shared.process.pid).children(recursive=True) if served(one))
    with ExitStack() as stack, watched(shared.folder):
        first = Viewer(address)
        stack.callback(first.close)
        assert b"200 OK" in first.hears(GUARD_S)
        crowd = [Viewer(address) for _ in range(MANY)]
        for one in crowd:
            stack.callback(one.close)
        heard = [one.hears(0.5) for one in crowd]
        let_in = sum(b"200 OK" in one for one in heard)
        log.info("F33: %d of %d viewers were let in, %d told to come back", let_in, MANY, told_off(heard))
        assert 0 < let_in < FILES
        assert told_off(heard) > 0
        assert shim.num_fds() < FILES
        until(lambda: b"event: frame" in first.hears(GUARD_S))
        shared.wait_for(lambda now: now["dream"]["number"] >= before["dream"]["number"] + 3)
    late = Viewer(address)
    assert b"200 OK" in late.hears(GUARD_S), "there is room again"
    late.close()
    assert shim.is_running()
    assert shared.status()["boot_id"] == before["boot_id"]


def served(process: psutil.Process) -> bool:
    return any(one.status == psutil.CONN_LISTEN for one in process.net_connections("tcp"))


def told_off(heard: list[bytes]) -> int:
    return sum(b" 503 " in one for one in heard)


def test_f33_a_daemon_that_has_grown_too_large_begins_anew_in_place_and_goes_on_where_it_was(
    shared: Daemon,
) -> None:
    process = psutil.Process(shared.process.pid)
    before = shared.status()
    limited(shared.folder, "own_memory", process)
    shared.wait_for(lambda now: now["config"]["taken"] > before["config"]["taken"])
    with watched(shared.folder) as display:
        process.send_signal(signal.SIGUSR1)
        began = time.monotonic()
        after = shared.wait_for(lambda now: now["boot_id"] != before["boot_id"] and dreams(now))
        log.info("F33: a frame of the new life %.2f s after the leak", time.monotonic() - began)
        assert after["pid"] == before["pid"]
        number = after["dream"]["number"]
        after = shared.wait_for(lambda now: now["dream"]["number"] >= number + 2)
        assert after["dream"]["parent"] == after["dream"]["number"] - 1
    assert "it begins anew" in shared.log.read_text()
    first, *others = sorted(display.chain)
    assert all(display.chain[one] == (one - 1,) for one in others), display.chain
    assert address_of(shared)


def test_f33_a_comfyui_of_ours_that_has_grown_too_large_is_drained_and_begun_anew(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    port = free_port()
    launch = [sys.executable, "-m", "tests.fakes.comfy_on_port", str(tmp_path / "comfy"), "--port", str(port)]
    comfyui = {"url": f"http://127.0.0.1:{port}", "launch": launch, "connect_timeout_seconds": 1}
    write_config(tmp_path, **SMALL, comfyui=comfyui)
    with QuickStarts(tmp_path, fork_server) as starts, watched(tmp_path) as display:
        pid = starts.start(sickness=GROWS)
        before = starts.wait_for(dreams)
        (launcher,) = psutil.Process(pid).children()
        (engine,) = launcher.children()
        limited(tmp_path, "engine_memory", launcher)
        starts.wait_for(lambda now: now["config"]["taken"] > before["config"]["taken"])
        engine.send_signal(signal.SIGUSR1)
        until(lambda: not engine.is_running())
        number = starts.status()["dream"]["number"]
        after = starts.wait_for(lambda now: now["dream"]["number"] >= number + 2)
        assert after["boot_id"] == before["boot_id"]
        assert after["dream"]["failed_jobs"] == before["dream"]["failed_jobs"], "it was drained first"
        assert "the engine is begun anew" in starts.said()
        assert starts.end(signal.SIGTERM) == 0
    first, *others = sorted(display.chain)
    assert all(display.chain[one] == (one - 1,) for one in others), display.chain
