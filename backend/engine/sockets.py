"""The engine's WebSockets: who is connected, and what goes to whom.

As in ComfyUI a client id belongs to the newest connection that named it, and *any* connection of that id
which closes takes the registration away: the newer one stays open and hears nothing more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import Any

from aiohttp import web

from backend.engine import messages
from backend.engine.messages import PictureType

_log = logging.getLogger(__name__)

_OUTBOX = 2048
"""Messages that may wait for one client; one that lets more pile up is cut off."""

_BURST = 64
"""Text messages that the worker sends without looking whether its listener keeps up."""

_PATIENCE_S = 20.0
"""How long the worker waits for a client that does not read."""


class Connection:
    """One open WebSocket with its own outbox, so that a client that does not read stops nobody else."""

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport | None, client_id: str
    ) -> None:
        self.client_id = client_id
        self.wants_origin = False
        self._socket = socket
        self._transport = transport
        self._outbox: asyncio.Queue[str | bytes] = asyncio.Queue(_OUTBOX)
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._is_cut = False

    def put(self, message: str | bytes) -> None:
        """Queues a message; cuts the client off if too many wait."""
        if self._is_cut:
            return
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            self.cut_off()
            return
        if self._outbox.qsize() > _OUTBOX // 2:
            self._has_room.clear()

    async def room(self) -> None:
        """Waits until the outbox is half empty; cuts the client off if that takes too long."""
        try:
            await asyncio.wait_for(self._has_room.wait(), _PATIENCE_S)
        except TimeoutError:
            self.cut_off()

    async def put_in_turn(self, message: bytes) -> None:
        """Queues a picture as soon as there is room; cuts the client off if that takes too long."""
        if self._is_cut:
            return
        try:
            await asyncio.wait_for(self._outbox.put(message), _PATIENCE_S)
        except TimeoutError:
            self.cut_off()

    def cut_off(self) -> None:
        _log.warning("client %s does not read its messages: cut off", self.client_id)
        self.close()
        self.abort()

    def close(self) -> None:
        """Nobody reads any more: drops what waits, and lets go whoever waits for room."""
        self._is_cut = True
        while not self._outbox.empty():
            self._outbox.get_nowait()
        self._has_room.set()

    def abort(self) -> None:
        """Ends the connection at once, without a closing handshake."""
        if self._transport is not None:
            self._transport.abort()

    async def write_out(self) -> None:
        """Sends what is queued until the connection ends."""
        while True:
            message = await self._outbox.get()
            if self._outbox.qsize() <= _OUTBOX // 2:
                self._has_room.set()
            try:
                if isinstance(message, str):
                    await self._socket.send_str(message)
                else:
                    await self._socket.send_bytes(message)
            except (ConnectionError, RuntimeError):
                return


class SocketHub:
    """All connections by client id. Everything here runs on the event loop."""

    def __init__(self) -> None:
        self._by_client: dict[str, Connection] = {}
        self.open: set[Connection] = set()

    def add(self, connection: Connection) -> None:
        """From now on the client id means this connection."""
        self.open.add(connection)
        self._by_client[connection.client_id] = connection

    def remove(self, connection: Connection) -> None:
        """A connection closed: its client id means nobody any more, even if a newer one had taken it."""
        self.open.discard(connection)
        self._by_client.pop(connection.client_id, None)

    def receivers(self, client_id: str | None) -> list[Connection]:
        """Whom a message to this client reaches; None means everybody who is registered."""
        if client_id is None:
            return list(self._by_client.values())
        connection = self._by_client.get(client_id)
        return [] if connection is None else [connection]

    def tell(self, kind: str, data: Mapping[str, Any], client_id: str | None = None) -> None:
        message = messages.text(kind, data)
        for connection in self.receivers(client_id):
            self.tell_one(connection, kind, message)

    def tell_one(self, connection: Connection, kind: str, message: str) -> None:
        """The one place where text leaves; ``kind`` is for those who watch."""
        connection.put(message)

    def wants_origin(self, client_id: str) -> bool:
        return any(connection.wants_origin for connection in self.receivers(client_id))

    async def room(self, client_id: str | None) -> None:
        """Waits until the receivers keep up again."""
        for connection in self.receivers(client_id):
            await connection.room()

    async def show(self, frame: bytes, client_id: str | None) -> None:
        """A binary frame, as soon as its receivers have room for it."""
        for connection in self.receivers(client_id):
            await self.show_one(connection, frame)

    async def show_one(self, connection: Connection, frame: bytes) -> None:
        """The one place where pictures leave."""
        await connection.put_in_turn(frame)


class ThreadedAudience:
    """The hub as the worker thread sees it: everything is handed to the event loop, in order."""

    def __init__(self, hub: SocketHub, loop: asyncio.AbstractEventLoop) -> None:
        self._hub = hub
        self._loop = loop
        self._told = 0

    def tell(self, kind: str, data: Mapping[str, Any], client_id: str | None) -> None:
        # The data goes on changing in this thread: it must be text before it travels.
        message = messages.text(kind, data)
        self._soon(self._tell_all, kind, message, client_id)
        self._told += 1
        if self._told % _BURST == 0 and client_id is not None:
            self._wait_for(self._hub.room(client_id))

    def _tell_all(self, kind: str, message: str, client_id: str | None) -> None:
        for connection in self._hub.receivers(client_id):
            self._hub.tell_one(connection, kind, message)

    def show_with_origin(
        self,
        kind: PictureType,
        image: bytes,
        *,
        client_id: str | None,
        prompt_id: str,
        node_id: str,
        frame: int | None = None,
    ) -> bool:
        if client_id is None or not self._hub.wants_origin(client_id):
            return False
        message = messages.picture_with_origin(kind, image, node_id=node_id, prompt_id=prompt_id, frame=frame)
        self._show(message, client_id)
        return True

    def show(self, kind: PictureType, image: bytes, client_id: str | None) -> None:
        self._show(messages.picture(kind, image), client_id)

    def _show(self, frame: bytes, client_id: str | None) -> None:
        self._wait_for(self._hub.show(frame, client_id))

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop is closed: the engine stops
            work.close()
            return
        try:
            future.result(2 * _PATIENCE_S)
        except TimeoutError:
            future.cancel()

    def _soon(self, call: Any, *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            _log.debug("the event loop is closed: a message is dropped")
