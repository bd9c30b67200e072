from __future__ import annotations

import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backend.errors import NoDaemon, StorageError
from backend.utils import control
from backend.utils.control import MAX_CLIENTS, MAX_REQUEST_BYTES, ControlServer, ask


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: pytest's own are nearly as long as a socket address may be."""
    path = Path(tempfile.mkdtemp(prefix="dl"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def echo(request: dict[str, Any]) -> dict[str, Any]:
    return {"ok": True, "got": request}


@contextmanager
def serving(
    path: Path, handler: Callable[[dict[str, Any]], dict[str, Any]] = echo
) -> Iterator[ControlServer]:
    server = ControlServer(path, handler)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def raw(path: Path, data: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        client.sendall(data)
        return dict(json.loads(client.makefile("rb").readline()))


def test_a_request_is_answered(folder: Path) -> None:
    with serving(folder / "control.sock"):
        assert ask(folder / "control.sock", {"command": "päuse"}) == {"ok": True, "got": {"command": "päuse"}}
    assert list(folder.iterdir()) == []


def test_only_the_owner_may_ask(folder: Path) -> None:
    with serving(folder / "control.sock"):
        assert (folder / "control.sock").stat().st_mode & 0o777 == 0o600


def test_where_nobody_answers_it_says_so(folder: Path) -> None:
    path = folder / "control.sock"
    with pytest.raises(NoDaemon, match="there is no such socket"):
        ask(path, {})
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NoDaemon, match="refused"):
        ask(path, {})


def test_a_stale_socket_is_replaced(folder: Path) -> None:
    path = folder / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(path):
        assert ask(path, {})["ok"]


def test_a_socket_that_somebody_answers_at_is_left_alone(folder: Path) -> None:
    path = folder / "control.sock"
    with serving(path):
        with pytest.raises(StorageError, match=r"another Dreamloop answers there"):
            ControlServer(path, echo).start()
        assert ask(path, {})["ok"]


def test_a_file_in_the_way_is_left_alone_and_the_daemon_lives(folder: Path) -> None:
    path = folder / "control.sock"
    path.write_text("precious")
    with serving(path) as server:
        assert "not a socket" in (server.last_error or "")
    assert path.read_text() == "precious"


def test_a_socket_that_was_deleted_is_made_anew(folder: Path) -> None:
    path = folder / "status" / "control.sock"
    now = [0.0]
    server = ControlServer(path, echo, clock=lambda: now[0])
    server.turn()
    shutil.rmtree(path.parent)
    server.turn()
    assert not path.exists()
    now[0] += 11.0
    server.turn()
    assert path.exists()
    server.stop()


def test_a_path_longer_than_a_socket_address_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / ("d" * 120) / "control.sock"
    with serving(path):
        assert ask(path, {})["ok"]
        monkeypatch.chdir(path.parent)
        assert ask(path, {})["ok"]
    assert not path.exists()


@pytest.mark.parametrize("data", [b"nonsense\n", b"[1]\n", b"\xff\xfe\n", b"[" * 50_000 + b"\n"])
def test_a_request_that_makes_no_sense_is_told_so(folder: Path, data: bytes) -> None:
    with serving(folder / "control.sock"):
        assert raw(folder / "control.sock", data)["ok"] is False


def test_a_handler_that_fails_does_not_end_the_service(folder: Path) -> None:
    def fail(request: dict[str, Any]) -> dict[str, Any]:
        raise KeyError("oops")

    with serving(folder / "control.sock", fail):
        for _ in range(2):
            assert "KeyError" in ask(folder / "control.sock", {})["error"]


def test_a_request_without_end_is_cut_off(folder: Path) -> None:
    with serving(folder / "control.sock"):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(folder / "control.sock"))
            try:
                client.sendall(b"x" * (MAX_REQUEST_BYTES * 10))
                assert client.recv(10) == b""
            except (BrokenPipeError, ConnectionResetError):
                pass
        assert ask(folder / "control.sock", {})["ok"]


def test_silent_clients_do_not_shut_others_out_for_long(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CLIENT_DEADLINE_S", 0.2)
    with serving(folder / "control.sock"):
        silent = [socket.socket(socket.AF_UNIX) for _ in range(MAX_CLIENTS)]
        for client in silent:
            client.settimeout(30)
            client.connect(str(folder / "control.sock"))
        assert all(client.recv(10) == b"" for client in silent)
        assert ask(folder / "control.sock", {})["ok"]
        for client in silent:
            client.close()


def test_a_daemon_that_never_answers_is_given_up(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(folder / "control.sock"))
        mute.listen()
        with pytest.raises(NoDaemon, match="time"):
            ask(folder / "control.sock", {}, timeout_s=0.05)


def test_several_may_ask_at_once_and_the_handler_sees_one_at_a_time(folder: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        inside.append(1)
        most.append(len(inside))
        inside.pop()
        return {"ok": True, "n": request["n"]}

    answers: list[int] = []
    with serving(folder / "control.sock", handle):
        path = folder / "control.sock"
        askers = [
            threading.Thread(target=lambda n=n: answers.append(ask(path, {"n": n})["n"])) for n in range(6)
        ]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
    assert sorted(answers) == list(range(6))
    assert max(most) == 1
