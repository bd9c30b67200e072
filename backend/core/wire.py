"""A WebSocket as the listener needs it, and the one made with websocket-client."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import websocket
from websocket._abnf import frame_buffer

MAX_FRAME_BYTES = 64 * 2**20
"""A picture, or a text, beyond this ends the connection."""


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
    """Refuses a frame by its announced length, before a byte of it is kept."""

    def recv_length(self) -> None:
        super().recv_length()
        if self.length is not None and self.length > MAX_FRAME_BYTES:
            raise websocket.WebSocketPayloadException(f"a frame of {self.length} bytes")


class _CappedWebSocket(websocket.WebSocket):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.frame_buffer = _CappedBuffer(self._recv, skip_utf8_validation=True)


class WebSocketWire:
    """A wire over websocket-client, which offers no compression (the server would pack each PNG again)."""

    def __init__(self, url: str, connect_s: float) -> None:
        """Connects; raises WireClosed."""
        try:
            self._socket = websocket.create_connection(
                url,
                timeout=connect_s,
                class_=_CappedWebSocket,
                suppress_origin=True,  # another Origin than the server's own host is refused
                skip_utf8_validation=True,  # slow in Python, and json.loads checks it anyway
                enable_multithread=True,
                redirect_limit=0,
                http_no_proxy=["*"],
            )
        except (websocket.WebSocketException, OSError, ValueError) as error:
            nobody = isinstance(error, OSError | websocket.WebSocketTimeoutException)
            raise WireClosed(f"no connection: {error}", nobody=nobody) from error
        self._buffered = 0

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
        except (websocket.WebSocketException, OSError, AttributeError) as error:
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
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()

    def _part(self) -> Frame:
        buffered = sum(len(part) for part in self._socket.frame_buffer.recv_buffer)
        grown, self._buffered = buffered > self._buffered, buffered
        return ControlFrame() if grown else None

    def _do(self, call: Any, *arguments: str) -> None:
        try:
            call(*arguments)
        except (websocket.WebSocketException, OSError, AttributeError) as error:
            raise WireClosed(f"the connection broke: {error}") from error


def connect_wire(url: str, connect_s: float) -> Wire:
    """Opens a wire; raises WireClosed."""
    return WebSocketWire(url, connect_s)
