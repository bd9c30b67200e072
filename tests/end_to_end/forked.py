"""main.py as a process that was forked, with what a test needs of a `subprocess.Popen`."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

MAIN = Path(__file__).resolve().parents[2] / "main.py"
_GUARD_S = 120.0
_LOOK_EVERY_S = 0.01


class ForkServer:
    """The process that others are forked from. Safe to use from several threads."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.end_to_end.fork_server"],
            cwd=MAIN.parent,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def ask(self, *words: str) -> str:
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write("\t".join(words) + "\n")
            self._process.stdin.flush()
            return self._answer()

    def run(
        self,
        words: Sequence[str],
        out: Path,
        err: Path,
        *,
        environment: Mapping[str, str],
        sickness: str = "",
    ) -> int:
        """``main.py WORDS``; its process id.

        Args:
            words: Those behind main.py.
            out: File that what it says is added to.
            err: File that its complaints are added to.
            environment: All of it.
            sickness: ``module:function`` that makes it ill before it begins.
        """
        wish = {"words": list(words), "out": str(out), "err": str(err)}
        whole = {**wish, "environment": dict(environment), "sickness": sickness}
        return int(self.ask("run", json.dumps(whole)))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=_GUARD_S)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def environment() -> dict[str, str]:
    """Ours, without settings that would leak in, and with no ComfyUI of this machine found by accident."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DREAMLOOP_")}
    return {**kept, "PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1"}


@cache
def fork_server() -> ForkServer:
    """One for all tests of a worker."""
    made = ForkServer(environment())
    atexit.register(made.close)
    return made


class ForkedProcess:
    """``main.py WORDS``.

    Args:
        words: Those behind main.py.
        out: File of what it says.
        err: File of its complaints, which may be the same.
    """

    def __init__(self, words: Sequence[str], out: Path, err: Path) -> None:
        for path in (out, err):
            path.write_bytes(b"")
        self.returncode: int | None = None
        self.pid = fork_server().run(words, out, err, environment=environment())

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        if self.returncode is None and (told := fork_server().ask("poll", str(self.pid))) != "None":
            self.returncode = int(told)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """How it ended."""
        until = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("main.py", timeout)
            time.sleep(_LOOK_EVERY_S)
        return status

    def send_signal(self, number: int) -> None:
        """As `os.kill`, to a process that has not been waited for."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """At once."""
        self.send_signal(signal.SIGKILL)
