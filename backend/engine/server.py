"""The engine as a server: ComfyUI's HTTP and WebSocket API on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web

from backend.engine.core import EngineCore
from backend.engine.dialect import Dialect
from backend.engine.executor import Executor
from backend.engine.files import Folders
from backend.engine.messages import text
from backend.engine.node_type import Workspace
from backend.engine.painting import Painter
from backend.engine.prompt_nodes import LORAS
from backend.engine.prompt_queue import HISTORY_SIZE, PromptQueue
from backend.engine.routes_files import MAX_UPLOAD_BYTES, FileRoutes
from backend.engine.routes_info import MODEL_FOLDERS, InfoRoutes, features
from backend.engine.routes_jobs import JobRoutes
from backend.engine.routes_prompts import PromptRoutes
from backend.engine.sockets import Connection, SocketHub, ThreadedAudience
from backend.engine.stock_nodes import CHECKPOINT, stock_nodes
from backend.engine.worker import Worker

VERSION = "dreamloop-embedded-0.1.0"
LOOPBACK = "127.0.0.1"

_log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware: TypeAlias = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]

_LOOPBACK_NAMES = {"127.0.0.1", "localhost", "::1"}


class EngineServer:
    """One engine: the sockets, the queue and the thread that paints. Lives on one event loop.

    Args:
        folder: Root of its input, output and temp folders; temp is emptied.
        painter: Paints the pictures.
        dialect: Which generation of the API to speak.
        hub: Its WebSockets; handed in by those who want to watch or disturb them.
        middlewares: Around all HTTP requests, outermost first.
        history_size: Ended prompts that are remembered.
    """

    def __init__(
        self,
        folder: Path,
        painter: Painter,
        *,
        dialect: Dialect = Dialect.B,
        version: str = VERSION,
        hub: SocketHub | None = None,
        middlewares: Sequence[Middleware] = (),
        history_size: int = HISTORY_SIZE,
        clock: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        hub = hub or SocketHub()
        models: dict[str, list[str]] = {name: [] for name in MODEL_FOLDERS.split()}
        models |= {"checkpoints": [CHECKPOINT], "loras": list(LORAS)}
        workspace = Workspace(Folders(folder), painter, models)
        nodes = stock_nodes(dialect)
        audience = ThreadedAudience(hub, self._loop)
        queue = PromptQueue(self._tell_status, history_size=history_size)
        executor = Executor(nodes, workspace, lambda: queue.interrupted)
        worker = Worker(queue, executor, audience, clock=clock, wall_ms=wall_ms)
        self.core = EngineCore(dialect, version, nodes, workspace, queue, hub, worker, wall_ms)
        self._audience = audience
        self._middlewares = [*middlewares, refuse_foreign_pages]
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, port: int = 0) -> int:
        """Listens on loopback and starts to work; the port, chosen by the system if 0 was asked for.

        Raises:
            OSError: The port is taken.
        """
        runner = web.AppRunner(self._app(), access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        self._runner = runner
        await web.TCPSite(runner, LOOPBACK, port, reuse_address=True).start()
        self.port = int(runner.addresses[0][1])
        self.core.worker.start()
        return self.port

    async def stop(self, timeout_s: float = 5.0) -> bool:
        """Interrupts what runs and cuts all connections, without a word, as ComfyUI does when it ends.

        Returns:
            Whether the worker ended in time.
        """
        self.core.queue.close()
        if self._runner is not None:
            for site in list(self._runner.sites):
                await site.stop()
            self._cut_connections(self._runner)
            await self._runner.cleanup()
        return await asyncio.to_thread(self.core.worker.join, timeout_s)

    @staticmethod
    def _cut_connections(runner: web.AppRunner) -> None:
        for handler in list(runner.server.connections) if runner.server is not None else []:
            if isinstance(handler.transport, asyncio.Transport):
                handler.transport.abort()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_UPLOAD_BYTES, middlewares=self._middlewares)  # type: ignore[arg-type]
        core = self.core
        routes = [*PromptRoutes(core).table(), *FileRoutes(core).table(), *InfoRoutes(core).table()]
        routes.append(web.get("/ws", self._socket))
        for route in routes:
            app.router.add_route(route.method, route.path, route.handler)
            app.router.add_route(route.method, f"/api{route.path}", route.handler)
        if core.dialect.has_jobs:
            app.router.add_routes(JobRoutes(core).table())
        return app

    def _tell_status(self) -> None:
        self._audience.tell("status", self._status(), None)

    def _status(self) -> dict[str, Any]:
        return {"status": {"exec_info": {"queue_remaining": self.core.queue.remaining()}}}

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        # Pictures are compressed already: deflating them again would cost more than the painting.
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        client_id = request.query.get("clientId", "") or uuid.uuid4().hex
        connection = Connection(socket, request.transport, client_id)
        self.core.hub.add(connection)
        writer = asyncio.create_task(connection.write_out())
        try:
            self._greet(connection)
            await self._listen(socket, connection)
        finally:
            self.core.hub.remove(connection)
            connection.close()
            writer.cancel()
        return socket

    def _greet(self, connection: Connection) -> None:
        hub = self.core.hub
        status = {**self._status(), "sid": connection.client_id}
        hub.tell_one(connection, "status", text("status", status))
        progress, running = self.core.worker.progress, self.core.queue.running()
        node_id = progress.executing if progress is not None else None
        if node_id is not None and running is not None and running.client_id == connection.client_id:
            hub.tell_one(connection, "executing", text("executing", {"node": node_id}))

    async def _listen(self, socket: web.WebSocketResponse, connection: Connection) -> None:
        is_first = True
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            if is_first and (flags := _feature_flags(message.data)) is not None:
                connection.wants_origin = flags.get("supports_preview_metadata") is True
                answer = text("feature_flags", features(self.core.dialect))
                self.core.hub.tell_one(connection, "feature_flags", answer)
            is_first = False


def _feature_flags(message: str) -> dict[str, Any] | None:
    """What a client says it can do; None if it says something else."""
    try:
        parsed = json.loads(message)
    except ValueError:
        return None
    if not isinstance(parsed, dict) or parsed.get("type") != "feature_flags":
        return None
    flags = parsed.get("data", {})
    return flags if isinstance(flags, dict) else {}


@web.middleware
async def refuse_foreign_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """403 for pages of other sites that a browser has open, and for names that were bent to loopback."""
    host = request.headers.get("Host", "")
    origin = request.headers.get("Origin")
    if urlsplit(f"//{host}").hostname not in _LOOPBACK_NAMES:
        return web.Response(status=403)
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return web.Response(status=403)
    return await handler(request)
