"""``main.py shim``: the HTTP face alone, over a status and an output folder."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from backend.cli import exit_codes

if TYPE_CHECKING:
    from backend.shim.spec import ShimSpec

log = logging.getLogger("dreamloop")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("shim", help="serve the pages alone; a running dream does so by itself")
    parser.add_argument("--host", metavar="ADDRESS", help="instead of shim.host")
    parser.add_argument("--port", type=int, metavar="PORT", help="instead of shim.port; 0 takes a free one")
    parser.add_argument("--spec", metavar="JSON", help=argparse.SUPPRESS)  # how the daemon starts it
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop; the first line on standard output is JSON with the address."""
    from backend.errors import ConfigError, StorageError
    from backend.shim.app import create_app
    from backend.shim.room import widen
    from backend.shim.server import address_of, bound, serve
    from backend.utils.logs import set_up_logging

    set_up_logging("info")
    widen()
    if args.spec is not None:  # the daemon puts time and level to what we say
        logging.basicConfig(format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        spec = _spec(args)
        app = create_app(spec)
        listener = bound(spec.host, spec.port)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return exit_codes.CONFIG
    except (StorageError, ValueError) as error:
        print(f"dreamloop: {error}", file=sys.stderr)
        return exit_codes.CONFIG
    except OSError as error:
        what = error.strerror or str(error)
        print(f"dreamloop: shim.port = {args.port or spec.port} at {spec.host}: {what}", file=sys.stderr)
        return exit_codes.NO_DAEMON
    print(json.dumps({"url": address_of(listener), "pid": os.getpid()}), flush=True)
    serve(app, listener)
    return exit_codes.OK


def _spec(args: argparse.Namespace) -> ShimSpec:
    from backend.config import load_settings
    from backend.shim.spec import ShimSpec

    if args.spec is not None:
        return ShimSpec.read(args.spec)
    spec = ShimSpec.of(load_settings(getattr(args, "config", None), os.environ).settings)
    host = spec.host if args.host is None else args.host
    return replace(spec, host=host, port=spec.port if args.port is None else args.port)
