"""The advancing failure point: a fault at the first system call, then at the second, until nothing is hit.

An operation runs in a child for each point, stopped at its beginning while strace is told where to strike.
Kills come between any two calls that change something on the disk, errors at any of them. After each the
world is looked at twice: as it was left, which is what displays see, and as the next start finds it.

The children are forked from a process without threads that has imported everything:
``python -m tests.faults.syscalls FOLDER FAULT MODULE:OPERATION=CALL,CALL ...`` is that process.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

CHANGING = (
    "openat",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "link",
    "linkat",
    "unlink",
    "ftruncate",
    "mkdir",
    "utimensat",
)
KILL = "signal=KILL"
_ROOT = Path(__file__).resolve().parents[2]
_MOST = 200
_GUARD_S = 60.0
_PR_SET_PTRACER = 0x59616D61
_KILLED = 9


class Operation(Protocol):
    """What is struck, and what must hold then."""

    def prepare(self, folder: Path) -> Callable[[], object]:
        """All that goes before; gives what is to be struck."""
        ...

    def look(self, folder: Path) -> None:
        """At what was left; raises AssertionError."""
        ...

    def start_again(self, folder: Path) -> None:
        """Go on from what was left; raises AssertionError."""
        ...


@dataclass
class Report:
    """How it went: how often each call was struck, and what did not hold."""

    struck: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


def walk_through(
    operations: Mapping[str, Sequence[str]], folder: Path, fault: str = KILL
) -> dict[str, Report]:
    """Strikes operations at each of their system calls; skips the test where that cannot be done.

    Args:
        operations: Names of classes, ``module:Class``, and at which calls they are struck.
        folder: For the operations' files.
        fault: As strace knows it: ``signal=KILL``, ``error=ENOSPC``.
    """
    if sys.platform != "linux" or shutil.which("strace") is None:
        pytest.skip("strace, with which system calls are struck, is not installed (apt install strace)")
    words = [f"{name}={','.join(calls)}" for name, calls in operations.items()]
    command = [sys.executable, "-m", "tests.faults.syscalls", str(folder), fault, *words]
    ran = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=600.0, check=False)
    if ran.returncode == 77:
        pytest.skip(f"strace cannot attach to a process here: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    return {name: Report(**report) for name, report in told.items()}


class _Walk:
    def __init__(self, operation: Operation, folder: Path, fault: str) -> None:
        self._operation = operation
        self._folder = folder
        self._fault = fault
        self.report = Report()

    def through(self, call: str) -> None:
        """Strikes its first use, its second, and so on, until one more would be too many."""
        for when in range(1, _MOST):
            folder = self._folder / f"{call}-{when}"
            folder.mkdir()
            was_struck = self._strike(folder, call, when)
            for look in (self._operation.look, self._operation.start_again):
                wrong = _in_a_child(partial(look, folder))
                if wrong:
                    self.report.wrong.append(f"{self._fault} at {call} number {when}: {wrong}")
            shutil.rmtree(folder)
            if not was_struck:
                return
            self.report.struck[call] = when
        self.report.wrong.append(f"{call}: there is no end to it")

    def used(self, calls: Sequence[str]) -> list[str]:
        """Those of these calls that the operation makes at all."""
        folder = self._folder / "whole"
        folder.mkdir()
        trace = self._run_traced(folder, ["-e", f"trace={','.join(calls)}"])[1]
        shutil.rmtree(folder)
        return [call for call in calls if re.search(rf"\b{call}\(", trace)]

    def _strike(self, folder: Path, call: str, when: int) -> bool:
        """Whether there was such a call."""
        inject = f"inject={call}:{self._fault}:when={when}"
        status, trace = self._run_traced(folder, ["-e", f"trace={call}", "-e", inject])
        return "(INJECTED)" in trace or os.WTERMSIG(status) == _KILLED

    def _run_traced(self, folder: Path, options: Sequence[str]) -> tuple[int, str]:
        """How the child ended, and what strace saw of it."""
        ready, go, trace = os.pipe(), os.pipe(), folder.with_suffix(".trace")
        child = os.fork()
        if child == 0:
            _run_struck(self._operation, folder, ready[1], go[0])
        os.close(ready[1])
        os.close(go[0])
        if os.read(ready[0], 1) != b"!":
            os.waitpid(child, 0)
            raise RuntimeError("the operation could not be prepared")
        strace = _attached(child, options, trace)
        os.write(go[1], b"!")
        _, status = os.waitpid(child, 0)
        strace.wait(_GUARD_S)
        for one in (ready[0], go[1]):
            os.close(one)
        seen = trace.read_text()
        trace.unlink()
        return status, seen


def _run_struck(operation: Operation, folder: Path, ready: int, go: int) -> None:
    """The child: never returns."""
    status = 1
    try:
        strike = operation.prepare(folder)
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
        os.write(ready, b"!")
        os.read(go, 1)
        strike()
        status = 0
    except BaseException:  # noqa: BLE001 - an error that came through is an end like another
        status = 3
    finally:
        os._exit(status)


def _attached(child: int, options: Sequence[str], trace: Path) -> subprocess.Popen[bytes]:
    command = ["strace", "-f", "-qq", "-o", str(trace), *options, "-p", str(child)]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE)
    until = time.monotonic() + _GUARD_S
    while "TracerPid:\t0\n" in Path(f"/proc/{child}/status").read_text():
        if strace.poll() is not None:
            assert strace.stderr is not None
            sys.stderr.write(strace.stderr.read().decode())
            os.kill(child, _KILLED)
            sys.exit(77)
        assert time.monotonic() < until, "strace does not attach"
        time.sleep(0.001)
    return strace


def _in_a_child(look: Callable[[], object]) -> str:
    """What it raised; a fresh child each time, as a start would be."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            look()
        except BaseException:  # noqa: BLE001 - whatever it is, the test must hear of it
            os.write(write, traceback.format_exc()[-3000:].encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        said = file.read().decode()
    os.waitpid(child, 0)
    return said


def main(folder: str, fault: str, *operations: str) -> None:
    reports = {}
    for one in operations:
        name, _, calls = one.partition("=")
        module, _, kind = name.partition(":")
        operation: Operation = getattr(importlib.import_module(module), kind)()
        reports[name] = vars(_walked(operation, Path(folder) / kind, fault, calls.split(",")))
    print(json.dumps(reports))  # noqa: T201 - how it is told to the test


def _walked(operation: Operation, folder: Path, fault: str, calls: Sequence[str]) -> Report:
    began = time.monotonic()
    rehearsal = folder / "rehearsal"
    rehearsal.mkdir(parents=True)
    wrong = _in_a_child(lambda: _rehearse(operation, rehearsal))
    walk = _Walk(operation, folder, fault)
    if wrong:
        walk.report.wrong.append(f"without any fault: {wrong}")
    else:
        for call in walk.used(calls):
            walk.through(call)
    walk.report.seconds = round(time.monotonic() - began, 2)
    return walk.report


def _rehearse(operation: Operation, folder: Path) -> None:
    operation.prepare(folder)()
    operation.look(folder)
    operation.start_again(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
