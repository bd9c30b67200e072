"""The engine as a program: what ``main.py engine`` runs until it is told to stop."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from backend.engine.painting import Painter
from backend.engine.server import EngineServer

_log = logging.getLogger(__name__)

_STOP_S = 3.0
"""How long a node may take to notice that the engine stops; then the process ends regardless."""

_PR_SET_PDEATHSIG = 1


def serve(
    port: int, folder: Path, painter: Painter, parent_watch: bool, announce: Callable[[dict[str, int]], None]
) -> None:
    """Serves until SIGTERM, SIGINT or, with ``parent_watch``, until the parent is gone.

    Args:
        port: Where to listen on loopback; 0 lets the system choose.
        folder: Root of the engine's own input, output and temp folders.
        painter: Paints the pictures.
        parent_watch: End when standard input does: a parent that holds the other end of it cannot die, in
            whatever way, without that. On Linux the kernel is asked as well.
        announce: Called once with ``{"port": ..., "pid": ...}`` when requests are answered.

    Raises:
        OSError: The port is taken, or the folder cannot be written.
    """
    if parent_watch:
        _die_with_parent()
    asyncio.run(_serve(port, folder, painter, parent_watch, announce))


async def _serve(
    port: int, folder: Path, painter: Painter, parent_watch: bool, announce: Callable[[dict[str, int]], None]
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = EngineServer(folder, painter)
    announce({"port": await server.start(port), "pid": os.getpid()})
    if parent_watch:
        watch = threading.Thread(target=_watch_parent, args=(loop, stop), name="parent-watch", daemon=True)
        watch.start()
    await stop.wait()
    if not await server.stop(_STOP_S):
        # Python would wait for the painting thread, or crash in it, while it takes itself apart.
        _log.warning("a node does not stop: the engine ends without it")
        os._exit(1)


def _watch_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Waits for the end of standard input; if the loop is stuck then, the process ends all the same."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    loop.call_soon_threadsafe(stop.set)
    threading.Event().wait(2 * _STOP_S)
    os._exit(1)


def _die_with_parent() -> None:
    """Asks Linux to kill this process when the thread that started it ends; elsewhere does nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
