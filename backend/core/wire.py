"""A WebSocket as the listener needs it, and the one made with websocket-client."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlsplit

import websocket
from websocket._abnf import frame_buffer

from backend.core.bounded_http import tls_context
from backend.core.http_troubles import tls_trouble

MAX_FRAME_BYTES = 64 * 2**20
"""A picture, or a text, beyond this ends the connection."""

_GATEWAY = (502, 503, 504)
_BROKEN = (websocket.WebSocketException, OSError, ValueError, AttributeError)
"""What a socket raises, also when another thread closes it meanwhile."""


class WireClosed(Exception):  # noqa: N818 - what happened, not whose fault it is
    """The connection is gone, or was never made; ``nobody`` says that nobody answered at all."""

    def __init__(self, reason: str, *, nobody: bool = False) -> None:
        self.nobody = nobody
        super().__init__(reason)


@dataclass(frozen=True)
class ControlFrame:
    """A ping or a pong: a sign of life and nothing else."""


Frame: TypeAlias = str | bytes | ControlFrame | None
"""What a wire gives: a text, a binary message, a control frame, or None when nothing came in time."""


class Wire(Protocol):
    """An open WebSocket. All methods but ``abort`` are called by one thread."""

    def send(self, text: str) -> None: ...

    def ping(self) -> None: ...

    def receive(self, timeout_s: float) -> Frame:
        """The next frame, or None; raises WireClosed."""
        ...

    def abort(self) -> None:
        """Closes at once; may be called by any thread and wakes a ``receive``."""
        ...


class _CappedBuffer(frame_buffer):
    """Refuses a message by its announced length, all its parts together, before a byte beyond is kept."""

    def __init__(self, receive: Callable[[int], bytes], max_bytes: int) -> None:
        super().__init__(receive, skip_utf8_validation=True)
        self._max_bytes = max_bytes
        self._message_bytes = 0

    def recv_length(self) -> None:
        super().recv_length()
        opcode = self.header[4] if self.header else websocket.ABNF.OPCODE_CONT
        if opcode in (websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY):
            self._message_bytes = 0
        if opcode < websocket.ABNF.OPCODE_CLOSE:  # the others are signs of life and have 125 bytes at most
            self._message_bytes += self.length or 0
        if self._message_bytes > self._max_bytes:
            raise websocket.WebSocketPayloadException(f"a message of {self._message_bytes} bytes or more")


class _CappedWebSocket(websocket.WebSocket):
    def __init__(self, max_bytes: int) -> None:
        super().__init__(enable_multithread=True, skip_utf8_validation=True)
        self.frame_buffer = _CappedBuffer(self._recv, max_bytes)


class WebSocketWire:
    """A wire over websocket-client, which offers no compression (the server would pack each PNG again)."""

    def __init__(
        self,
        url: str,
        connect_s: float,
        *,
        headers: Mapping[str, str] | None = None,
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        """Connects.

        Args:
            url: ``ws(s)://...``.
            connect_s: How long it may take, in total.
            headers: Sent along with the handshake; never shown.
            max_frame_bytes: A message beyond this ends the connection.

        Raises:
            WireClosed: There is no connection.
        """
        self._buffered = 0
        self._socket = _CappedWebSocket(max_frame_bytes)
        try:
            self._socket.sock = _connected(url, connect_s)
            # The time-out is for each read: a handshake that trickles in is ended by the timer.
            too_late = threading.Timer(connect_s, self.abort)
            too_late.daemon = True
            too_late.start()
            try:
                self._shake_hands(url, headers or {})
            finally:
                too_late.cancel()
        except websocket.WebSocketBadStatusException as error:
            raise _refused(error.status_code) from None  # its own words hold all headers of the answer
        except _BROKEN as error:
            self.abort()
            known = tls_trouble(error) if isinstance(error, ssl.SSLError) else None
            nobody = isinstance(error, OSError | websocket.WebSocketTimeoutException)
            raise WireClosed(f"no connection: {known or error}", nobody=nobody) from error

    def _shake_hands(self, url: str, headers: Mapping[str, str]) -> None:
        own = self._socket.sock
        self._socket.connect(  # type: ignore[no-untyped-call]
            url,
            socket=own,
            header=dict(headers),
            suppress_origin=True,  # another Origin than the server's own host is refused
            redirect_limit=0,
            http_no_proxy=["*"],
        )
        status = self._socket.getstatus()
        if status != HTTPStatus.SWITCHING_PROTOCOLS:  # a redirect passes for success in older versions
            raise websocket.WebSocketException(f"status {status} instead of 101")

    def send(self, text: str) -> None:
        """Sends a text frame."""
        self._do(self._socket.send, text)

    def ping(self) -> None:
        """Asks for a sign of life."""
        self._do(self._socket.ping)

    def receive(self, timeout_s: float) -> Frame:
        """The next frame; part of a large one counts as a sign of life."""
        try:
            self._socket.settimeout(timeout_s)
            opcode, frame = self._socket.recv_data_frame(True)
        except websocket.WebSocketTimeoutException:
            return self._part()
        except _BROKEN as error:
            raise WireClosed(f"the connection broke: {error}") from error
        self._buffered = 0
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise WireClosed("the server closed the connection")
        if opcode == websocket.ABNF.OPCODE_TEXT:
            return bytes(frame.data).decode(errors="replace")
        return bytes(frame.data) if opcode == websocket.ABNF.OPCODE_BINARY else ControlFrame()

    def abort(self) -> None:
        """Closes at once, without a handshake."""
        open_socket = self._socket.sock
        if open_socket is not None:
            with contextlib.suppress(OSError):
                # Not TLS's own: that would let the reader take what is still encrypted for plain.
                socket.socket.shutdown(open_socket, socket.SHUT_RDWR)
            open_socket.close()

    def _part(self) -> Frame:
        buffered = sum(len(part) for part in self._socket.frame_buffer.recv_buffer)
        grown, self._buffered = buffered > self._buffered, buffered
        return ControlFrame() if grown else None

    def _do(self, call: Any, *arguments: str) -> None:
        try:
            call(*arguments)
        except _BROKEN as error:
            raise WireClosed(f"the connection broke: {error}") from error


def connect_wire(
    url: str,
    connect_s: float,
    *,
    headers: Mapping[str, str] | None = None,
    max_frame_bytes: int = MAX_FRAME_BYTES,
) -> Wire:
    """Opens a wire; raises WireClosed."""
    return WebSocketWire(url, connect_s, headers=headers, max_frame_bytes=max_frame_bytes)


def _connected(url: str, connect_s: float) -> socket.socket:
    """A socket to the URL's host, with TLS where it asks for it."""
    parts = urlsplit(url)
    tls = parts.scheme == "wss"
    host = parts.hostname or ""
    raw = socket.create_connection((host, parts.port or (443 if tls else 80)), timeout=connect_s)
    try:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return tls_context().wrap_socket(raw, server_hostname=host) if tls else raw
    except BaseException:
        raw.close()
        raise


def _refused(status: int | None) -> WireClosed:
    return WireClosed(f"no connection: status {status} instead of 101", nobody=status in _GATEWAY)
