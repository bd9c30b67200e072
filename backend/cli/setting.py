"""``main.py set KEY VALUE``: change one setting in the file and nothing else; ``reload``: read it again."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.cli import exit_codes

if TYPE_CHECKING:  # `main.py --help` must not wait for pydantic
    from backend.config import Settings
    from backend.core.config_edit import Edit

_ASK_S = 2.0
_TAKEN_S = 5.0
_AGAIN_S = 0.1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the two commands."""
    again = subparsers.add_parser(
        "reload", help="have the running daemon read settings and themes again, now"
    )
    again.set_defaults(handler=reload)
    parser = subparsers.add_parser("set", help="change one setting in config.yaml, and keep its comments")
    parser.set_defaults(handler=run)
    parser.add_argument("key", metavar="KEY", help="section and key, like dream.denoise")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("value", metavar="VALUE", nargs="?", help="as it stands in the file; lists as [a, b]")
    what.add_argument("--unset", action="store_true", help="take it out of the file: by default again")


def reload(args: argparse.Namespace) -> int:
    """Have it read again; returns the exit status (69: no daemon, 78: mistakes, all is as before)."""
    from backend.config import load_storage

    told = ask_daemon(load_storage(getattr(args, "config", None), os.environ).status)
    if told is None:
        print("no dream is running", file=sys.stderr)
        return exit_codes.NO_DAEMON
    for one in told.get("needs_restart", ()):
        print(f"{one['key']} is {one['now']}, and {one['next']} from the next start on")
    problems = [
        f"{one['source']}:{one['line'] or ''} {one['key']}: {one['wish']}" for one in told["problems"]
    ]
    if problems:
        print("\n".join(["all stays as it was:", *problems]), file=sys.stderr)
        return exit_codes.CONFIG
    print(f"reload: done; {told['file'] or 'no file'} holds")
    return exit_codes.OK


def run(args: argparse.Namespace) -> int:
    """Change the file, and hear what the daemon makes of it; returns the exit status (78: refused)."""
    from backend.config import DEFAULT_PATH
    from backend.core.config_edit import plan_edit
    from backend.errors import ConfigError, PromptsError, StorageError

    path = getattr(args, "config", None) or DEFAULT_PATH
    check = _dream_with_themes if args.key == "prompts.folder" else _dream
    try:
        edit = plan_edit(path, os.environ, args.key, None if args.unset else args.value, check)
        edit.carry_out()
    except (ConfigError, PromptsError) as error:
        print(f"nothing is changed:\n{error}", file=sys.stderr)
        return exit_codes.CONFIG
    except StorageError as error:
        print(f"nothing is changed: {error}", file=sys.stderr)
        return exit_codes.STORAGE
    print(_said(edit))
    print(holds(edit, ask_daemon(edit.loaded.settings.storage.status)))
    return exit_codes.OK


def _dream(settings: Settings) -> None:
    from backend.assembly import check_dream

    check_dream(settings)


def _dream_with_themes(settings: Settings) -> None:
    from backend.utils.prompt_manager import check_themes

    _dream(settings)
    check_themes(settings.prompts.folder)


def _said(edit: Edit) -> str:
    if not edit.changes:
        return f"{edit.key} is {edit.new} in {edit.path} already"
    origin = edit.loaded.origins[edit.key]
    where = origin if edit.overridden_by is None and origin != "default" else str(edit.path)
    return f"{edit.key} is {edit.new} in {where} now, it was {edit.old}"


def holds(edit: Edit, daemon: Mapping[str, Any] | None) -> str:
    """From when on it holds, as a sentence.

    Args:
        edit: What was written.
        daemon: What a running daemon says of its settings; None if there is none.
    """
    if edit.overridden_by is not None:
        return f"but {edit.overridden_by} in the environment wins over it"
    if daemon is None:
        return "no dream is running: it holds from the next start"
    if Path(daemon.get("file") or "").absolute() != edit.path.absolute():
        return f"the dream that is running goes by {daemon.get('file') or 'no file'}: it does not hold there"
    if daemon.get("problems"):
        first = daemon["problems"][0]
        return f"but the running dream keeps what it had: {first['key']}: {first['wish']}"
    if any(one["key"] == edit.key for one in daemon.get("needs_restart", ())):
        return "it holds from the next start of the dream that is running"
    if not daemon.get("done"):
        return "the running dream has not taken it up yet; `main.py status` tells"
    return "it holds from now on: the running dream has taken it up"


def ask_daemon(status_folder: Path, sleep: Callable[[float], None] = time.sleep) -> dict[str, Any] | None:
    """Have a running daemon read its settings; what it says of them then, None if there is no daemon."""
    from backend.errors import NoDaemon
    from backend.utils.control import SOCKET_NAME, ask

    socket, until = status_folder / SOCKET_NAME, time.monotonic() + _TAKEN_S
    try:
        answer = ask(socket, {"command": "reload"}, _ASK_S)
        while answer.get("ok") and not answer["done"] and time.monotonic() < until:
            sleep(_AGAIN_S)
            answer = ask(socket, {"command": "reload", "number": answer["number"]}, _ASK_S)
    except NoDaemon:
        return None
    return {**answer.get("config", {}), "done": bool(answer.get("done"))}
