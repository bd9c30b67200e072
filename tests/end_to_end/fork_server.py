"""Starts daemons without their second of imports: ``python -m tests.end_to_end.fork_server``.

It has imported all that ``main.py run`` will need, and forks a child for each start that is asked for on its
standard input; from there on the child is that command, in a process of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys

import torch  # noqa: F401 - what is dear to import
from safetensors.torch import load  # noqa: F401

import backend.assembly
import backend.cli.run
import backend.core.desk
import backend.core.gap
import backend.core.resuming
import backend.film.recorder
import backend.live_assembly
import backend.memory_assembly
import backend.resume_assembly
import backend.utils.status_writer  # noqa: F401
import main


def _be_the_daemon(config: str, log: str, environment: str, sickness: str) -> None:
    """Never returns."""
    status = 1
    try:
        os.environ.update(json.loads(environment))
        if sickness:
            module, _, function = sickness.partition(":")
            getattr(importlib.import_module(module), function)()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for own, instead in ((0, nothing), (1, descriptor), (2, descriptor)):
            os.dup2(instead, own)
        words = ["--config", config, "run"]
        sys.orig_argv[:] = [sys.executable, main.__file__, *words]  # as who begins anew will begin
        status = main.main(words)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def serve() -> None:
    """``start CONFIG LOG ENVIRONMENT SICKNESS`` answers with a process id, ``wait PID`` with its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is meant for the tests
    print("ready", flush=True)  # noqa: T201 - how it answers
    for line in sys.stdin:
        what, *words = line.split("\t")
        words = [word.strip() for word in words]
        if what == "start":
            child = os.fork()
            if child == 0:
                _be_the_daemon(*words)
            print(child, flush=True)  # noqa: T201
        else:
            _, status = os.waitpid(int(words[0]), 0)
            print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


if __name__ == "__main__":
    serve()
