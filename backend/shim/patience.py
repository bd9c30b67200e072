"""How long a client may take to say what it wants, and how much it may say."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Message, Receive, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from backend.shim.answers import Code, RefusedError
from backend.shim.room import connections

REQUEST_S = 10.0
"""From the first byte of a request, or from connecting, to its last."""
MAX_HEAD = 64_000
SMALL_BODY = 300_000
PICTURE_BODY = 20_000_000


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's, with an end to requests that trickle in (slowloris) and to connections that say nothing."""

    _due: asyncio.TimerHandle | None = None
    _head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there: it has so long to ask for something."""
        super().connection_made(transport)
        if len(self.connections) > connections():
            transport.abort()
            return
        self._expect()

    def data_received(self, data: bytes) -> None:
        """More of a request."""
        self._head = 0 if self._has_head() else self._head + len(data)
        if self._head > MAX_HEAD:
            self.transport.abort()
            return
        super().data_received(data)
        if self._is_whole():
            self._forget()
        else:
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._forget()
        super().connection_lost(exc)

    def _has_head(self) -> bool:
        """Whether a request is being read or answered whose headers have all arrived."""
        return self.cycle is not None and not self.cycle.response_complete

    def _is_whole(self) -> bool:
        """Whether a whole request has arrived, which is being answered."""
        return self._has_head() and not self.cycle.more_body

    def _expect(self) -> None:
        if self._due is None:  # more bytes do not buy more time
            self._due = self.loop.call_later(REQUEST_S, self._give_up)

    def _forget(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _give_up(self) -> None:
        self._due = None
        if not self.transport.is_closing():
            self.transport.abort()


def bounded(scope: Scope, receive: Receive, most: int) -> Receive:
    """The body of a request, of which no more than ``most`` bytes are ever read.

    Raises:
        RefusedError: 413, at once where the request says how long it is.
    """
    said = dict(scope["headers"]).get(b"content-length", b"0")
    if not said.isdigit() or int(said) > most:
        raise _too_large(most)
    read = 0

    async def receive_bounded() -> Message:
        nonlocal read
        message: Any = await receive()
        read += len(message.get("body", b""))
        if read > most:
            raise _too_large(most)
        return message  # type: ignore[no-any-return]

    return receive_bounded


def _too_large(most: int) -> RefusedError:
    return RefusedError(413, Code.TOO_LARGE, f"at most {most:,} bytes", {"Connection": "close"})
