"""``main.py engine``: the embedded engine alone, for anything that speaks ComfyUI's API."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from backend.cli import exit_codes


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = subparsers.add_parser("engine", help="run the embedded engine alone")
    parser.set_defaults(handler=run)
    parser.add_argument(
        "--port", type=int, default=8189, metavar="N", help="on 127.0.0.1; 0 takes a free one (8189)"
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="its input, output and temp; a temporary one if not given"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads to paint with; all cores if not given"
    )
    parser.add_argument("--parent-watch", action="store_true", help="end when standard input ends")
    return parser


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop; the first line on standard output is JSON with the port and the pid."""
    if not 0 <= args.port <= 65535:
        print(f"dreamloop: --port {args.port}: a port is a number from 0 to 65535", file=sys.stderr)
        return exit_codes.USAGE
    from backend.engine.painter import DreamPainter
    from backend.engine.serving import serve

    with ExitStack() as stack:
        folder = args.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="dreamloop-engine-"))
        )
        try:
            serve(args.port, folder, DreamPainter(threads=args.threads), args.parent_watch, _announce)
        except OSError as error:
            print(f"dreamloop: the engine cannot listen on port {args.port}: {error}", file=sys.stderr)
            return exit_codes.NO_DAEMON
    if args.parent_watch:
        _end_at_once()
    return exit_codes.OK


def _end_at_once() -> None:
    """All is closed, and the parent waits: Python would take another second or two to take torch apart."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(exit_codes.OK)


def _announce(facts: dict[str, int]) -> None:
    print(json.dumps(facts), flush=True)
