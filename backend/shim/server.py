"""Serving the shim: one uvicorn on one address, until it is told to stop."""

from __future__ import annotations

import logging
import socket

import uvicorn
from fastapi import FastAPI

from backend.shim.patience import PatientProtocol
from backend.shim.room import answered, connections

log = logging.getLogger(__name__)

_BACKLOG = 512
_GOODBYE_S = 2
_KEEP_ALIVE_S = 30


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        OSError: The address is taken, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def address_of(listener: socket.socket) -> str:
    """Where browsers find it."""
    host, port = listener.getsockname()[:2]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{name}:{port}/"


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; open streams are cut after a moment."""
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        limit_concurrency=answered(),
        backlog=min(_BACKLOG, connections()),  # so many are taken at once, before any is refused
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GOODBYE_S,
    )
    uvicorn.Server(config).run(sockets=[listener])
