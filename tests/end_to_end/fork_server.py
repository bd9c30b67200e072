"""Starts main.py without its seconds of imports: ``python -m tests.end_to_end.fork_server``.

It has imported all that ``main.py run`` will need, and forks a child for each start that is asked for on its
standard input; from there on the child is that command, in a process of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback

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


def _be(told: str) -> None:
    """Never returns."""
    status = 1
    try:
        wish = json.loads(told)
        os.environ.clear()
        os.environ.update(wish["environment"])
        if wish["sickness"]:
            module, _, function = wish["sickness"].partition(":")
            getattr(importlib.import_module(module), function)()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        out, err = (
            os.open(wish[key], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) for key in ("out", "err")
        )
        for own, instead in ((0, nothing), (1, out), (2, err)):
            os.dup2(instead, own)
        os.closerange(3, max(nothing, out, err) + 1)
        sys.orig_argv[:] = [sys.executable, main.__file__, *wish["words"]]  # as who begins anew will begin
        status = main.main(wish["words"])
    except SystemExit as end:  # argparse does not like the words
        status = end.code if isinstance(end.code, int) else 1
    except Exception:  # noqa: BLE001 - the top of the process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _forked(wish: str) -> int:
    child = os.fork()
    if child == 0:
        _be(wish)
    return child


def serve() -> None:
    """Answers each line with one.

    ``run WISH`` (JSON, as `ForkServer.run` writes it) with a process id, ``wait PID`` with its end, and
    ``poll PID`` with its end or, while it runs, with ``None``.
    """
    ended: dict[int, int] = {}
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is meant for the tests
    print("ready", flush=True)  # noqa: T201 - how it answers
    for line in sys.stdin:
        what, *words = line.split("\t")
        words = [word.strip() for word in words]
        if what == "run":
            answer: int | None = _forked(*words)
        else:
            answer = _end_of(int(words[0]), ended, 0 if what == "wait" else os.WNOHANG)
        print(answer, flush=True)  # noqa: T201


def _end_of(child: int, ended: dict[int, int], options: int) -> int | None:
    if child not in ended:
        pid, status = os.waitpid(child, options)
        if not pid:
            return None
        ended[child] = os.waitstatus_to_exitcode(status)
    return ended[child]


if __name__ == "__main__":
    serve()
