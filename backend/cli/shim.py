"""``main.py shim``: the HTTP face alone, over a status and an output folder."""

from __future__ import annotations

import argparse
import logging

log = logging.getLogger("dreamloop")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = subparsers.add_parser("shim", help="serve the pages alone (a running dream does so by itself)")
    parser.add_argument("--host", metavar="ADDRESS", help="instead of shim.host")
    parser.add_argument("--port", type=int, metavar="PORT", help="instead of shim.port; 0: any free one")
    return parser
