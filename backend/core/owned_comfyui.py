"""A ComfyUI of our own: started by the user's command, kept running, and gone when we are."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path

from backend.core.comfyui_answers import system_stats
from backend.core.comfyui_http import AnswerLost, ComfyHttp, HttpLimits
from backend.errors import EngineAnswerError, EngineStarting, EngineUnreachable, StorageError
from backend.utils import die_with_parent
from backend.utils.child_process import Child, KeptProcess
from backend.utils.orphans import MARK, end_orphans, note_leader
from backend.utils.rotating_log import RotatingLog

log = logging.getLogger(__name__)

NAME = "our ComfyUI"

_START_S = 600.0
"""Until it answers: at the first start, nodes of others may install whole packages."""

_SILENT_S = 60.0
"""A server that loads a large model from a slow disk may answer nothing for a while, and be well."""

_GRACE_S = 3.0
_LOOK_S = 0.25
_LOOK_WITHIN_S = 2.0
_LAST_LINES = 3
_NOT_FOR_IT = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID")


class Presence(Enum):
    """Who is at an address."""

    NOBODY = "nobody"
    COMFYUI = "a ComfyUI"
    SILENT = "a program that does not answer"
    OTHER = "a program that is no ComfyUI"


class _ComfyChild(Child):
    """One run of the command, by way of the launcher that lets it die with us."""

    def __init__(
        self, command: Sequence[str], started_s: float, token: str, file: RotatingLog, note: Path
    ) -> None:
        launcher = [sys.executable, "-I", "-S", str(Path(die_with_parent.__file__).resolve())]
        options = [str(os.getpid()), str(_GRACE_S)]
        super().__init__(
            NAME, [*launcher, *options, *command], started_s, environment=_environment(os.environ, token)
        )
        self._file = file
        self._note = note
        self._told_status: int | None = None

    @property
    def status(self) -> int | None:
        """What the command ended with; the launcher ends by a signal, always."""
        return super().status if self._told_status is None else self._told_status

    def begun(self, pid: int) -> None:
        """Notes the launcher, for a later run that must end what we could not."""
        try:
            note_leader(self._note, pid)
        except StorageError as error:
            log.warning("%s", error)

    def hear(self, line: str) -> None:
        """Its lines go into its own file."""
        told = line.removeprefix(die_with_parent.ENDED)
        if told != line and told.lstrip("-").isdecimal():
            self._told_status = int(told)
        self._file.write(line)


class OwnedComfyUI(KeptProcess[_ComfyChild]):
    """Keeps one ComfyUI running at an address. Safe to use from several threads.

    A server that others have started and that answers there is used and left alone. If another program
    has the port, nothing is started. Its output goes to ``comfyui.log`` (and ``comfyui.log.1``, 5 MB each).

    Args:
        command: Program and arguments, run as they are written: the port that ``url`` names is the user's to
            give, with ``--port``. A word without a path is looked for in PATH.
        url: Where it will answer.
        folder: For its log.
        cpu: Whether to add ``--cpu``.
        token: Marks its processes, so that a later run knows those that we could not end. The same at each
            start, another for each Dreamloop on this machine.
        clock: Monotonic seconds.
        look: Says who is at an address; for tests.
        start_s: Until it must answer.
        silent_s: After so long without an answer, and three questions, it hangs.
    """

    def __init__(
        self,
        command: Sequence[str],
        url: str,
        folder: Path,
        *,
        cpu: bool = False,
        token: str,
        clock: Callable[[], float] = time.monotonic,
        look: Callable[[str], Presence] | None = None,
        start_s: float = _START_S,
        silent_s: float = _SILENT_S,
    ) -> None:
        super().__init__(NAME, clock, start_s=start_s, silent_s=silent_s)
        self.url = url.rstrip("/")
        self._command = [*command, "--cpu"] if cpu and "--cpu" not in command else list(command)
        self._token = token
        # The doctor's own must not be taken for the daemon's, which may run at the same time.
        self._note = folder / f"comfyui-{token}.pid"
        self._file = RotatingLog(folder / "comfyui.log")
        self._look = look or who_is_at
        self._starting = threading.Lock()

    def ensure_running(self, wait_s: float = 0.0) -> str:
        """Starts it if nobody answers and the back-off allows it; its URL.

        To be called whenever it is missed: one that runs is asked for an answer, and is killed and started
        anew once it is certain that it hangs.

        Args:
            wait_s: How long to wait until it answers.

        Raises:
            EngineStarting: It runs, but has not answered yet.
            EngineUnreachable: Not there, without an answer, or the port is another program's.
        """
        with self._starting:
            if not self.runs and self._is_there():
                return self.url
            child = self._kept()
        self._await_answer(child, wait_s)
        if child.gone.is_set():
            raise EngineUnreachable(NAME, f"it ended at once{self._last_words()}")
        if not child.ready:
            cause = f"it is starting, and does not answer at {self.url} yet{self._last_words()}"
            raise EngineStarting(NAME, cause)
        return self.url

    def stop(self, timeout_s: float = 3.0) -> None:
        """Ends it for good, and takes back the note of it."""
        super().stop(timeout_s)
        if not self.runs:
            with contextlib.suppress(OSError):
                self._note.unlink()

    def _is_there(self) -> bool:
        """Whether somebody else's answers; what an earlier run of ours has left is ended before."""
        if self._stopped:
            raise EngineUnreachable(NAME, "it was stopped")
        end_orphans(self._token, self._note)
        presence = self._look(self.url)
        if presence in (Presence.OTHER, Presence.SILENT):
            wish = "end that program, or choose another port in comfyui.url and comfyui.launch"
            raise EngineUnreachable(self.url, f"the port is taken by {presence.value}; {wish}")
        if presence is Presence.NOBODY and shutil.which(self._command[0]) is None:
            cause = f"there is no program {self._command[0]!r}; comfyui.launch is to begin with one"
            raise EngineUnreachable(NAME, cause)
        return presence is Presence.COMFYUI

    def _await_answer(self, child: _ComfyChild, wait_s: float) -> None:
        until_s = time.monotonic() + wait_s
        while not (child.ready or child.gone.is_set()):
            if self._look(self.url) is Presence.COMFYUI:
                log.info("%s answers at %s", NAME, self.url)
                child.is_ready()
            elif time.monotonic() >= until_s:
                return
            else:
                child.gone.wait(_LOOK_S)

    def _new_child(self, now_s: float) -> _ComfyChild:
        log.info("starting ComfyUI; what it says is in %s", self._file.path)
        return _ComfyChild(self._command, now_s, self._token, self._file, self._note)

    def _answers(self, child: _ComfyChild) -> bool:
        return self._look(self.url) in (Presence.COMFYUI, Presence.OTHER)

    def _last_words(self) -> str:
        lines = [line for line in self._file.last_lines(_LAST_LINES + 1) if die_with_parent.ENDED not in line]
        return f"; it said: {' | '.join(lines[-_LAST_LINES:])}" if lines else ""


def who_is_at(url: str, within_s: float = _LOOK_WITHIN_S) -> Presence:
    """Asks an address who is there."""
    http = ComfyHttp(HttpLimits(connect_s=within_s, answer_s=within_s))
    try:
        system_stats(http.get(f"{url}/system_stats").require_ok().json())
    except AnswerLost:
        return Presence.SILENT
    except EngineUnreachable:
        return Presence.NOBODY
    except (EngineAnswerError, ValueError):
        return Presence.OTHER
    finally:
        http.close()
    return Presence.COMFYUI


def _environment(ours: Mapping[str, str], token: str) -> dict[str, str]:
    """Ours without our settings, of which some are secret, and without what systemd means for us alone."""
    kept = {
        name: value
        for name, value in ours.items()
        if not name.startswith("DREAMLOOP_") and name not in _NOT_FOR_IT
    }
    return kept | {MARK: token}
