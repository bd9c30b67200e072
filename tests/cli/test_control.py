from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.cli import control as command
from backend.utils.control import ControlServer
from backend.utils.lock import OutputLock


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


@pytest.mark.parametrize("name", ["pause", "resume", "next"])
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
    monkeypatch.setenv("DREAMLOOP_STORAGE__BUDGET", "7")
    assert run("pause") == 78


def test_a_mistake_elsewhere_in_the_settings_does_not_keep_one_from_the_daemon(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMLOOP_DREAM__DENOISE", "7")
    server = ControlServer(folder / "control.sock", lambda _: {"ok": True, "state": "paused"})
    server.start()
    try:
        assert run("pause") == 0
    finally:
        server.stop()


def test_stop_waits_until_the_daemon_has_let_go_of_its_output(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DREAMLOOP_STORAGE__OUTPUT", str(folder))
    lock = OutputLock(folder)
    lock.acquire()

    def end(request: dict[str, Any]) -> dict[str, Any]:
        threading.Timer(0.3, lock.release).start()
        return {"ok": True, "state": "stopping"}

    server = ControlServer(folder / "control.sock", end)
    server.start()
    try:
        assert run("stop") == 0
        assert "has ended" in capsys.readouterr().out
    finally:
        server.stop()
        lock.release()


def test_a_daemon_that_does_not_end_is_told_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DREAMLOOP_STORAGE__OUTPUT", str(folder))
    monkeypatch.setattr(command, "_STOP_S", 0.2)
    server = ControlServer(folder / "control.sock", lambda _: {"ok": True, "state": "stopping"})
    server.start()
    try:
        with OutputLock(folder):
            assert run("stop") == 1
        assert "told to stop" in capsys.readouterr().err
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("told", "command_line"),
    [
        ("0::/system.slice/dreamloop.service\n", "systemctl stop dreamloop.service"),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/lobby.service\n",
            "systemctl --user stop lobby.service",
        ),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn-1.scope\n", None),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_who_stops_a_service_is_told_that_it_comes_back(
    tmp_path: Path, told: str, command_line: str | None
) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(told)
    assert command.service_of({"status": {"pid": 7}}, tmp_path) == command_line


def test_a_daemon_that_says_nothing_of_itself_is_no_service(tmp_path: Path) -> None:
    for answer in ({}, {"status": None}, {"status": {"pid": "x"}}, {"status": {"pid": 8}}):
        assert command.service_of(answer, tmp_path) is None
