"""The embedded engine as a child process: started, listened to, restarted, stopped, never orphaned."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from backend.errors import EngineUnreachable

_log = logging.getLogger(__name__)
_child_log = logging.getLogger("dreamloop.engine")

_PROGRAM = Path(__file__).resolve().parents[2] / "main.py"

_BACKOFF_FIRST_S = 0.5
_BACKOFF_LAST_S = 30.0
_GOOD_RUN_S = 60.0
"""A child that lived this long is restarted at once; others wait twice as long each time."""

_LONGEST_LINE = 4096

_PROBE_S = 2.0
_SILENT_PROBES = 3
_SILENT_S = 15.0
"""A child that leaves so many questions in a row, over so long a time, without an answer is hung."""

_START_S = 120.0
"""So is one that has not announced itself by then; on a slow disk the packages alone take half a minute."""

_KILL_S = 2.0


def engine_command(folder: Path) -> list[str]:
    """How to start the engine as a program that dies with us."""
    options = ["--port", "0", "--folder", str(folder), "--parent-watch"]
    return [sys.executable, str(_PROGRAM), "engine", *options]


@dataclass
class _Child:
    """One run of the program. ``port`` is set once it has announced itself, ``silent_*`` while it is deaf."""

    started_s: float
    process: subprocess.Popen[bytes] | None = None
    port: int | None = None
    silent_since_s: float | None = None
    silent_probes: int = 0
    announced: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)


class EngineProcess:
    """Keeps one embedded engine running.

    Each run has a keeper: a thread that starts the program, reads all it says until it ends, and ends with
    it. Starting it there matters on Linux, where the child asks the kernel to die with the *thread* that
    started it. Safe to use from several threads.

    Args:
        folder: Root of the engine's files.
        command: What to start instead of ``main.py engine``; it must announce itself the same way, with
            one line of JSON, ``{"port": ..., "pid": ...}``, and end when its standard input does.
        clock: Monotonic seconds, for the back-off between restarts.
        answers: Whether the engine at a port answers; asked while it paints, too, and must not take long.
    """

    def __init__(
        self,
        folder: Path,
        *,
        command: Sequence[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        answers: Callable[[int], bool] | None = None,
    ) -> None:
        self._command = list(command or engine_command(folder))
        self._clock = clock
        self._answers = answers or answers_at
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._backoff_s = 0.0
        self._not_before_s = clock()
        self._stopped = False

    @property
    def url(self) -> str | None:
        """Where the engine answers; None while it does not run or has not announced itself."""
        child = self._child
        if child is None or child.gone.is_set() or child.port is None:
            return None
        return f"http://127.0.0.1:{child.port}"

    @property
    def pid(self) -> int | None:
        """The running child's process id."""
        child = self._child
        return None if child is None or child.gone.is_set() or child.process is None else child.process.pid

    def ensure_running(self, wait_s: float = 0.0) -> str:
        """Starts the engine if it does not run and the back-off allows it; its URL.

        To be called whenever the engine is missed: one that runs is asked for an answer, and is killed and
        started anew once it is certain that it hangs.

        Args:
            wait_s: How long to wait for it to announce itself.

        Raises:
            EngineUnreachable: Not there, or without an answer; ask again later.
        """
        older = self._child
        child = self._alive_or_started()
        if child is older and self._hangs(child):
            _log.warning("the embedded engine hangs: killing it")
            self._signal(child, signal.SIGKILL)
            child.gone.wait(_KILL_S)
            child = self._alive_or_started()
        child.announced.wait(wait_s)
        url = self.url
        if url is None:
            cause = "it ended at once; its log says why" if child.gone.is_set() else "it is starting"
            raise EngineUnreachable("the embedded engine", cause)
        return url

    def stop(self, timeout_s: float = 3.0) -> None:
        """Ends the engine for good: asks, waits a third of the time, then kills it with all its children."""
        with self._lock:
            self._stopped = True
            child = self._child
        if child is None:
            return
        self._signal(child, signal.SIGTERM)
        if not child.gone.wait(timeout_s / 3):
            _log.info("the embedded engine does not end: killing it")
            self._signal(child, signal.SIGKILL)
            child.gone.wait(timeout_s * 2 / 3)

    def _alive_or_started(self) -> _Child:
        with self._lock:
            if self._stopped:
                raise EngineUnreachable("the embedded engine", "it was stopped")
            if self._child is not None and not self._child.gone.is_set():
                return self._child
            now_s = self._clock()
            if self._child is not None:
                silent_since_s = self._child.silent_since_s
                well_until_s = now_s if silent_since_s is None else silent_since_s
                self._back_off(well_until_s - self._child.started_s, now_s)
                self._child = None
            if now_s < self._not_before_s:
                wait_s = self._not_before_s - now_s
                raise EngineUnreachable(
                    "the embedded engine", f"it ended and is started again in {wait_s:.1f} s"
                )
            self._child = self._start(now_s)
            return self._child

    def _hangs(self, child: _Child) -> bool:
        """Whether a child that runs is beyond hope; EngineUnreachable while it is only silent."""
        now_s = self._clock()
        if child.port is None:
            hangs = now_s - child.started_s >= _START_S
            child.silent_since_s = child.started_s if hangs else None
            return hangs
        if self._answers(child.port):
            child.silent_since_s, child.silent_probes = None, 0
            return False
        if child.silent_since_s is None:
            child.silent_since_s = now_s
        child.silent_probes += 1
        silent_s = now_s - child.silent_since_s
        if child.silent_probes >= _SILENT_PROBES and silent_s >= _SILENT_S:
            return True
        raise EngineUnreachable("the embedded engine", f"it runs, but has been silent for {silent_s:.0f} s")

    def _back_off(self, lived_s: float, now_s: float) -> None:
        """A child ended unasked: decides when the next one may start."""
        longer_s = min(_BACKOFF_LAST_S, max(_BACKOFF_FIRST_S, 2 * self._backoff_s))
        self._backoff_s = 0.0 if lived_s >= _GOOD_RUN_S else longer_s
        self._not_before_s = now_s + self._backoff_s

    def _start(self, now_s: float) -> _Child:
        child = _Child(now_s)
        threading.Thread(target=self._keep, args=(child,), name="engine-keeper", daemon=True).start()
        return child

    def _keep(self, child: _Child) -> None:
        try:
            with self._spawn() as process:
                child.process = process
                if self._stopped:  # while it was being started
                    self._signal(child, signal.SIGKILL)
                if process.stdout is not None:
                    self._drain(process.stdout, child)
        except Exception as error:  # noqa: BLE001 - the top of the thread: whatever it was, the child is gone
            _log.error("the embedded engine could not be run: %s", error)
        finally:
            child.gone.set()
            child.announced.set()
        if child.process is not None and not self._stopped:
            _log.warning("the embedded engine ended with status %s", child.process.returncode)

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _drain(self, output: IO[bytes], child: _Child) -> None:
        """Reads to the end, so that the child never blocks on a full pipe; its lines become log records."""
        while line := output.readline(_LONGEST_LINE):
            text = line.decode(errors="replace").rstrip()
            port = None if child.port is not None else announced_port(text)
            if port is not None:
                child.port = port
                child.announced.set()
            elif text:
                _child_log.info("%s", text)

    @staticmethod
    def _signal(child: _Child, number: signal.Signals) -> None:
        """To the child's whole process group, which is its own."""
        if child.process is not None and child.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.process.pid, number)


def answers_at(port: int, within_s: float = _PROBE_S) -> bool:
    """Whether the engine at a port of this machine answers; it does so while it paints, however long."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=within_s)
    try:
        connection.request("GET", "/system_stats")
        return connection.getresponse().status > 0
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def announced_port(line: str) -> int | None:
    """The port in an announcement; None if the line is something else."""
    if not line.startswith("{"):
        return None
    try:
        told = json.loads(line)
    except ValueError:
        return None
    port = told.get("port") if isinstance(told, dict) else None
    return port if isinstance(port, int) and 0 < port < 65536 else None
