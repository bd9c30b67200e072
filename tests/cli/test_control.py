from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.cli import control as command
from backend.utils.control import ControlServer


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="dl"))
    monkeypatch.setenv("DREAMLOOP_STORAGE__STATUS", str(path))
    yield path
    shutil.rmtree(path)


def run(name: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args([name])
    return int(args.handler(args))


@pytest.mark.parametrize("name", ["pause", "resume", "next", "stop"])
def test_the_daemon_is_told_and_its_answer_is_shown(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    heard: list[Any] = []

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        heard.append(request)
        return {"ok": True, "state": "dreaming"}

    server = ControlServer(folder / "control.sock", handle)
    server.start()
    try:
        assert run(name) == 0
    finally:
        server.stop()
    assert heard == [{"command": name}]
    assert capsys.readouterr().out == f"{name}: done; the dream is dreaming\n"


def test_a_refusal_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = ControlServer(folder / "control.sock", lambda _: {"ok": False, "error": "not now"})
    server.start()
    try:
        assert run("next") == 1
    finally:
        server.stop()
    assert "not now" in capsys.readouterr().err


def test_without_a_daemon_it_is_exit_69(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pause") == 69
    assert f"no Dreamloop answers at {folder / 'control.sock'}" in capsys.readouterr().err


def test_settings_that_cannot_be_used_are_exit_78(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMLOOP_DREAM__DENOISE", "7")
    assert run("pause") == 78


def test_stop_waits_until_the_daemon_is_gone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    daemon = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    def end(request: dict[str, Any]) -> dict[str, Any]:
        threading.Timer(0.3, daemon.kill).start()
        threading.Thread(target=daemon.wait, daemon=True).start()
        return {"ok": True, "state": "stopping", "pid": daemon.pid}

    server = ControlServer(folder / "control.sock", end)
    server.start()
    try:
        assert run("stop") == 0
        assert daemon.poll() is not None
        assert "has ended" in capsys.readouterr().out
    finally:
        server.stop()
        daemon.kill()
