"""The real wire, with a server that speaks WebSocket by hand."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import struct

import pytest

from backend.core.wire import ControlFrame, WebSocketWire, WireClosed
from tests.core.odd_servers import OddServer

GUARD_S = 30.0
TEXT, BINARY, CONTINUED, PING = 1, 2, 0, 9
CAP_BYTES = 100_000


def frame(opcode: int, payload: bytes, *, final: bool = True, announced: int | None = None) -> bytes:
    length = len(payload) if announced is None else announced
    return struct.pack("!BBQ", (0x80 if final else 0) | opcode, 127, length) + payload


def sending(*frames: bytes) -> OddServer:
    """Shakes hands, sends the frames, and then waits for the end."""

    def serve(server: OddServer, client: socket.socket, head: bytes) -> None:
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", head)
        assert key is not None
        digest = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        client.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n" + b"".join(frames)
        )
        server.over.wait(GUARD_S)

    return OddServer(serve)


def wire_to(server: OddServer) -> WebSocketWire:
    return WebSocketWire(f"{server.url.replace('http', 'ws')}/ws", GUARD_S, max_frame_bytes=CAP_BYTES)


def test_messages_come_as_they_were_sent_and_a_ping_is_a_sign_of_life() -> None:
    with sending(frame(TEXT, "ä".encode()), frame(PING, b""), frame(BINARY, b"\0\1")) as server:
        wire = wire_to(server)
        assert [wire.receive(GUARD_S) for _ in range(3)] == ["ä", ControlFrame(), b"\0\1"]
        assert wire.receive(0.05) is None
        wire.abort()


def test_a_message_in_parts_is_put_together_and_each_may_be_as_large_as_the_cap() -> None:
    half = b"x" * (CAP_BYTES // 2)
    parts = [frame(BINARY, half, final=False), frame(PING, b"p" * 125), frame(CONTINUED, half)]
    with sending(*parts * 2) as server:
        wire = wire_to(server)
        got = [wire.receive(GUARD_S) for _ in range(4)]
        assert [one for one in got if isinstance(one, bytes)] == [half + half] * 2
        wire.abort()


def test_f16_a_frame_that_announces_too_much_ends_the_connection_before_it_comes() -> None:
    with sending(frame(BINARY, b"", announced=CAP_BYTES + 1)) as server:
        wire = wire_to(server)
        with pytest.raises(WireClosed, match="a message of 100001 bytes"):
            wire.receive(GUARD_S)
        wire.abort()


def test_f16_a_message_of_too_many_parts_ends_the_connection() -> None:
    part = b"x" * 40_000
    with sending(frame(TEXT, part, final=False), *[frame(CONTINUED, part, final=False)] * 100) as server:
        wire = wire_to(server)
        with pytest.raises(WireClosed, match="a message of 120000 bytes"):
            wire.receive(GUARD_S)
        wire.abort()


def test_half_a_frame_is_a_sign_of_life_only_while_it_grows() -> None:
    with sending(frame(BINARY, b"x" * 10, announced=1000)) as server:
        wire = wire_to(server)
        assert wire.receive(0.2) == ControlFrame()
        assert wire.receive(0.05) is None
        wire.abort()
        with pytest.raises(WireClosed):
            wire.receive(GUARD_S)
