"""The shim as a child of the daemon: started, listened to, started again; the dream does not wait for it."""

from __future__ import annotations

import http.client
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from backend.errors import EngineUnreachable
from backend.shim.spec import ShimSpec
from backend.utils.child_process import Child, KeptProcess
from backend.utils.logs import EVENT

log = logging.getLogger("dreamloop.shim")

_ROOT = Path(__file__).resolve().parents[2]
_LAUNCHER = _ROOT / "backend" / "utils" / "die_with_parent.py"
_GRACE_S = 3.0
_START_S = 60.0
_SILENT_S = 20.0
_PROBE_S = 2.0
_LOOK_EVERY_S = 5.0


def shim_command(spec: ShimSpec) -> list[str]:
    """How to start it as a program that dies with us."""
    launcher = [sys.executable, str(_LAUNCHER), str(os.getpid()), str(_GRACE_S)]
    return [*launcher, sys.executable, str(_ROOT / "main.py"), "shim", "--spec", spec.written()]


class _Shim(Child):
    """One run of it; ready once it has announced its address."""

    url: str | None = None

    def hear(self, line: str) -> None:
        """Its lines become log records."""
        url = None if self.ready else _announced(line)
        if url is None:
            log.info("%s", line)
        else:
            self.url = url
            self.is_ready()


class ShimProcess(KeptProcess[_Shim]):
    """Keeps one shim running.

    Args:
        spec: What it serves.
        clock: Monotonic seconds.
    """

    def __init__(self, spec: ShimSpec, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__("the HTTP face", clock, start_s=_START_S, silent_s=_SILENT_S)
        self._spec = spec
        self._told: str | None = None
        self._look_at = float("-inf")
        self.problem: str | None = None

    @property
    def url(self) -> str | None:
        """Where browsers find it; None while it does not run."""
        child = self._child
        return None if child is None or child.gone.is_set() else child.url

    def tick(self) -> None:
        """Look after it; to be called often, and never takes longer than a look at a port."""
        now_s = self._clock()
        url = self.url
        if url is not None and url != self._told:
            self._told, self.problem = url, None
            log.info("open %s to watch, %sstudio to look after it", url, url, extra=EVENT)
        if now_s < self._look_at:
            return
        self._look_at = now_s + (_LOOK_EVERY_S if self.url else 0.5)
        try:
            self._kept()
        except EngineUnreachable as error:
            if str(error) != self.problem:
                log.debug("%s", error)
            self.problem = str(error)

    def _new_child(self, now_s: float) -> _Shim:
        # It needs none of our settings, of which some are secret.
        kept = {key: value for key, value in os.environ.items() if not key.startswith("DREAMLOOP_")}
        return _Shim(self.name, shim_command(self._spec), now_s, environment=kept)

    def _answers(self, child: _Shim) -> bool:
        return child.url is not None and _answers_at(child.url)


def _answers_at(url: str) -> bool:
    address = url.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(address, timeout=_PROBE_S)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _announced(line: str) -> str | None:
    """The address in an announcement; None if the line is something else."""
    if not line.startswith("{"):
        return None
    try:
        told = json.loads(line)
    except ValueError:
        return None
    url = told.get("url") if isinstance(told, dict) else None
    return url if isinstance(url, str) else None
