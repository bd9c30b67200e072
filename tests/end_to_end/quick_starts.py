"""Daemons that start at once, and a display that never looks away from what they write."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.utils.picture_check import inspect_picture
from backend.utils.png_text import text_of
from backend.utils.status_schema import Status
from tests.end_to_end.daemon import MAIN, environment

GUARD_S = 120.0
_LOOK_EVERY_S = 0.004
_MAX_PIXELS = 10_000_000


class QuickStarts:
    """Starts and ends daemons on one config; a context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "daemon.log"
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.end_to_end.fork_server"],
            cwd=MAIN.parent,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._pid = 0
        assert self._answer() == "ready"

    def __enter__(self) -> QuickStarts:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid:
            self.end(signal.SIGKILL)
        self._server.kill()
        self._server.communicate(timeout=GUARD_S)

    def start(self) -> int:
        """A daemon; its process id."""
        self._pid = int(self._ask("start", str(self.folder / "config.yaml"), str(self.log)))
        return self._pid

    def end(self, number: signal.Signals) -> int:
        """Sends a signal and waits; how the process ended."""
        pid, self._pid = self._pid, 0
        os.kill(pid, number)
        return int(self._ask("wait", str(pid)))

    def status(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "status" / "status.json").read_bytes()))

    def wait_for(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status of the daemon that runs for which ``what`` holds."""
        until = time.monotonic() + GUARD_S
        while time.monotonic() < until:
            if (self.folder / "status" / "status.json").exists():
                status = self.status()
                if status["pid"] == self._pid and what(status):
                    return status
            time.sleep(0.01)
        raise AssertionError(f"it did not come to that:\n{self.log.read_text()[-4000:]}\n{self.status()}")

    def _ask(self, *words: str) -> str:
        assert self._server.stdin is not None
        self._server.stdin.write("\t".join(words) + "\n")
        self._server.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()


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

    def look(self) -> None:
        """I1 and I2, at this instant."""
        self.looks += 1
        try:
            status = Status.model_validate_json((self.folder / "status" / "status.json").read_bytes())
            current = (self.folder / "output" / "current_frame.png").read_bytes()
        except FileNotFoundError as error:
            if self.newest is not None:
                self.wrong.append(f"gone: {error.filename}")
            return
        inspect_picture(current, max_pixels=_MAX_PIXELS)
        if self.newest is not None:
            self._compare(self.newest, status)
        is_new = self.newest is None or status.frame != self.newest.frame
        self.newest = status
        if status.frame is not None and is_new:
            self._look_at(status)

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
