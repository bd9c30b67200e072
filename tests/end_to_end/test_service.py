"""The daemon as a service: what it tells the service manager, and that SIGHUP reloads and does not end it."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.daemon import Daemon, command, daemon, write_config

pytestmark = pytest.mark.timeout(240)

_GUARD_S = 60.0


class Manager:
    """Listens as systemd does; keeps all that it has heard, a line an entry."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(0.2)

    def wait_for(self, line: str, count: int = 1) -> int:
        """Until a line that begins so was heard so often; gives the place of the last of them."""
        until = time.monotonic() + _GUARD_S
        while time.monotonic() < until:
            places = [place for place, heard in enumerate(self.heard) if heard.startswith(line)]
            if len(places) >= count:
                return places[count - 1]
            self.listen()
        raise AssertionError(f"{line} was not heard {count} times: {self.heard}")

    def listen(self) -> None:
        try:
            self.heard += self._socket.recv(65536).decode().split("\n")
        except TimeoutError:
            return

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager() -> Iterator[Manager]:
    folder = Path(tempfile.mkdtemp(prefix="dl"))  # paths of sockets are short
    made = Manager(folder)
    yield made
    made.close()
    shutil.rmtree(folder)


def edit(folder: Path, section: str, **values: object) -> None:
    path = folder / "config.yaml"
    tree = json.loads(path.read_text())
    tree.setdefault(section, {}).update(values)
    path.write_text(json.dumps(tree))


def goes_on(running: Daemon) -> None:
    shown = running.status()["frame"]["sequence"]
    running.wait_for(lambda now: now["frame"]["sequence"] >= shown + 5)


def test_a_service_tells_its_manager_the_truth_and_reloads_without_losing_the_stream(
    tmp_path: Path, manager: Manager
) -> None:
    write_config(tmp_path)
    words = ("env", f"NOTIFY_SOCKET={manager.path}", "WATCHDOG_USEC=4000000")
    with daemon(tmp_path, prefix=words) as running:
        manager.wait_for("READY=1")
        assert (running.output / "current_frame.png").exists()
        running.wait_for(lambda now: now["dream"]["in_betweens"] > 0)
        manager.wait_for("WATCHDOG=1", 2)
        manager.wait_for("STATUS=")

        edit(tmp_path, "display", fps=12)
        began = time.monotonic()
        running.process.send_signal(signal.SIGHUP)
        reloading = manager.wait_for("RELOADING=1")
        assert manager.heard[reloading + 1].startswith("MONOTONIC_USEC=")
        assert manager.wait_for("READY=1", 2) > reloading
        status = running.wait_for(lambda now: now["display"]["fps"] == 12)
        assert time.monotonic() - began < _GUARD_S
        assert status["pid"] == running.process.pid
        goes_on(running)

        edit(tmp_path, "dream", denoise=7, seed=8)
        running.process.send_signal(signal.SIGHUP)
        manager.wait_for("READY=1", 3)
        wrong = running.wait_for(lambda now: not now["config"]["ok"])
        assert [one["key"] for one in wrong["config"]["problems"]] == ["dream.denoise"]
        goes_on(running)

        assert command(tmp_path, "set", "dream.denoise", "0.3").returncode == 0
        right = running.wait_for(lambda now: now["config"]["ok"])
        assert [one["key"] for one in right["config"]["needs_restart"]] == ["dream.seed"]

        assert running.end() == 0
        manager.wait_for("STOPPING=1")
    assert manager.heard.index("STOPPING=1") > manager.wait_for("READY=1", 3)
