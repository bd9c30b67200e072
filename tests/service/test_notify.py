from __future__ import annotations

import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.cli.herald import Herald
from backend.service.notify import ServiceManager


class Ear:
    """A service manager that listens."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self) -> list[list[str]]:
        """All messages since the last time, each as its lines."""
        found: list[list[str]] = []
        while True:
            try:
                found.append(self._socket.recv(65536).decode().split("\n"))
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dl") as name:  # paths of sockets are short
        yield Path(name)


@pytest.fixture
def ear(folder: Path) -> Iterator[Ear]:
    ear = Ear(str(folder / "notify"))
    yield ear
    ear.close()


def manager(folder: Path, watchdog_s: float | None = None) -> ServiceManager:
    return ServiceManager(str(folder / "notify"), watchdog_s)


def test_each_word_goes_out_as_systemd_reads_it(folder: Path, ear: Ear) -> None:
    told = manager(folder)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    told.ready()
    told.alive()
    told.stopping()
    told.status("dreaming\nof the sea")
    told.reloading()
    *plain, reloading = ear.heard()
    assert plain == [["READY=1"], ["WATCHDOG=1"], ["STOPPING=1"], ["STATUS=dreaming of the sea"]]
    assert reloading[0] == "RELOADING=1"
    name, _, microseconds = reloading[1].partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.skipif(not os.path.exists("/proc/net/unix"), reason="abstract sockets are Linux's")
def test_an_abstract_socket_is_reached_too() -> None:
    name = f"dreamloop-test-{os.getpid()}"
    ear = Ear(f"\0{name}")
    try:
        ServiceManager(f"@{name}").ready()
        assert ear.heard() == [["READY=1"]]
    finally:
        ear.close()


def test_the_environment_names_it_and_is_emptied_for_our_children() -> None:
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "45000000", "WATCHDOG_PID": "7", "HOME": "/root"}
    found = ServiceManager.taken_from(environ, pid=7)
    assert (found.there, found.watchdog_s) == (True, 45.0)
    assert environ == {"HOME": "/root"}


@pytest.mark.parametrize(
    ("environ", "there", "watchdog_s"),
    [
        ({}, False, None),
        ({"NOTIFY_SOCKET": ""}, False, None),
        ({"NOTIFY_SOCKET": "@"}, False, None),
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, False, None),
        ({"NOTIFY_SOCKET": "/x"}, True, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "0"}, True, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "many"}, True, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000"}, True, 1.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "8"}, True, None),
        ({"WATCHDOG_USEC": "1000000"}, False, None),
    ],
)
def test_what_makes_no_sense_in_the_environment_is_passed_over(
    environ: dict[str, str], there: bool, watchdog_s: float | None
) -> None:
    found = ServiceManager.taken_from(environ, pid=7)
    assert (found.there, found.watchdog_s) == (there, watchdog_s)


def test_a_manager_that_does_not_listen_is_complained_of_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = manager(folder)
    for _ in range(3):
        told.alive()
    assert len(caplog.records) == 1


class Voice:
    """A herald, its clock, and what is heard of it."""

    def __init__(self, folder: Path, ear: Ear, watchdog_s: float | None = 40.0) -> None:
        self.now = 0.0
        self.herald = Herald(manager(folder, watchdog_s), lambda: self.now)
        self.line = "dreaming"
        self._ear = ear

    def live(self, seconds: float, stalled: str | None = None) -> list[str]:
        """Five turns a second; gives the first line of all that is heard."""
        until, heard = self.now + seconds, [lines[0] for lines in self._ear.heard()]
        while self.now < until:
            self.now += 0.2
            self.herald.turn(stalled, lambda: self.line)
            heard += [lines[0] for lines in self._ear.heard()]
        return heard


def test_a_watchdog_is_told_of_life_four_times_in_its_time(folder: Path, ear: Ear) -> None:
    heard = Voice(folder, ear).live(120.0)
    assert 11 <= heard.count("WATCHDOG=1") <= 13


def test_a_watchdog_is_told_nothing_while_something_hangs(
    folder: Path, ear: Ear, caplog: pytest.LogCaptureFixture
) -> None:
    voice = Voice(folder, ear)
    voice.live(1.0)
    with caplog.at_level(logging.ERROR):
        heard = voice.live(100.0, stalled="the display stands still")
    assert "WATCHDOG=1" not in heard
    assert heard == ["STATUS=the display stands still; dreaming"]
    assert [record.getMessage() for record in caplog.records] == [
        "the watchdog is not told of life: the display stands still"
    ]
    assert "WATCHDOG=1" in voice.live(1.0)


def test_without_a_watchdog_only_the_status_is_told_and_only_where_it_is_another(
    folder: Path, ear: Ear
) -> None:
    voice = Voice(folder, ear, watchdog_s=None)
    assert voice.live(60.0) == ["STATUS=dreaming"]
    voice.line = "resting"
    assert voice.live(60.0) == ["STATUS=resting"]


def test_a_reload_is_over_when_it_is_done(folder: Path, ear: Ear) -> None:
    voice = Voice(folder, ear, watchdog_s=None)
    voice.live(1.0)
    done: list[int] = []
    voice.herald.reloading(lambda: bool(done))
    assert voice.live(3.0) == ["RELOADING=1"]
    done.append(1)
    assert voice.live(3.0) == ["READY=1"]
    assert voice.live(3.0) == []
