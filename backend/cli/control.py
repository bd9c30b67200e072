"""``main.py pause|resume|next|stop``: tell the running daemon something, and hear what it says."""

from __future__ import annotations

import argparse
import os
import sys

_EXIT_REFUSED = 1
_EXIT_NO_DAEMON = 69
_EXIT_CONFIG = 78

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
    from backend.config import load_settings
    from backend.errors import ConfigError, NoDaemon
    from backend.utils.control import ask

    try:
        settings = load_settings(getattr(args, "config", None), os.environ).settings
        answer = ask(settings.storage.status / "control.sock", {"command": args.control})
    except ConfigError as error:
        print(error, file=sys.stderr)
        return _EXIT_CONFIG
    except NoDaemon as error:
        print(error, file=sys.stderr)
        return _EXIT_NO_DAEMON
    if not answer.get("ok"):
        print(f"refused: {answer.get('error', 'without a reason')}", file=sys.stderr)
        return _EXIT_REFUSED
    print(f"{args.control}: done; the dream is {answer.get('state', 'as before')}")
    return 0
