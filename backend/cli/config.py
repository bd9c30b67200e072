"""``main.py config check|show|schema``: look at the settings without running anything."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from backend.cli import exit_codes

if TYPE_CHECKING:  # `main.py --help` must not wait for pydantic
    from backend.config import Settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = subparsers.add_parser("config", help="check, show or describe the settings")
    parser.set_defaults(handler=run)
    what = parser.add_subparsers(dest="config_action", metavar="ACTION", required=True)
    what.add_parser("check", help="are the settings right? tells every problem at once")
    what.add_parser("show", help="every setting with its value and where that comes from")
    what.add_parser("schema", help="the JSON Schema of config.yaml, for editors")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what was asked; returns the exit status (78: the settings cannot be used)."""
    from backend.assembly import check_dream
    from backend.config import json_schema, load_settings
    from backend.errors import ConfigError

    if args.config_action == "schema":
        print(json.dumps(json_schema(), indent=2))
        return exit_codes.OK
    try:
        loaded = load_settings(getattr(args, "config", None), os.environ)
        if args.config_action == "check":
            check_dream(loaded.settings)
    except ConfigError as error:
        count = len(error.problems)
        print(f"{error}\n{count} {'problem' if count == 1 else 'problems'}", file=sys.stderr)
        return exit_codes.CONFIG
    if args.config_action == "show":
        _show(loaded.settings, loaded.origins)
    else:
        print(f"{loaded.path or 'without a file'}: {_tally(loaded.origins)}; all of them are right")
    return exit_codes.OK


def _show(settings: Settings, origins: Mapping[str, str]) -> None:
    from backend.config import is_live, keys, written

    values = written(settings)
    wide = max(len(f"{key}{value}") for key, value in values.items()) + 2
    for key, value in values.items():
        waits = "" if is_live(keys()[key]) else "; edits wait for the next start"
        print(f"{f'{key}: {value}':<{wide + 2}}# {origins[key]}{waits}")


def _tally(origins: Mapping[str, str]) -> str:
    by_default = sum(origin == "default" for origin in origins.values())
    by_environment = sum(origin.startswith("DREAMLOOP_") for origin in origins.values())
    by_file = len(origins) - by_default - by_environment
    return f"{by_file} settings from the file, {by_environment} from the environment, {by_default} by default"
