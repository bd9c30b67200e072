"""Daemons that start at once, and a display that never looks away from what they write."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backend.utils.picture_check import inspect_picture
from backend.utils.png_text import text_of
from backend.utils.status_schema import Status
from tests.end_to_end import forked
from tests.end_to_end.forked import ForkServer

GUARD_S = 120.0
_LOOK_EVERY_S = 0.01
_MAX_PIXELS = 10_000_000


@pytest.fixture(scope="session")
def fork_server() -> ForkServer:
    """One for all tests of a worker."""
    return forked.fork_server()


class QuickStarts:
    """Starts and ends daemons on one config; a context."""

    def __init__(self, folder: Path, server: ForkServer) -> None:
        self.folder = folder
        self.log = folder / "daemon.log"
        self._server = server
        self._pid = 0

    def __enter__(self) -> QuickStarts:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid:
            self.end(signal.SIGKILL)

    def start(
        self, *, sickness: str = "", environment: Mapping[str, str] | None = None, config: Path | None = None
    ) -> int:
        """A daemon; its process id.

        Args:
            sickness: ``module:function`` that makes the daemon ill before it begins.
            environment: More of it.
            config: Its settings, if not those in the folder.
        """
        words = ["--config", str(config or self.folder / "config.yaml"), "run"]
        whole = {**forked.environment(), **(environment or {})}
        self._pid = self._server.run(words, self.log, self.log, environment=whole, sickness=sickness)
        return self._pid

    @property
    def pid(self) -> int:
        """Of the daemon that runs."""
        return self._pid

    def wait(self) -> int:
        """How the process ends by itself."""
        pid, self._pid = self._pid, 0
        return int(self._server.ask("wait", str(pid)))

    def end(self, number: signal.Signals) -> int:
        """Sends a signal and waits; how the process ended."""
        os.kill(self._pid, number)
        return self.wait()

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text()[-4000:] if self.log.exists() else ""

    def newest_pid(self) -> int:
        """Which daemon has written the status; 0 if none has."""
        return int(self.status()["pid"]) if (self.folder / "status" / "status.json").exists() else 0

    def status(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "status" / "status.json").read_bytes()))

    def wait_for(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status of the daemon that runs for which ``what`` holds."""
        until = time.monotonic() + GUARD_S
        while time.monotonic() < until:
            with contextlib.suppress(FileNotFoundError, ValueError):  # dust from before; displays judge it
                status = self.status()
                if status["pid"] == self._pid and what(status):
                    return status
            time.sleep(0.01)
        raise AssertionError(f"it did not come to that:\n{self.said()}\n{self.status()}")


@dataclass
class Display:
    """What a display has seen, and what was wrong with it.

    Attributes:
        chain: The keyframes that were shown: their numbers, and their parents' as their pictures tell.
    """

    folder: Path
    looks: int = 0
    wrong: list[str] = field(default_factory=list)
    chain: dict[int, tuple[int, ...]] = field(default_factory=dict)
    newest: Status | None = None
    _current: tuple[int, int] = (0, 0)

    def look(self) -> None:
        """I1 and I2, at this instant."""
        self.looks += 1
        try:
            status = Status.model_validate_json((self.folder / "status" / "status.json").read_bytes())
            self._look_at_current(self.folder / "output" / "current_frame.png")
        except FileNotFoundError as error:
            if self.newest is not None:
                self.wrong.append(f"gone: {error.filename}")
            return
        if self.newest is not None:
            self._compare(self.newest, status)
        is_new = self.newest is None or status.frame != self.newest.frame
        self.newest = status
        if status.frame is not None and is_new:
            self._look_at(status)

    def _look_at_current(self, path: Path) -> None:
        """Decoded whenever it is another one."""
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if (found.st_ino, found.st_mtime_ns) != self._current:
                inspect_picture(file.read(), max_pixels=_MAX_PIXELS)
                self._current = found.st_ino, found.st_mtime_ns

    def _compare(self, before: Status, now: Status) -> None:
        if before.frame and (now.frame is None or now.frame.sequence < before.frame.sequence):
            self.wrong.append(f"the frame went from {before.frame} to {now.frame}")
        if now.boot_id == before.boot_id and now.sequence < before.sequence:
            self.wrong.append(f"the status went from {before.sequence} to {now.sequence}")
        for key in ("number", "keyframes"):
            if getattr(now.dream, key) < getattr(before.dream, key):
                told = f"{getattr(before.dream, key)} to {getattr(now.dream, key)}"
                self.wrong.append(f"dream.{key} went from {told}, though it was told")

    def _look_at(self, status: Status) -> None:
        frame = status.frame
        assert frame is not None
        data = (self.folder / "output" / frame.file).read_bytes()
        if hashlib.sha256(data).hexdigest() != frame.sha256:
            self.wrong.append(f"{frame.file} is not what the status says")
        if frame.kind == "title" and status.dream.number:
            self.wrong.append("there is a title though there was a dream")
        if "dreamloop" in (texts := text_of(data)):
            told = json.loads(texts["dreamloop"])
            self.chain[told["sequence"]] = tuple(told["parents"])


@contextmanager
def watched(folder: Path) -> Iterator[Display]:
    """A display that looks all the while; what it saw wrong is raised at the end."""
    display, done = Display(folder), threading.Event()

    def run() -> None:
        while not done.wait(_LOOK_EVERY_S):
            try:
                display.look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the test must hear of it
                display.wrong.append(repr(error))
            del display.wrong[20:]

    thread = threading.Thread(target=run, name="display", daemon=True)
    thread.start()
    try:
        yield display
    finally:
        done.set()
        thread.join(GUARD_S)
    assert display.wrong == [], "\n".join(display.wrong)
