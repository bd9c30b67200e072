"""A real daemon on a small disk of its own, with an engine and pages of its own, and all its lives."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from backend.errors import NoDaemon
from backend.utils.control import ask
from tests.end_to_end.daemon import MAIN, environment
from tests.fakes.fake_comfy import free_port
from tests.faults.small_disk import SmallDisk
from tests.faults.stage import well

Status = dict[str, Any]

PACE = 60
"""A keyframe each half second, of a dream that has one each half minute; so for all that takes its time."""
FPS = 30
DISK = "128m"
BUDGETS_MB = {"frames": 10, "memory": 12, "keyframes": 10}
REST_MB = 25
"""What has no budget of its own: the resume point with the frames ahead, the log of frames, the index."""
_GUARD_S = 120.0
_ANSWER_S = 10.0


def settings(port: int, comfy: Path) -> dict[str, dict[str, Any]]:
    """Small pictures, and what is done by the minute or the hour done by the second or the minute."""
    launch = [sys.executable, "-m", "tests.fakes.comfy_on_port", str(comfy), "--port", str(port)]
    return {
        "comfyui": {"url": f"http://127.0.0.1:{port}", "launch": launch, "connect_timeout_seconds": 1},
        "dream": {"size": "128x64", "seconds_per_keyframe": 30 / PACE, "steps": 2, "seed": 7},
        "display": {"fps": FPS, "buffer_seconds": 2, "keep_seconds": 5},
        "prompts": {
            "folder": str(MAIN.parent / "prompts"),
            "seconds_per_theme": 300 // PACE,
            "seconds_per_prompt": 60 // PACE,
        },
        "memory": {"max_size": f"{BUDGETS_MB['memory']} MB", "max_entries": 500, "cooldown_seconds": 1},
        "storage": {
            "output": "disk/output",
            "status": "disk/status",
            "budget": f"{BUDGETS_MB['frames']} MB",
            "min_free": "12 MB",
            "keyframe_budget": f"{BUDGETS_MB['keyframes']} MB",
        },
        "shim": {"serve": "always", "port": 0},
    }


class Dreamer:
    """Starts and ends daemons on one config; a context, after which none of them is left.

    Attributes:
        ends: How each life ended: its number as ``wait`` gives it.
        began: When the newest life began, by the monotonic clock.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "daemon.log"
        self.port = free_port()
        self.comfy = folder / "comfy"
        self.config_path = folder / "config.yaml"
        self.tree = settings(self.port, self.comfy)
        self.ends: list[int] = []
        self.began = 0.0
        self.disk = SmallDisk(folder / "disk", DISK)
        self._holder: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(self.tree)

    def __enter__(self) -> Dreamer:
        """The disk outlives its daemons: somebody holds it."""
        self._holder = subprocess.Popen([*self.disk.prefix, "sleep", "infinity"])
        disk = self.disk.of(self._holder.pid)
        end = time.monotonic() + _GUARD_S
        while psutil.Process(self._holder.pid).name() != "sleep" or not disk.exists():
            assert time.monotonic() < end, "there is no disk"
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (self._process, self._holder):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(_GUARD_S)

    @property
    def output(self) -> Path:
        return self.disk.seen / "output"

    @property
    def status_path(self) -> Path:
        return self.disk.seen / "status" / "status.json"

    def configure(self, tree: dict[str, dict[str, Any]]) -> None:
        """Writes the settings; JSON is YAML."""
        self.config_path.write_text(json.dumps(tree))

    def start(self) -> None:
        """One more life."""
        assert self._holder is not None
        within = ["nsenter", "--target", str(self._holder.pid), "--user", "--mount", "--preserve-credentials"]
        within.append(f"--wd={MAIN.parent}")
        words = [sys.executable, str(MAIN), "--config", str(self.config_path), "run"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*within, *words], stdout=log, stderr=log, env=environment())
        self.began = time.monotonic()

    def end(self, number: signal.Signals) -> int:
        """Sends a signal and waits; how it ended."""
        assert self._process is not None
        self._process.send_signal(number)
        self.ends.append(self._process.wait(_GUARD_S))
        return self.ends[-1]

    @property
    def process(self) -> psutil.Process:
        """Of the life that is; raises AssertionError where it has ended by itself."""
        assert self._process is not None
        assert self._process.poll() is None, f"it ended by itself: {self._process.returncode}\n{self.said()}"
        return psutil.Process(self._process.pid)

    def engine(self) -> psutil.Process | None:
        """The program that paints, not who looks after it."""
        found = [one for one in self._children() if _words(one)[1:3] == ["-m", "tests.fakes.comfy_on_port"]]
        return found[-1] if found else None

    def shim(self) -> psutil.Process | None:
        """Who serves the pages, not who looks after it."""
        found = [one for one in self._children() if "--spec" in _words(one)]
        return found[-1] if len(found) > 1 else None

    def page(self) -> int | None:
        """The port of the pages, once they are served."""
        shim = self.shim()
        with contextlib.suppress(psutil.Error):
            for one in shim.net_connections("tcp") if shim is not None else ():
                if one.status == psutil.CONN_LISTEN:
                    return int(one.laddr.port)
        return None

    def _children(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return self.process.children(recursive=True)
        return []

    def told(self) -> Status | None:
        """The status by the control socket, which needs no disk; None while nobody answers."""
        with contextlib.suppress(NoDaemon, OSError):
            socket = self.status_path.with_name("control.sock")
            return dict(ask(socket, {"command": "status"}, _ANSWER_S)["status"])
        return None

    def until(self, what: Callable[[Status], bool], guard_s: float = _GUARD_S) -> Status:
        """The first status of the life that is for which ``what`` holds."""
        end = time.monotonic() + guard_s
        status: Status | None = None
        while time.monotonic() < end:
            pid = self.process.pid
            status = self.told()
            if status is not None and status["pid"] == pid and what(status):
                return status
            time.sleep(0.05)
        raise AssertionError(f"it did not come to that:\n{self.said()}\n{status}")

    def dreams_on(self, than: int, guard_s: float = _GUARD_S) -> Status:
        """All is well, with keyframes newer than one."""
        return self.until(lambda now: well(now) and now["dream"]["number"] >= than + 2, guard_s)

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-6000:]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
