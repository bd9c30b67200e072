"""A program that is kept running as a child: started, listened to, restarted, stopped, never orphaned.

:class:`Child` is one run of it; :class:`KeptProcess` decides when the next may start, and whether one hangs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from backend.errors import EngineUnreachable

_log = logging.getLogger(__name__)

_BACKOFF_FIRST_S = 0.5
_BACKOFF_LAST_S = 30.0
_GOOD_RUN_S = 60.0
"""A child that lived this long is restarted at once; others wait twice as long each time."""

_LONGEST_LINE = 4096
_LOOK_S = 0.5

_SILENT_PROBES = 3
_KILL_S = 2.0


class Child:
    """One run of a program, in a process group of its own.

    It has a keeper: a thread that starts the program, reads all it says until it ends, and ends with it.
    Starting it there matters on Linux, where a child may ask the kernel to die with the *thread* that
    started it. A program that watches its standard input can tell by its end that we are gone.

    Args:
        name: What people call it.
        command: The program and its arguments.
        started_s: Now.
        environment: Its own; ours by default.

    Attributes:
        settled: Set once it is ready, or gone.
        gone: Set once it has ended.
        ending: It was told to end.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        started_s: float,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.started_s = started_s
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False
        self.ending = False
        self.silent_since_s: float | None = None
        self.silent_probes = 0
        self.settled = threading.Event()
        self.gone = threading.Event()
        self._command = list(command)
        self._environment = environment
        self._lock = threading.Lock()
        self._doomed = False

    @property
    def status(self) -> int | None:
        """What it ended with."""
        return None if self.process is None else self.process.returncode

    def start(self) -> None:
        """Runs it, from a thread that lives as long as it does."""
        threading.Thread(target=self._keep, name="child-keeper", daemon=True).start()

    def begun(self, pid: int) -> None:
        """It was started; called by the keeper."""

    def hear(self, line: str) -> None:
        """A line that it said, at most 4096 bytes of it; called by the keeper."""

    def is_ready(self) -> None:
        """To be called once it does its work."""
        self.ready = True
        self.settled.set()

    def signal(self, number: signal.Signals) -> None:
        """To its whole process group; one that is still being started is killed instead."""
        self.ending = True
        with self._lock:
            if self.process is None:
                self._doomed = True
            elif self.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, number)

    def end(self, term_s: float, kill_s: float = _KILL_S) -> None:
        """Asks it to end, and kills it with all its children if it does not within ``term_s``."""
        self.signal(signal.SIGTERM)
        if not self.gone.wait(term_s):
            _log.info("%s does not end: killing it", self.name)
            self.signal(signal.SIGKILL)
            self.gone.wait(kill_s)

    def _keep(self) -> None:
        try:
            with self._spawn() as process:
                with self._lock:
                    self.process = process
                    doomed = self._doomed
                if doomed:
                    self.signal(signal.SIGKILL)
                self.begun(process.pid)
                self._drain(process)
        except Exception as error:  # noqa: BLE001 - the top of the thread: whatever it was, the child is gone
            _log.error("%s could not be run: %s", self.name, error)
        finally:
            self.gone.set()
            self.settled.set()
        if self.process is not None and not self.ending:
            _log.warning("%s ended with status %s", self.name, self.status)

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _drain(self, process: subprocess.Popen[bytes]) -> None:
        """Reads to the end, so that the child never blocks on a full pipe.

        Its own children may hold the pipe for longer than it lives: they are not waited for.
        """
        if process.stdout is None:
            return
        output = process.stdout.fileno()
        ready = select.poll()
        ready.register(output, select.POLLIN | select.POLLHUP)
        begun = b""
        while True:
            if not ready.poll(_LOOK_S * 1000):
                if process.poll() is not None:
                    break
                continue
            data = os.read(output, 65536)
            if not data:
                break
            *lines, begun = (begun + data).split(b"\n")
            for line in lines:
                self._tell(line)
            while len(begun) > _LONGEST_LINE:
                self._tell(begun[:_LONGEST_LINE])
                begun = begun[_LONGEST_LINE:]
        self._tell(begun)

    def _tell(self, line: bytes) -> None:
        text = line[:_LONGEST_LINE].decode(errors="replace").rstrip()
        if text:
            self.hear(text)


C = TypeVar("C", bound=Child)


