"""``main.py memory ...``: look at what is remembered, keep it, forget it, check it, carry it elsewhere.

A running daemon is asked, since a memory has one owner at a time; where none runs, it is opened here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.cli import exit_codes
from backend.cli.live_line import printable

if TYPE_CHECKING:  # `main.py --help` must not wait for pydantic and numpy
    from backend.config import Settings

_POLL_S = 0.2
_LOAD_S = 600.0
_ASK_S = 10.0
_JUDGING = ("rebuild", "import")
_KNOWN = "known"
_MOST_NAMED = 20
_MOST_NUMBER = 10**12
_MOST_QUOTED = 70

Ask = Callable[[Mapping[str, Any]], dict[str, Any]]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = subparsers.add_parser("memory", help="look at what is remembered; pin, forget, check, carry it")
    parser.set_defaults(handler=run)
    parser.add_argument("--json", action="store_true", help="the answer as JSON")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    ls = actions.add_parser("ls", help="list memories")
    ls.add_argument("--limit", type=_whole_number(1), default=20, metavar="N", help="so many, at most 200")
    ls.add_argument("--offset", type=_whole_number(0), default=0, metavar="N", help="pass so many over")
    ls.add_argument("--order", choices=("newest", "oldest", "beauty", "shown"), default="newest")
    for name, what in (
        ("show", "all that is known of one"),
        ("pin", "keep one for good"),
        ("unpin", "keep it no longer than others"),
        ("forget", "remove one, with its files"),
    ):
        actions.add_parser(name, help=what).add_argument(
            "id", type=_text, help="its id, or the beginning of it"
        )
    check = actions.add_parser("check", help="compare rows with files, both ways")
    check.add_argument("--repair", action="store_true", help="mend what can be")
    actions.add_parser("rebuild", help="judge all pictures again")
    export = actions.add_parser(
        "export", help="write all of it to a new folder, .zip or .tar, by the path's end"
    )
    export.add_argument("path", type=Path)
    bring = actions.add_parser(
        "import",
        help="bring an export in, or a folder of your own pictures",
        description="Bring an export in, with what it says of each memory (pinned, when added, how often "
        "shown), or a folder of your own pictures. Each comes in as if it were new: what is like one that is "
        "there is not taken. How the pictures of an export look is judged anew while the dream runs.",
    )
    bring.add_argument("path", type=Path)
    bring.add_argument(
        "--pictures",
        action="store_true",
        help="it is a folder of your own pictures: seeds (subfolders are left out)",
    )
    bring.add_argument("--pinned", action="store_true", help="never let them go; with --pictures")
    return parser


def _whole_number(least: int) -> Callable[[str], int]:
    def number(written: str) -> int:
        try:
            found = int(written)
        except ValueError:
            found = least - 1
        if not least <= found <= _MOST_NUMBER:
            raise argparse.ArgumentTypeError(
                f"{written[:_MOST_QUOTED]!a}: a whole number from {least} to {_MOST_NUMBER}"
            )
        return found

    return number


def _text(written: str) -> str:
    """What a shell handed over need not be text: bytes that are none come as halves of surrogate pairs."""
    try:
        written.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{written[:_MOST_QUOTED]!a}: text in UTF-8") from None
    return written


def run(args: argparse.Namespace) -> int:
    """Do what was asked; returns the exit status."""
    from backend.config import load_settings
    from backend.errors import AlreadyRunning, ConfigError, MemoryOff, NoDaemon, StorageError

    if args.action == "import" and args.pinned and not args.pictures:
        print(
            "--pinned: only with --pictures; an export itself says which of its memories are pinned, and "
            "`memory pin ID` pins others",
            file=sys.stderr,
        )
        return exit_codes.USAGE
    asked = {
        name: str(value.absolute()) if isinstance(value, Path) else value
        for name, value in vars(args).items()
        if name in ("action", "id", "limit", "offset", "order", "repair", "path", "pictures", "pinned")
    }
    try:
        settings = load_settings(getattr(args, "config", None), os.environ).settings
        with _somebody_to_ask(settings, judges=args.action in _JUDGING) as ask:
            answer = _answered(ask, asked)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return exit_codes.CONFIG
    except MemoryOff as error:
        print(f"{error}; with DREAMLOOP_MEMORY__ENABLED=true it is looked into", file=sys.stderr)
        return exit_codes.REFUSED
    except AlreadyRunning as error:
        print(error, file=sys.stderr)
        return exit_codes.ALREADY_RUNNING
    except NoDaemon as error:  # it was there when the memory was asked for
        print(f"the daemon went away before it was done with that: {error}", file=sys.stderr)
        return exit_codes.NO_DAEMON
    except StorageError as error:
        print(error, file=sys.stderr)
        return exit_codes.STORAGE
    if not answer.get("ok"):
        print(f"refused: {answer.get('error', 'without a reason')}", file=sys.stderr)
        return exit_codes.REFUSED
    print(json.dumps(answer, indent=2) if args.json else "\n".join(_lines(args.action, answer)))
    well = args.action != "check" or answer["whole"] or answer["mended"]
    return exit_codes.OK if well else exit_codes.REFUSED


@contextmanager
def _somebody_to_ask(settings: Settings, *, judges: bool) -> Iterator[Ask]:
    """The daemon, if one runs; else the memory itself, opened for this one question."""
    from backend.errors import NoDaemon
    from backend.utils.control import SOCKET_NAME, ask

    socket = settings.storage.status / SOCKET_NAME

    def ask_daemon(asked: Mapping[str, Any]) -> dict[str, Any]:
        return ask(socket, {"command": "memory", **asked}, _ASK_S)

    try:
        ask(socket, {"command": "status"}, _ASK_S)
    except NoDaemon:
        with ExitStack() as stack:
            yield _own(settings, stack, judges=judges)
        return
    yield ask_daemon


def _own(settings: Settings, stack: ExitStack, *, judges: bool) -> Ask:
    from backend.memory_assembly import commands_for

    return commands_for(settings, stack, _LOAD_S, judges=judges)


def _answered(ask: Ask, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The answer; for a task, that of its end."""
    answer = ask(asked)
    while answer.get("ok") and answer.get("done") is False:
        time.sleep(_POLL_S)
        answer = ask({"action": "task", "task": answer["task"]})
    return dict(answer["result"]) if answer.get("done") else answer


