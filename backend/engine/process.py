"""The embedded engine as a child process: started, listened to, restarted, stopped, never orphaned."""

from __future__ import annotations

import http.client
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from backend.errors import EngineStarting, EngineUnreachable
from backend.utils.child_process import Child, KeptProcess

_child_log = logging.getLogger("dreamloop.engine")

_PROGRAM = Path(__file__).resolve().parents[2] / "main.py"

_PROBE_S = 2.0
_SILENT_S = 15.0
"""A child that answers nothing for so long is hung."""

_START_S = 120.0
"""So is one that has not announced itself by then; on a slow disk the packages alone take half a minute."""


def engine_command(folder: Path) -> list[str]:
    """How to start the engine as a program that dies with us."""
    options = ["--port", "0", "--folder", str(folder), "--parent-watch"]
    return [sys.executable, str(_PROGRAM), "engine", *options]


class _Engine(Child):
    """One run of the engine; ready once it has announced its port."""

    port: int | None = None

    def __init__(self, name: str, command: Sequence[str], started_s: float) -> None:
        # It needs none of our settings, of which some are secret.
        kept = {key: value for key, value in os.environ.items() if not key.startswith("DREAMLOOP_")}
        super().__init__(name, command, started_s, environment=kept)

    def hear(self, line: str) -> None:
        """Its lines become log records."""
        port = None if self.ready else announced_port(line)
        if port is None:
            _child_log.info("%s", line)
        else:
            self.port = port
            self.is_ready()


class EngineProcess(KeptProcess[_Engine]):
    """Keeps one embedded engine running. Safe to use from several threads.

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
        super().__init__("the embedded engine", clock, start_s=_START_S, silent_s=_SILENT_S)
        self._command = list(command or engine_command(folder))
        self._answers_at = answers or answers_at

    @property
    def url(self) -> str | None:
        """Where the engine answers; None while it does not run or has not announced itself."""
        child = self._child
        if child is None or child.gone.is_set() or child.port is None:
            return None
        return f"http://127.0.0.1:{child.port}"

    def ensure_running(self, wait_s: float = 0.0) -> str:
        """Starts the engine if it does not run and the back-off allows it; its URL.

        To be called whenever the engine is missed: one that runs is asked for an answer, and is killed and
        started anew once it is certain that it hangs.

        Args:
            wait_s: How long to wait for it to announce itself.

        Raises:
            EngineUnreachable: Not there, or without an answer; ask again later.
        """
        child = self._kept()
        child.settled.wait(wait_s)
        url = self.url
        if url is None:
            if child.gone.is_set():
                raise EngineUnreachable("the embedded engine", "it ended at once; its log says why")
            raise EngineStarting("the embedded engine", "it is starting")
        return url

    def _new_child(self, now_s: float) -> _Engine:
        return _Engine(self.name, self._command, now_s)

    def _answers(self, child: _Engine) -> bool:
        return child.port is not None and self._answers_at(child.port)


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
