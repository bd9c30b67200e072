"""The daemon under the soak: a child process with several lives, watched as a display would watch it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.errors import PictureRejected
from backend.utils.picture_check import inspect_picture
from benchmarks.counting_proxy import CountingProxy

ROOT = Path(__file__).resolve().parent.parent
_UNKNOWN_AT_A_KILL = 2
"""Keyframes that a killed daemon had asked for but cannot have counted: one at work, one told too late."""
_MAX_PIXELS = 64_000_000
_POLL_S = 0.25
_STOP_S = 30.0


@dataclass(frozen=True)
class Boot:
    """One life of the daemon, as its last status told it."""

    asked: int
    keyframes: int
    rejected: int
    failed: int
    in_betweens: int
    frames_shown: int
    killed: bool

    @property
    def unaccounted(self) -> int:
        """Keyframes that were asked for and of which nothing is known, beyond what a stop explains."""
        open_at_the_end = _UNKNOWN_AT_A_KILL if self.killed else 1
        return max(0, self.asked - self.keyframes - self.rejected - self.failed - open_at_the_end)


@dataclass
class Watched:
    """What was seen of the daemon's files, as a display sees them."""

    sequence: int = 0
    steps_back: int = 0
    bad_pictures: int = 0
    states: set[str] = field(default_factory=set)

    def look(self, folder: Path) -> dict[str, Any] | None:
        """Reads the status, and notes whether the display goes backwards."""
        try:
            status: dict[str, Any] = json.loads((folder / "status" / "status.json").read_bytes())
        except (OSError, ValueError):
            return None
        sequence = (status["frame"] or {}).get("sequence", 0)
        self.steps_back += sequence < self.sequence
        self.sequence = max(self.sequence, sequence)
        self.states.add(f"{status['state']}/{status['reason']['code']}")
        return status

    def look_at_picture(self, folder: Path) -> None:
        """Decodes the newest picture."""
        try:
            inspect_picture((folder / "output" / "current_frame.png").read_bytes(), max_pixels=_MAX_PIXELS)
        except (OSError, PictureRejected):
            self.bad_pictures += 1


class Daemon:
    """``main.py run`` as a child process, in a folder of its own."""

    def __init__(self, folder: Path, url: str, size: str) -> None:
        self.folder = folder
        self._log = folder / "log"
        settings = {
            "comfyui": {"url": url},
            "dream": {"size": size},
            "storage": {"output": "output", "status": "status"},
            "prompts": {"folder": str(ROOT / "prompts")},
        }
        (folder / "config.yaml").write_text(json.dumps(settings))  # JSON is YAML
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begins another life."""
        (self.folder / "status" / "status.json").unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(ROOT / "main.py"), "--config", str(self.folder / "config.yaml"), "run"],
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def end(self, number: int) -> int:
        """Sends a signal and waits; returns the exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        try:
            return self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(_STOP_S)

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-2000:]


@dataclass
class Soak:
    """One run: the lives of the daemon one after the other, with what happens in between."""

    daemon: Daemon
    proxy: CountingProxy
    watched: Watched = field(default_factory=Watched)
    boots: list[Boot] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    _asked_before: int = 0

    def run(self, minutes: float, events: list[tuple[float, Callable[[], None]]]) -> None:
        """Dreams for so long; ``events`` are minutes and what to do then."""
        start = time.monotonic()
        self.daemon.start()
        for moment, happen in [*sorted(events, key=lambda event: event[0]), (minutes, self._stop)]:
            self._watch_until(start + moment * 60)
            happen()

    def kill(self) -> None:
        """Ends the daemon, without a word every other time, and starts it again."""
        self._end(signal.SIGTERM if len(self.boots) % 2 else signal.SIGKILL)
        self.daemon.start()

    def _stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        self.exits.append(self.daemon.end(number))
        status = self.watched.look(self.daemon.folder)
        asked, dream = self.proxy.asked.keyframes, status["dream"] if status else {}
        self.boots.append(
            Boot(
                asked=asked - self._asked_before,
                keyframes=dream.get("keyframes", 0),
                rejected=dream.get("rejected", 0),
                failed=dream.get("failed_jobs", 0),
                in_betweens=dream.get("in_betweens", 0),
                frames_shown=status["display"]["frames_shown"] if status else 0,
                killed=number is signal.SIGKILL,
            )
        )
        self._asked_before = asked

    def _watch_until(self, moment: float) -> None:
        while (left_s := moment - time.monotonic()) > 0:
            if not self.daemon.is_running:
                raise SystemExit(f"the daemon ended by itself:\n{self.daemon.last_words()}")
            if self.watched.look(self.daemon.folder) and self.watched.sequence:
                self.watched.look_at_picture(self.daemon.folder)
            time.sleep(min(_POLL_S, left_s))