def _lines(action: str, answer: Mapping[str, Any]) -> Iterator[str]:
    match action:
        case "ls":
            yield from (_row(memory) for memory in answer["memories"])
            loading = "" if answer["ready"] else ", still loading"
            yield f"{answer['entries']} memories, {answer['bytes'] / 1e6:.1f} MB{loading}"
        case "show":
            yield from (printable(f"{key}: {_words(value)}") for key, value in answer["memory"].items())
        case "pin" | "unpin":
            yield f"{answer['id']} is {'kept for good' if answer['pinned'] else 'kept like others'}"
        case "forget":
            yield f"{answer['id']} is forgotten"
        case "rebuild":
            yield f"{answer['embedded']} pictures judged again"
        case "export":
            yield f"{answer['exported']} memories written"
        case "check":
            yield from _check_lines(answer)
        case "import":
            report = answer["report"]
            added = report["added"] if isinstance(report["added"], int) else len(report["added"])
            yield f"{added} added, {report['refused']} not"
            yield from _reason_lines(report["reasons"])


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _row(memory: Mapping[str, Any]) -> str:
    marks = "".join(
        mark if there else " " for mark, there in (("*", memory["pinned"]), ("s", memory["origin"] == "seed"))
    )
    shown = f"{memory['times_shown']}x" if memory["times_shown"] else ""
    prompt = memory["prompt"][:60]
    return printable(
        f"{memory['id'][:12]} {marks} {memory['added_at'][:16]} {memory['score']:.2f} {shown:>4} "
        f"{memory['theme'][:16]:<16} {prompt}"
    )


def _reason_lines(reasons: Sequence[Sequence[str]]) -> Iterator[str]:
    """What was there already is counted; what was refused is named."""
    known = sum(why == _KNOWN for _, why in reasons)
    if known:
        yield f"  {known} were there already"
    named = [(what, why) for what, why in reasons if why != _KNOWN]
    yield from (printable(f"  {what}: {why}") for what, why in named[:_MOST_NAMED])
    if len(named) > _MOST_NAMED:
        yield f"  and {len(named) - _MOST_NAMED} more"


def _check_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    report = answer["report"]
    yield f"{report['entries']} rows and {report['files']} files looked at"
    yield from (f"  {count} x {flaw}" for flaw, count in report["counts"].items())
    for finding in report["findings"][:20]:
        mended = " (mended)" if finding["repaired"] else ""
        yield printable(f"    {finding['where']}: {finding['flaw']}{mended}")
    if answer["whole"]:
        yield "nothing is wrong"
    else:
        yield "all of it is mended" if answer["mended"] else "`memory check --repair` mends what can be"
