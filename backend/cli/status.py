"""``main.py status``: what the daemon says, and whether it still says it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from backend.cli import exit_codes

if TYPE_CHECKING:  # `main.py --help` must not wait for pydantic
    from backend.utils.status_schema import Status

_STALE_S = 5.0
_ASK_S = 2.0
_WATCH_S = 1.0


class Freshness(StrEnum):
    """Whether a status is news."""

    LIVE = "live"
    STOPPED = "stopped"
    STALLED = "stalled"
    DIED = "died"


@dataclass(frozen=True)
class Found:
    """The newest status that could be had, how fresh it is, and its age in seconds."""

    status: Status
    freshness: Freshness
    age_s: float

    @property
    def headline(self) -> str:
        """One sentence that says first what matters."""
        from backend.cli.status_text import duration

        age, pid = duration(self.age_s), self.status.pid
        match self.freshness:
            case Freshness.LIVE:
                return f"Dreamloop is {self.status.state.value} (process {pid})"
            case Freshness.STOPPED:
                return f"Dreamloop was stopped {age} ago; this is its last status"
            case Freshness.STALLED:
                return f"Dreamloop stalls: process {pid} lives, but its status is {age} old"
            case Freshness.DIED:
                return f"Dreamloop is not running: process {pid} is gone, its status is {age} old"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = subparsers.add_parser("status", help="what the daemon is doing")
    parser.set_defaults(handler=run)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the whole status as JSON")
    form.add_argument("--watch", action="store_true", help="a live screen until Ctrl-C")
    form.add_argument("--schema", action="store_true", help="the JSON Schema of the status")
    form.add_argument("--metrics", action="store_true", help="the same as Prometheus metrics")
    form.add_argument("--check", action="store_true", help="does the dream live? exit status 0, else 69")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print what was asked for.

    Returns:
        0 if the daemon lives or was stopped properly, 69 if it stalls, died or never was, 78 if the
        settings cannot be used.
    """
    from backend.config import load_storage
    from backend.errors import ConfigError
    from backend.utils.status_schema import status_json_schema

    if args.schema:
        print(json.dumps(status_json_schema(), indent=2))
        return exit_codes.OK
    try:
        folder = load_storage(getattr(args, "config", None), os.environ).status
    except ConfigError as error:
        print(error, file=sys.stderr)
        return exit_codes.CONFIG
    if args.check:
        return _check(folder)
    if args.metrics:
        return _print_metrics(folder)
    return watch(folder) if args.watch else _print_once(folder, as_json=args.json)


def find_status(folder: Path, now: datetime) -> Found | str:
    """Asks the daemon (it answers even where its disk is full), else reads its file; or says why not."""
    from backend.errors import NoDaemon
    from backend.utils.control import SOCKET_NAME, ask
    from backend.utils.status_schema import Status

    try:
        answer = ask(folder / SOCKET_NAME, {"command": "status"}, _ASK_S)
        return Found(Status.model_validate_json(json.dumps(answer.get("status"))), Freshness.LIVE, 0.0)
    except (NoDaemon, ValueError):  # a daemon of another version may word its answer otherwise
        return _from_file(folder / "status.json", now)


def watch(folder: Path, sleep: Callable[[float], None] = time.sleep) -> int:
    """Shows a live screen until Ctrl-C; where there is no terminal, one line a second."""
    try:
        if sys.stdout.isatty():
            _watch_on_terminal(folder, sleep)
        else:
            _watch_in_lines(folder, sleep)
    except KeyboardInterrupt:
        pass
    return exit_codes.OK


def _watch_on_terminal(folder: Path, sleep: Callable[[float], None]) -> None:
    from rich.live import Live
    from rich.text import Text

    from backend.cli.live_screen import screen

    with Live(Text("looking ..."), auto_refresh=False, screen=True) as view:
        while True:
            found = find_status(folder, datetime.now(UTC))
            shown = (
                Text(found)
                if isinstance(found, str)
                else screen(found.status, found.headline, live=found.freshness is Freshness.LIVE)
            )
            view.update(shown, refresh=True)
            sleep(_WATCH_S)


def _watch_in_lines(folder: Path, sleep: Callable[[float], None]) -> None:
    from backend.cli.live_line import describe

    while True:
        found = find_status(folder, datetime.now(UTC))
        is_live = isinstance(found, Found) and found.freshness is Freshness.LIVE
        print(
            found if isinstance(found, str) else describe(found.status) if is_live else found.headline,
            flush=True,
        )
        sleep(_WATCH_S)


def _print_once(folder: Path, *, as_json: bool) -> int:
    from backend.cli.status_text import lines_of

    found = find_status(folder, datetime.now(UTC))
    if isinstance(found, str):
        print(found, file=sys.stderr)
        return exit_codes.NO_DAEMON
    if as_json:
        print(found.status.model_dump_json(indent=2))
        if found.freshness is not Freshness.LIVE:
            print(found.headline, file=sys.stderr)
    else:
        print("\n".join([found.headline, *lines_of(found.status)]))
    return exit_codes.OK if found.freshness in (Freshness.LIVE, Freshness.STOPPED) else exit_codes.NO_DAEMON


def _print_metrics(folder: Path) -> int:
    """For collectors that read text, such as node_exporter's."""
    from backend.utils.metrics import metrics_of

    now = datetime.now(UTC)
    found = find_status(folder, now)
    if isinstance(found, str):
        print(found, file=sys.stderr)
        return exit_codes.NO_DAEMON
    told = metrics_of(found.status.model_dump(mode="json"), age_s=found.age_s, wall=now)
    print(told.decode(), end="")
    return exit_codes.OK


def _check(folder: Path) -> int:
    """For health checks, which wait for an answer and read little of it."""
    found = find_status(folder, datetime.now(UTC))
    if isinstance(found, str):
        print(found)
        return exit_codes.NO_DAEMON
    hangs = found.status.hangs if found.freshness is Freshness.LIVE else None
    print(found.headline if hangs is None else f"{found.headline}, but {hangs}")
    lives = found.freshness is Freshness.LIVE and hangs is None
    return exit_codes.OK if lives else exit_codes.NO_DAEMON


def _from_file(path: Path, now: datetime) -> Found | str:
    from backend.utils.status_schema import Status

    try:
        status = Status.model_validate_json(path.read_bytes())
        age_s = (now - datetime.fromisoformat(status.updated_at)).total_seconds()
    except FileNotFoundError:
        return f"Dreamloop has not run yet: there is no {path}"
    except OSError as error:
        return f"the status cannot be read: {path}: {error.strerror}"
    except ValueError as error:
        return f"{path} is not a status that this version can read: {str(error).splitlines()[0]}"
    return Found(status, _freshness(status, age_s), max(0.0, age_s))


def _freshness(status: Status, age_s: float) -> Freshness:
    from backend.utils.file_ops import process_lives
    from backend.utils.status_schema import State

    if process_lives(status.pid):
        # The clock may have been set back since: a status from the future is not news either.
        return Freshness.LIVE if abs(age_s) <= _STALE_S else Freshness.STALLED
    return Freshness.STOPPED if status.state is State.STOPPING else Freshness.DIED
