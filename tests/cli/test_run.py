from __future__ import annotations

import argparse
import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backend.cli import run
from backend.cli.desktop import PageOpener
from backend.config import Settings, load_settings
from backend.errors import StorageError
from backend.utils.renewals import Renewals
from backend.utils.status_schema import State, Status, StatusBody
from backend.utils.status_writer import compose
from tests.end_to_end.daemon import write_config

GUARD_S = 20.0


class Dream:
    """A dream that does nothing but be asked."""

    def __init__(self, given_up: str | None = None) -> None:
        self.finished = threading.Event()
        self.given_up = given_up
        self.stalled: str | None = None
        self.renewal: str | None = None
        self.pages: str | None = None
        self.ticks = self.reloads = 0

    @property
    def status(self) -> Status:
        from datetime import UTC, datetime

        body = StatusBody(state=State.STOPPING)
        return compose(body, boot_id="x", pid=1, sequence=1, updated_at=datetime.now(UTC), uptime_s=0.0)

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks > 3:
            self.finished.set()

    def reload(self) -> Callable[[], bool]:
        self.reloads += 1
        return lambda: True


class NoSignals:
    stop = hangup = False


def ran(
    folder: Path,
    dream: Dream,
    stop: Any = lambda: None,
    signals: Any = None,
    opens: bool = False,
    **changes: Any,
) -> int:
    @contextmanager
    def compose_it(settings: Settings, frames: int | None) -> Iterator[Dream]:
        yield dream
        stop()

    settings = load_settings(write_config(folder, **changes), {}).settings
    args = argparse.Namespace(frames=None, open=opens)
    return run.run(args, settings, compose_it, signals or NoSignals())  # type: ignore[arg-type]


def test_a_dream_that_is_finished_ends_with_0(tmp_path: Path) -> None:
    dream = Dream()
    dream.finished.set()
    assert ran(tmp_path, dream) == 0


def test_a_process_that_has_grown_too_large_ends_in_order_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, str]] = []
    monkeypatch.setattr(run, "begin_anew", lambda environ: begun.append(dict(environ)))
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    dream, order = Dream(), []
    dream.renewal = "Dreamloop holds too much"
    assert ran(tmp_path, dream, stop=lambda: order.append(len(begun))) == 0
    assert order == [0]  # all was stopped before
    assert begun[0]["NOTIFY_SOCKET"] == "/nowhere/at/all"
    assert Renewals.taken_from(begun[0]) == Renewals(1, "Dreamloop holds too much")


def test_whoever_is_told_to_stop_does_not_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[object] = []
    monkeypatch.setattr(run, "begin_anew", begun.append)
    dream, signals = Dream(), NoSignals()
    dream.renewal = "Dreamloop holds too much"
    signals.stop = True
    assert ran(tmp_path, dream, signals=signals) == 0
    assert begun == []


def test_the_pages_that_were_opened_once_are_not_opened_again_by_the_one_who_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.orig_argv", ["python", "main.py", "run", "--open", "--frames", "5"])
    told: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda program, words, environ: told.append(words))
    run.begin_anew({})
    assert told == [["python", "main.py", "run", "--frames", "5"]]


@pytest.mark.parametrize("opens", [True, False])
def test_the_page_is_opened_for_who_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opens: bool
) -> None:
    looked: list[str | None] = []
    monkeypatch.setattr(PageOpener, "look", lambda _self, address: looked.append(address))
    dream = Dream()
    dream.pages = "http://127.0.0.1:8422/"
    assert ran(tmp_path, dream, opens=opens, shim={"serve": "always"}) == 0
    assert set(looked) == ({dream.pages} if opens else set())


def test_who_wants_pages_that_are_not_served_is_told_why_there_are_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert ran(tmp_path, Dream(), opens=True, shim={"serve": "never"}) == 0
    assert "no pages to open (shim.serve: never)" in caplog.text


def test_a_part_that_cannot_be_kept_going_ends_it_with_70(tmp_path: Path) -> None:
    assert ran(tmp_path, Dream(given_up="playback failed 6 times within 60 s")) == 70


@pytest.mark.parametrize(
    ("code", "wish"),
    [
        (errno.EACCES, "name a folder that this user may write to"),
        (errno.ENOLCK, "NFS without a lock service; name a folder on a local disk"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_by_its_setting_with_what_would_help(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int, wish: str
) -> None:
    @contextmanager
    def refuse(settings: Settings, frames: int | None) -> Iterator[Dream]:
        raise StorageError(settings.storage.output / ".dreamloop.lock", OSError(code, os.strerror(code)))
        yield

    settings = load_settings(write_config(tmp_path), {}).settings
    ended = run.run(argparse.Namespace(frames=None, open=False), settings, refuse, NoSignals())  # type: ignore[arg-type]
    assert ended == 74
    said = capsys.readouterr().err
    assert "storage.output" in said
    assert wish in said


@pytest.mark.parametrize(("given_up", "status"), [(None, 0), ("playback stands still for 60 s", 70)])
def test_what_does_not_stop_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given_up: str | None, status: int
) -> None:
    ended: list[int] = []
    at_the_end = threading.Event()

    def end(with_status: int) -> None:
        ended.append(with_status)
        at_the_end.set()

    monkeypatch.setattr(run, "_STOP_S", 0.01)
    monkeypatch.setattr("os._exit", end)
    dream = Dream(given_up)
    dream.finished.set()
    ran(tmp_path, dream, stop=lambda: at_the_end.wait(GUARD_S))
    assert ended == [status]


class Terminal:
    """A standard error that may be closed."""

    def __init__(self) -> None:
        self.is_open = True

    def isatty(self) -> bool:
        return self.is_open

    def fileno(self) -> int:
        raise OSError

    def write(self, text: str) -> int:
        if not self.is_open:
            raise OSError(5, "Input/output error")
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("on_terminal", [False, True])
def test_sighup_reloads_and_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_terminal: bool
) -> None:
    if on_terminal:
        monkeypatch.setattr(run.sys, "stderr", Terminal())
    signals, dream = NoSignals(), Dream()
    signals.hangup = True
    assert ran(tmp_path, dream, signals=signals) == 0
    assert (dream.reloads, dream.ticks > 3, signals.hangup) == (1, True, False)


def test_a_terminal_that_is_closed_ends_what_began_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, signals, dream = Terminal(), NoSignals(), Dream()
    monkeypatch.setattr(run.sys, "stderr", terminal)
    tick = dream.tick

    def close_it() -> None:
        tick()
        terminal.is_open = False
        signals.hangup = True

    monkeypatch.setattr(dream, "tick", close_it)
    assert ran(tmp_path, dream, signals=signals) == 0
    assert (signals.stop, dream.reloads) == (True, 0)
    assert dream.ticks <= 2
