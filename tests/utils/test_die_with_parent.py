"""The launcher as a program, with its parent's end of the pipe in our hands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from backend.utils import die_with_parent

GUARD_S = 30.0
LAUNCHER = [sys.executable, "-I", "-S", str(Path(die_with_parent.__file__))]


def launched(*command: str, parent: int | None = None, grace_s: float = 5.0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*LAUNCHER, str(os.getpid() if parent is None else parent), str(grace_s), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_the_program_has_its_own_words_its_status_and_nothing_to_read() -> None:
    with launched(*python("import sys; print(repr(sys.stdin.read()), flush=True); sys.exit(7)")) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.read() == f"''\n{die_with_parent.ENDED}7\n"


def test_a_program_that_cannot_be_started_is_told() -> None:
    with launched("/no/such/program") as launcher:
        assert launcher.stdout is not None
        assert "/no/such/program cannot be started: No such file" in launcher.stdout.read()


def test_when_the_pipe_ends_so_does_the_program_gently_first() -> None:
    code = (
        "import signal, sys, time; "
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye', flush=True))); "
        "print('here', flush=True); time.sleep(600)"
    )
    with launched(*python(code)) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdin is not None
        assert launcher.stdout.readline() == "here\n"
        launcher.stdin.close()
        assert launcher.stdout.read() == f"bye\n{die_with_parent.ENDED}0\n"


def test_a_program_that_ignores_it_is_killed_after_the_grace() -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); "
        "time.sleep(600)"
    )
    with launched(*python(code), grace_s=0.2) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdin is not None
        assert launcher.stdout.readline() == "here\n"
        launcher.stdin.close()
        assert launcher.stdout.read() == f"{die_with_parent.ENDED}-9\n"
        assert launcher.wait(GUARD_S) == -9


def test_a_parent_that_is_gone_before_the_launcher_could_look_is_noticed() -> None:
    with launched(*python("import time; time.sleep(600)"), parent=1) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.read() == f"{die_with_parent.ENDED}-15\n"
