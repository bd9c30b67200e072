"""Viewers: many, slow, stalled, gone; paths that lead elsewhere; a daemon that ends while they watch."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from backend.shim.process import shim_command
from tests.browser.conftest import address
from tests.end_to_end.daemon import daemon, write_config
from tests.fakes.fake_comfy import FakeComfy
from tests.shim.stand_in import StandIn

log = logging.getLogger(__name__)

GUARD_S = 60.0
SECRETS = ("/etc/passwd", "root:", "status/token")


class Dream:
    """A stand-in for the daemon that shows ten frames a second, and the real shim over it."""

    def __init__(self, folder: Path, limit_files: int | None = None) -> None:
        self.daemon = StandIn(folder)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._process = subprocess.Popen(
            shim_command(self.daemon.spec),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=None if limit_files is None else lambda: _limit(limit_files),  # noqa: PLW1509 - one thread
        )
        self._thread.start()
        assert self._process.stdout is not None
        import json

        self.url = json.loads(self._process.stdout.readline())["url"].rstrip("/")

    def _show(self) -> None:
        pictures = [picture_of(number) for number in range(8)]
        while not self._over.wait(0.1):
            self.daemon.show(pictures[self.daemon.sequence % 8], seconds=0.1)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(GUARD_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


def _limit(files: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


def picture_of(number: int) -> bytes:
    from tests.shim.stand_in import picture

    return picture(number, (320, 180))


@pytest.fixture
def dream(tmp_path: Path) -> Iterator[Dream]:
    made = Dream(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def one_dream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dream]:
    """For those who only ask."""
    made = Dream(tmp_path_factory.mktemp("dream"))
    yield made
    made.close()


def frames_seen(port: int, seconds: float) -> int:
    """How many pictures an MJPEG viewer gets."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD_S)
    connection.request("GET", "/stream.mjpg")
    answer = connection.getresponse()
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        line = answer.readline()
        if line.startswith(b"Content-Length"):
            answer.readline()
            answer.read(int(line.split(b":")[1]))
            count += 1
    connection.close()
    return count


def stalled_viewer(port: int) -> socket.socket:
    """Asks for the stream and takes nothing of it."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", port))
    raw.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return raw


def test_f31_viewers_that_take_nothing_change_nobody_elses_rate(dream: Dream) -> None:
    frames_seen(dream.port, 0.5)
    alone = frames_seen(dream.port, 2.0)
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(contextlib.closing(stalled_viewer(dream.port)))
        beside = frames_seen(dream.port, 2.0)
    log.info("F31: %d frames alone, %d beside eight that are stalled", alone, beside)
    assert beside >= 0.7 * alone


def test_f31_more_viewers_than_there_is_room_for_are_told_when_to_come_back(dream: Dream) -> None:
    with contextlib.ExitStack() as stack:
        refused = None
        for _ in range(80):
            answer = stack.enter_context(
                requests.get(f"{dream.url}/stream.mjpg", stream=True, timeout=GUARD_S)
            )
            if answer.status_code != 200:
                refused = answer
                break
        assert refused is not None
        assert refused.status_code == 503
        assert refused.headers["Retry-After"]
        assert refused.json()["code"] == "busy"
        assert requests.get(f"{dream.url}/api/status", timeout=GUARD_S).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/images/..%2f..%2f..%2fetc%2fpasswd",
        "/api/images/%2e%2e/%2e%2e/etc/passwd",
        "/api/images//etc/passwd",
        "/api/images/..\\..\\etc\\passwd",
        "/api/images/%00",
        "/api/images/" + "a" * 10_000,
        "/api/frames/../../status/token",
        "/web/../../../etc/passwd",
        "/web/%2e%2e%2f%2e%2e%2fapp.py",
        "//etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
    ],
)
def test_f29_no_address_leads_out_of_the_folders(one_dream: Dream, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", one_dream.port, timeout=GUARD_S)
    connection.putrequest("GET", path, skip_accept_encoding=True)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode(errors="replace")
    connection.close()
    assert answer.status in (400, 404, 414, 422)
    assert not any(secret in body for secret in (*SECRETS, str(one_dream.daemon.output.parent)))


def test_f33_with_few_files_viewers_are_shed_and_the_others_served(tmp_path: Path) -> None:
    dream = Dream(tmp_path, limit_files=64)
    with contextlib.closing(dream):
        crowd_and_shed(dream)
        until = time.monotonic() + GUARD_S
        while time.monotonic() < until:  # whoever comes when they have gone is served
            if requests.get(f"{dream.url}/api/status", timeout=GUARD_S).status_code == 200:
                return
        raise AssertionError("it never came back")


def crowd_and_shed(dream: Dream) -> None:
    """Some are let in, others told to come back, and who was there before is served all the while."""
    with contextlib.ExitStack() as stack:
        status = http.client.HTTPConnection("127.0.0.1", dream.port, timeout=GUARD_S)
        stack.callback(status.close)
        assert_status(status)
        crowd = []
        for _ in range(90):
            one = stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", dream.port))))
            one.settimeout(GUARD_S)
            one.sendall(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            crowd.append(one)
        heard = [answer_of(one) for one in crowd]
        log.info("F33: %s", Counter(heard))
        assert heard.count("200") > 0
        assert heard.count("503") > 0
        assert_status(status)


def assert_status(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/api/status")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200


def answer_of(one: socket.socket) -> str:
    """The number of an answer; nothing where the connection was cut."""
    try:
        return one.recv(4096)[9:12].decode()
    except ConnectionError:
        return ""


def test_f23_a_daemon_ends_in_order_though_viewers_watch(tmp_path: Path, fake_comfy: FakeComfy) -> None:
    write_config(tmp_path, shim={"serve": "always", "port": 0}, comfyui={"url": fake_comfy.url})
    with daemon(tmp_path) as running, contextlib.ExitStack() as stack:
        running.wait_for(lambda status: "to watch" in running.log.read_text() and bool(status["frame"]))
        url = address(running.log).rstrip("/")
        for path in ("/stream.mjpg", "/api/events", "/stream.mjpg"):
            stack.enter_context(requests.get(url + path, stream=True, timeout=GUARD_S))
        stack.enter_context(contextlib.closing(stalled_viewer(int(url.rpartition(":")[2]))))
        children = sorted(running.seen_children)
        began = time.monotonic()
        assert running.end(signal.SIGTERM) == 0
        log.info("F23: ended after %.1f s with four viewers", time.monotonic() - began)
        assert not [pid for pid in children if _lives(pid)]


def test_the_dream_does_not_notice_that_its_http_face_is_killed(
    tmp_path: Path, fake_comfy: FakeComfy
) -> None:
    write_config(tmp_path, shim={"serve": "always", "port": 0}, comfyui={"url": fake_comfy.url})
    with daemon(tmp_path) as running:
        running.wait_for(lambda status: "to watch" in running.log.read_text() and bool(status["frame"]))
        first = address(running.log)
        pid = next(
            pid for pid in running.seen_children if "--spec" in _words(pid) and "main.py" in _words(pid)
        )
        before = running.status()
        os.kill(pid, signal.SIGKILL)
        running.wait_for(lambda status: running.log.read_text().count("to watch") >= 2)
        shown = before["display"]["frames_shown"]
        after = running.wait_for(lambda status: status["display"]["frames_shown"] > shown + 5)
        assert after["boot_id"] == before["boot_id"]
        assert after["display"]["skipped"] == before["display"]["skipped"]
        assert first.startswith("http://127.0.0.1:")
        assert running.end() == 0


def _lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False


def _words(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""
