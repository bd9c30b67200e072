"""``main.py pause|resume|next|stop``: tell the running daemon something, and hear what it says."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
        socket = storage.status / SOCKET_NAME
        service = service_of(ask(socket, {"command": "status"})) if args.control == "stop" else None
        answer = ask(socket, {"command": args.control})
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
        ended = _wait_for_the_end(storage.output)
        if service is not None:
            print(f"systemd starts it again, since it is a service; to keep it stopped: {service}")
        return ended
    print(f"{args.control}: done; the dream is {answer.get('state', 'as before')}")
    return exit_codes.OK


def service_of(answer: Mapping[str, Any], groups: Path = Path("/proc")) -> str | None:
    """The command that stops the daemon for good where it is a service of systemd's, else None.

    Args:
        answer: Of the daemon, when it was asked for its status.
        groups: Where the kernel tells of processes.
    """
    status = answer.get("status")
    try:
        pid = int(status["pid"]) if isinstance(status, dict) else 0
        told = (groups / str(pid) / "cgroup").read_text()
    except (OSError, KeyError, TypeError, ValueError):
        return None
    found = re.search(
        r"/([a-zA-Z0-9_.\\-]+\.service)$", told.strip().splitlines()[-1] if told.strip() else ""
    )
    if found is None:
        return None
    return f"systemctl {'--user ' if '/user@' in told else ''}stop {found[1]}"


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
