"""The composition of the shim: what it reads, whom it lets in, and its routes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.middleware import Middleware

from backend.shim.answers import install_errors
from backend.shim.daemon import Daemon
from backend.shim.frame_files import FrameFiles
from backend.shim.guard import Access, Guard, known_origins
from backend.shim.memory_files import MemoryFiles
from backend.shim.pages import page_routes
from backend.shim.room import streams
from backend.shim.routes_control import control_routes
from backend.shim.routes_frames import frame_routes
from backend.shim.routes_memory import memory_routes
from backend.shim.routes_seeds import seed_routes
from backend.shim.routes_status import QuickStatus, status_routes
from backend.shim.routes_studio import studio_routes
from backend.shim.spec import ShimSpec, token_of
from backend.shim.status_feed import StatusFeed
from backend.shim.upstream import upstream_routes
from backend.shim.viewers import Viewers

MOST = {"event streams": 256, "MJPEG viewers": 64, "long polls": 512}
"""Viewers of each kind; more are asked to come back later."""


def create_app(spec: ShimSpec) -> FastAPI:
    """The whole HTTP face, as an ASGI application.

    Raises:
        StorageError: A token is needed and can be neither read nor made.
        ValueError: The token that there is cannot be used.
    """
    access = Access(
        token_of(spec.token_file) if spec.is_open else None, known_origins(spec.cors_origins), spec.is_open
    )
    feed = StatusFeed(spec.status / "status.json", time.monotonic)
    daemon = Daemon(spec.status)
    frames, viewers = FrameFiles(spec.output), Viewers(MOST, streams())

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await feed.look()
        looking = asyncio.create_task(feed.run())
        try:
            yield
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking

    app = FastAPI(
        title="Dreamloop",
        summary="A machine that dreams: its status, its pictures, and what may be asked of it.",
        version="1",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        middleware=[Middleware(Guard, access=access), Middleware(QuickStatus, feed=feed)],
    )
    install_errors(app)
    app.include_router(status_routes(feed, viewers))
    app.include_router(frame_routes(feed, frames, viewers))
    if spec.upstream is None:
        app.include_router(memory_routes(daemon, MemoryFiles(spec.memory)))
        app.include_router(seed_routes(daemon, spec.status))
        app.include_router(control_routes(daemon))
        app.include_router(studio_routes(daemon))
    else:
        app.include_router(upstream_routes(spec.upstream))
    app.include_router(page_routes())
    return app