class KeptProcess(ABC, Generic[C]):
    """Keeps one program running, on demand. Safe to use from several threads.

    Args:
        name: What people call it, "the embedded engine".
        clock: Monotonic seconds.
        start_s: A child that is not ready by then hangs.
        silent_s: So does one that leaves three questions in a row, over so long a time, without an answer.
    """

    def __init__(self, name: str, clock: Callable[[], float], *, start_s: float, silent_s: float) -> None:
        self.name = name
        self._clock = clock
        self._start_s = start_s
        self._silent_s = silent_s
        self.crashes = 0
        """How often a child that had served ended, or hung, without having been asked to end."""
        self.last_crash = ""
        self._lock = threading.Lock()
        self._child: C | None = None
        self._backoff_s = 0.0
        self._not_before_s = clock()
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """The running child's process id, which is that of its process group, too."""
        child = self._child
        return None if child is None or child.gone.is_set() or child.process is None else child.process.pid

    @property
    def runs(self) -> bool:
        """Whether a child of ours is there."""
        child = self._child
        return child is not None and not child.gone.is_set()

    def restart(self, term_s: float = 10.0) -> bool:
        """Ends the child, which is killed after ``term_s``, and does not wait for it.

        The next call that misses it starts it anew, at once.

        Returns:
            Whether there is a child of ours.
        """
        with self._lock:
            child = self._child
        if child is None or child.gone.is_set():
            return False
        child.ending = True
        threading.Thread(target=child.end, args=(term_s,), name="child-ending", daemon=True).start()
        return True

    def stop(self, timeout_s: float = 3.0) -> None:
        """Ends it for good: asks, waits a third of the time, then kills it with all its children."""
        with self._lock:
            self._stopped = True
            child = self._child
        if child is not None:
            child.end(timeout_s / 3, timeout_s * 2 / 3)

    @abstractmethod
    def _new_child(self, now_s: float) -> C:
        """A child that is not yet started."""

    @abstractmethod
    def _answers(self, child: C) -> bool:
        """Whether a child that was ready answers; must not take long."""

    def _last_words(self) -> str:
        """What to add where it is told that it ended."""
        return ""

    def _kept(self) -> C:
        """The child that runs, or a new one; a child that hangs is killed first. Raises EngineUnreachable."""
        older = self._child
        child = self._alive_or_started()
        if child is older and self._hangs(child):
            _log.warning("%s hangs: killing it", self.name)
            child.signal(signal.SIGKILL)
            child.gone.wait(_KILL_S)
            child = self._alive_or_started()
        return child

    def _alive_or_started(self) -> C:
        with self._lock:
            if self._stopped:
                raise EngineUnreachable(self.name, "it was stopped")
            if self._child is not None and not self._child.gone.is_set():
                return self._child
            now_s = self._clock()
            if self._child is not None:
                self._back_off(self._child, now_s)
                self._child = None
            if now_s < self._not_before_s:
                wait_s = self._not_before_s - now_s
                cause = f"it ended and is started again in {wait_s:.1f} s{self._last_words()}"
                raise EngineUnreachable(self.name, cause)
            self._child = self._new_child(now_s)
            self._child.start()
            return self._child

    def _hangs(self, child: C) -> bool:
        """Whether a child that runs is beyond hope; EngineUnreachable while it is only silent."""
        now_s = self._clock()
        if child.ending:
            raise EngineUnreachable(self.name, "it is being restarted")
        if not child.ready:
            hangs = now_s - child.started_s >= self._start_s
            child.silent_since_s = child.started_s if hangs else None
            return hangs
        if self._answers(child):
            child.silent_since_s, child.silent_probes = None, 0
            return False
        if child.silent_since_s is None:
            child.silent_since_s = now_s
        child.silent_probes += 1
        silent_s = now_s - child.silent_since_s
        if child.silent_probes >= _SILENT_PROBES and silent_s >= self._silent_s:
            return True
        raise EngineUnreachable(self.name, f"it runs, but has been silent for {silent_s:.0f} s")

    def _back_off(self, child: C, now_s: float) -> None:
        """A child ended: decides when the next one may start."""
        well_until_s = now_s if child.silent_since_s is None else child.silent_since_s
        served_well = well_until_s - child.started_s >= _GOOD_RUN_S
        asked_to_end = child.ending and child.silent_since_s is None
        # One that never served needs a person: to begin anew with all of Dreamloop would not help it.
        if child.ready and not asked_to_end:
            self.crashes += 1
            self.last_crash = f"status {child.status}" if child.silent_since_s is None else "it hung"
        longer_s = min(_BACKOFF_LAST_S, max(_BACKOFF_FIRST_S, 2 * self._backoff_s))
        self._backoff_s = 0.0 if served_well or asked_to_end else longer_s
        self._not_before_s = now_s + self._backoff_s
