"""Processes that an earlier run of ours started and could not end: found by a mark, never by name.

On Linux the mark is a variable in their environment, which all their children inherit. Elsewhere it is the id
and the start time of the leader of their group, noted in a file.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from backend.utils.file_ops import read_at_most, write_json_atomic

_log = logging.getLogger(__name__)

MARK = "DREAMLOOP_OWNED"
TERM_S = 3.0
_KILL_S = 2.0
_PROC = Path("/proc")
_NOTE_BYTES = 4096


def end_orphans(token: str, note: Path) -> int:
    """Ends them: asks, and kills after three seconds. To be called while no child of ours runs.

    Args:
        token: The value of ``DREAMLOOP_OWNED`` that our children are given.
        note: Where their leader is noted, on systems without /proc.

    Returns:
        How many there were.
    """
    count = _end_marked(token) if sys.platform == "linux" else _end_noted(note)
    if count:
        _log.warning("ended %d processes that an earlier run had left", count)
    return count


def note_leader(note: Path, pid: int) -> None:
    """Notes the leader of a new group, for a later run; raises StorageError."""
    if sys.platform != "linux":
        write_json_atomic(note, {"pid": pid, "started": _started(pid)})


def _end_marked(token: str) -> int:
    if sys.platform != "linux":  # for the type checker: pidfds are Linux's own
        return 0
    mark = f"{MARK}={token}".encode()
    found: list[int] = []
    try:
        for entry in _PROC.iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid() and _bears(entry, mark):
                with contextlib.suppress(OSError):
                    handle = os.pidfd_open(int(entry.name))
                    found.append(handle)
                    if not _bears(entry, mark):  # it ended meanwhile, and the id may be another's by now
                        os.close(found.pop())
        for number, wait_s in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, _KILL_S)):
            for handle in found:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(handle, number)
            if _all_end(found, wait_s):
                break
    finally:
        for handle in found:
            os.close(handle)
    return len(found)


def _bears(process: Path, mark: bytes) -> bool:
    try:
        return mark in (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it ended, or is another user's
        return False


def _all_end(handles: list[int], wait_s: float) -> bool:
    until_s = time.monotonic() + wait_s
    for handle in handles:
        left_s = max(0.0, until_s - time.monotonic())
        poll = select.poll()
        poll.register(handle, select.POLLIN)  # a pidfd is readable once its process has ended
        if not poll.poll(left_s * 1000):
            return False
    return True


def _end_noted(note: Path) -> int:
    try:
        told = json.loads(read_at_most(note, _NOTE_BYTES))
        pid, started = int(told["pid"]), str(told["started"])
    except (OSError, ValueError, TypeError, KeyError):
        return 0
    if pid <= 1 or not started or _started(pid) != started:
        return 0
    for number, wait_s in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, _KILL_S)):
        with contextlib.suppress(OSError):
            os.killpg(pid, number)
        for _ in range(int(wait_s / 0.1)):
            if _started(pid) != started:
                return 1
            threading.Event().wait(0.1)
    return 1


def _started(pid: int) -> str:
    """When a process started, as ps says it; empty if it is gone."""
    environment = {"LC_ALL": "C", "PATH": os.environ.get("PATH", "/bin:/usr/bin")}
    command = ["ps", "-o", "lstart=", "-o", "stat=", "-p", str(pid)]
    try:
        run = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=5.0, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    *started, state = run.stdout.split() or [""]
    return "" if state.startswith("Z") else " ".join(started)
