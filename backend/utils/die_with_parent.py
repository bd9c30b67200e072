"""A launcher that lets any program die with its starter: ``die_with_parent.py PARENT GRACE_S COMMAND...``.

It stays, as the program's parent and the leader of its process group, and ends with it. When its standard
input ends (a parent that holds the other end cannot die, in whatever way, without that), it asks the group to
end and kills it after a while. On Linux the kernel is asked as well: to tell us when the parent is gone, and
to kill the program when we are. It needs nothing but the standard library, and so starts quickly anywhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Sequence

ENDED = "[dreamloop] the program ended with status "
"""Begins the last line that it says; a negative status is the signal that ended the program."""

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.05
_OURS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_NOT_STARTED = 127


def main(arguments: Sequence[str]) -> None:
    """Runs the command until it, or the parent, ends; then kills what is left of the group, itself included.

    Args:
        arguments: The parent's process id, the seconds that the program gets to end, the command.
    """
    parent, grace_s, command = int(arguments[0]), float(arguments[1]), arguments[2:]
    if os.getpgrp() != os.getpid():
        os.setsid()  # the group that is killed in the end must be our own
    wake = _wake_on_signals()
    _die_with(parent, signal.SIGHUP)
    program = _start(command)
    status = _watch(program, wake, grace_s)
    _say(f"{ENDED}{status}")
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _watch(program: int, wake: int, grace_s: float) -> int:
    """The program's status, once it has ended or was ended."""
    while True:
        ready, _, _ = select.select([0, wake], [], [])
        numbers = os.read(wake, 4096) if wake in ready else b""
        status = _ended(program)
        if status is not None:
            return status
        if signal.SIGHUP in numbers or (0 in ready and not os.read(0, 4096)):
            return _end(program, grace_s)


def _end(program: int, grace_s: float) -> int:
    os.killpg(os.getpgrp(), signal.SIGTERM)  # to us it is but a reason to look
    for _ in range(int(grace_s / _POLL_S)):
        status = _ended(program)
        if status is not None:
            return status
        time.sleep(_POLL_S)
    return -int(signal.SIGKILL)


def _start(command: Sequence[str]) -> int:
    """Its process id. There is but one thread here, so that it may be forked and asked to die with us."""
    launcher = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)  # until it has its own habits, not ours
    program = os.fork()
    if program:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
        return program
    try:
        for number in (*_OURS, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
        _die_with(launcher, signal.SIGKILL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execvp(command[0], list(command))  # noqa: S606 - that is what it is for
    except OSError as error:
        _say(f"{command[0]} cannot be started: {error.strerror}")
    os._exit(_NOT_STARTED)


def _ended(program: int) -> int | None:
    ended, status = os.waitpid(program, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _wake_on_signals() -> int:
    """A descriptor from which the numbers of the signals that came can be read."""
    wake, write = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in _OURS:
        signal.signal(number, lambda *_: None)
    return wake


def _die_with(parent: int, number: signal.Signals) -> None:
    """Asks Linux for a signal when the parent ends; sends it at once if it ended before we could ask."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(1, f"{text}\n".encode(errors="replace"))


if __name__ == "__main__":
    main(sys.argv[1:])
