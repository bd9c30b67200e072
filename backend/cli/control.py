"""``main.py pause|resume|next|stop``: tell the running daemon something, and hear what it says."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from backend.cli import exit_codes

_STOP_S = 15.0
_LOOK_AGAIN_S = 0.1
_COMMANDS = {
    "pause": "hold the picture and let the engine rest",
    "resume": "go on after pause",
    "next": "turn to another theme",
    "stop": "end the daemon",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the four commands."""
    for name, what in _COMMANDS.items():
        parser = subparsers.add_parser(name, help=what)
        parser.set_defaults(handler=run, control=name)


def run(args: argparse.Namespace) -> int:
    """Ask the daemon; returns the exit status (69: there is none, 78: the settings cannot be used)."""
    from backend.config import load_storage
    from backend.errors import ConfigError, NoDaemon
    from backend.utils.control import SOCKET_NAME, ask

    try:
        storage = load_storage(getattr(args, "config", None), os.environ)
        answer = ask(storage.status / SOCKET_NAME, {"command": args.control})
    except ConfigError as error:
        print(error, file=sys.stderr)
        return exit_codes.CONFIG
    except NoDaemon as error:
        print(error, file=sys.stderr)
        return exit_codes.NO_DAEMON
    if not answer.get("ok"):
        print(f"refused: {answer.get('error', 'without a reason')}", file=sys.stderr)
        return exit_codes.REFUSED
    if args.control == "stop":
        return _wait_for_the_end(storage.output)
    print(f"{args.control}: done; the dream is {answer.get('state', 'as before')}")
    return exit_codes.OK


def _wait_for_the_end(output: Path) -> int:
    """The daemon has been told to stop; it has when it lets go of its output folder."""
    from backend.errors import AlreadyRunning
    from backend.utils.lock import OutputLock

    until = time.monotonic() + _STOP_S
    while True:
        try:
            with OutputLock(output):
                print("stop: done; the dream has ended")
                return exit_codes.OK
        except AlreadyRunning as error:
            if time.monotonic() > until:
                print(f"told to stop, but after {_STOP_S:g} s {error}", file=sys.stderr)
                return exit_codes.REFUSED
        time.sleep(_LOOK_AGAIN_S)
