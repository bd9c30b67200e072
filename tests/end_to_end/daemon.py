"""main.py as a process, watched as a display would watch it."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from backend.utils.picture_check import inspect_picture
from tests.end_to_end.forked import MAIN, ForkedProcess, environment

_GUARD_S = 90.0
_CHILDREN_EVERY_S = 0.5
_QUICK = {
    "dream": {"size": "256x144", "seconds_per_keyframe": 1, "seed": 7},
    "display": {"fps": 20, "buffer_seconds": 3, "keep_seconds": 5},
}


def write_config(folder: Path, **sections: dict[str, Any]) -> Path:
    """A config.yaml that keeps everything in ``folder`` and dreams small and fast."""
    tree: dict[str, dict[str, Any]] = {
        "storage": {"output": "output", "status": "status"},
        "shim": {"serve": "never"},
        "prompts": {"folder": str(MAIN.parent / "prompts")},
    }
    for source in (_QUICK, sections):
        for section, values in source.items():
            tree.setdefault(section, {}).update(values)
    path = folder / "config.yaml"
    path.write_text(json.dumps(tree))  # JSON is YAML
    return path


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    told = ["--config", str(folder / "config.yaml"), *words]
    with tempfile.TemporaryDirectory() as beside:
        out, err = Path(beside) / "out", Path(beside) / "err"
        process = ForkedProcess(told, out, err)
        try:
            status = process.wait(_GUARD_S)
        finally:
            process.kill()
        return subprocess.CompletedProcess(told, status, out.read_text(), err.read_text())


@dataclass
class Daemon:
    """A running dream."""

    folder: Path
    process: subprocess.Popen[bytes] | ForkedProcess
    log: Path
    seen_children: set[int] = field(default_factory=set)
    _children_due: float = 0.0

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def status_path(self) -> Path:
        return self.folder / "status" / "status.json"

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.status_path.read_bytes()))

    def current(self) -> bytes:
        return (self.output / "current_frame.png").read_bytes()

    def frame_of(self, status: dict[str, Any]) -> bytes:
        """The file that a status names; it must match its SHA-256."""
        data = (self.output / status["frame"]["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == status["frame"]["sha256"]
        return data

    def wait_for(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status for which ``what`` holds."""
        until = time.monotonic() + _GUARD_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended by itself:\n{self.log.read_text()}")
            if self.status_path.exists() and (status := self.status())["pid"] == self.process.pid:
                held = what(status)
                self._look_for_children(at_once=held)
                if held:
                    return status
            time.sleep(0.02)
        raise AssertionError(f"it did not come to that:\n{self.log.read_text()}\n{self.status()}")

    def _look_for_children(self, *, at_once: bool) -> None:
        """Now and then, since every process of the machine is looked at for it."""
        now = time.monotonic()
        if at_once or now >= self._children_due:
            self._children_due = now + _CHILDREN_EVERY_S
            self.seen_children.update(
                child.pid for child in psutil.Process(self.process.pid).children(recursive=True)
            )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(_GUARD_S)


@contextmanager
def daemon(folder: Path, *words: str, prefix: Sequence[str] = (), forked: bool = True) -> Iterator[Daemon]:
    """Start ``main.py run`` on the config in ``folder``; it is gone at the end, whatever happens.

    ``prefix`` are the words of a command that starts it in other surroundings, in its own process. With
    neither that nor ``forked=False`` the process begins as main.py, with its imports done.
    """
    log = folder / "daemon.log"
    told = ["--config", str(folder / "config.yaml"), "run", *words]
    process = ForkedProcess(told, log, log) if forked and not prefix else _started(told, log, prefix)
    running = Daemon(folder, process, log)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(_GUARD_S)


def _started(words: Sequence[str], log: Path, prefix: Sequence[str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        whole = [*prefix, sys.executable, str(MAIN), *words]
        return subprocess.Popen(whole, stdout=file, stderr=file, env=environment())


def is_whole(data: bytes) -> bool:
    """Whether a display could show it; raises PictureRejected if not."""
    return inspect_picture(data, max_pixels=10_000_000).width > 0
