"""The daemon as a service: what it tells the service manager, and that SIGHUP reloads and does not end it."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.end_to_end.daemon import Daemon, command, daemon, write_config
from tests.fakes.fake_comfy import FakeComfy
from tests.fakes.service_manager import Manager

pytestmark = pytest.mark.timeout(240)

_GUARD_S = 60.0


def edit(folder: Path, section: str, **values: object) -> None:
    path = folder / "config.yaml"
    tree = json.loads(path.read_text())
    tree.setdefault(section, {}).update(values)
    path.write_text(json.dumps(tree))


def goes_on(running: Daemon) -> None:
    shown = running.status()["frame"]["sequence"]
    running.wait_for(lambda now: now["frame"]["sequence"] >= shown + 5)


def test_a_service_tells_its_manager_the_truth_and_reloads_without_losing_the_stream(
    tmp_path: Path, manager: Manager, fake_comfy: FakeComfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, comfyui={"url": fake_comfy.url})
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    with daemon(tmp_path) as running:
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
