"""A TCP proxy that does what networks do to people: it delays, stalls, cuts, resets and swallows."""

from __future__ import annotations

import contextlib
import fnmatch
import re
import select
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType

_TICK_S = 0.01
_HUNG_UP = getattr(select, "POLLRDHUP", select.POLLHUP)  # the former is Linux's alone
_CHUNK_BYTES = 65536
_MOST_HELD_BYTES = 2**26
_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time to linger


@dataclass
class AnswerFault:
    """What happens to the answers of matching requests, which the server gets whole.

    Attributes:
        path: May have wildcards; compared with path and query.
        share: This part of the body's bytes goes through; 0 drops the answer with its head.
        then: "close", "reset", or "silence": the connection stays open and nothing comes any more.
        times: How often; None for always.
    """

    method: str
    path: str
    share: float = 0.0
    then: str = "close"
    times: int | None = None
    hits: int = 0

    def takes(self, method: str, path: str) -> bool:
        if self.method != method or not fnmatch.fnmatchcase(path, self.path):
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


@dataclass(eq=False)
class _Pair:
    """A connection: its two sockets, and what is still on its way to the client."""

    client: socket.socket
    target: socket.socket
    dead: bool = False
    half_closed: bool = False
    held: deque[tuple[float, bytes]] = field(default_factory=deque)
    fault: AnswerFault | None = None
    answer: bytes = b""


class ChaosProxy:
    """Forwards to a port of this machine, as well as it is allowed to.

    Attributes:
        delay_s: Everything to the client takes so much longer.
        stalled: While set, nothing reaches the client; it comes afterwards.
        connected_at: When each connection was accepted, by the monotonic clock.
        asked: First request line of each connection, as "GET /ws?...".
    """

    def __init__(self, port: int) -> None:
        self.delay_s = 0.0
        self.stalled = False
        self.connected_at: list[float] = []
        self.asked: list[tuple[float, str]] = []
        self._target = port
        self._blackhole = False
        self._faults: list[AnswerFault] = []
        self._pairs: set[_Pair] = set()
        self._closing = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(_TICK_S)
        self._threads: list[threading.Thread] = [
            threading.Thread(target=self._accept, name="chaos-proxy", daemon=True)
        ]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> ChaosProxy:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join(10.0)
        self._server.close()

    # What goes wrong

    def blackhole(self) -> None:
        """Nothing is forwarded, read or closed; connections of that time stay dead for ever."""
        self._blackhole = True

    def reset(self) -> None:
        """Ends all connections with a reset."""
        for pair in list(self._pairs):
            with contextlib.suppress(OSError):
                pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            pair.fault, pair.dead = AnswerFault("", "", then="reset"), True

    def half_close(self) -> None:
        """Says on all connections that no more will come, and goes on listening."""
        for pair in list(self._pairs):
            pair.half_closed = True
            with contextlib.suppress(OSError):
                pair.client.shutdown(socket.SHUT_WR)

    def cut(
        self, method: str, path: str, *, share: float, then: str = "close", times: int | None = None
    ) -> AnswerFault:
        """Sends only a part of the body that the head promises."""
        return self._disturb(AnswerFault(method, path, share, then, times))

    def drop_answer(
        self, method: str, path: str, *, then: str = "close", times: int | None = None
    ) -> AnswerFault:
        """The server gets the request and answers; nobody hears it."""
        return self._disturb(AnswerFault(method, path, 0.0, then, times))

    def heal(self) -> None:
        """New connections are good ones again, and nothing is held back."""
        self._faults.clear()
        self._blackhole = self.stalled = False
        self.delay_s = 0.0

    def _disturb(self, fault: AnswerFault) -> AnswerFault:
        self._faults.append(fault)
        return fault

    # How it forwards

    def _accept(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._server.accept()
                self.connected_at.append(time.monotonic())
                thread = threading.Thread(target=self._serve, args=(client,), name="chaos-proxy", daemon=True)
                self._threads = [one for one in self._threads if one.is_alive()]
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self._blackhole:
                self._hold_dead(client)
                return
            with socket.create_connection(("127.0.0.1", self._target)) as target:
                pair = _Pair(client, target)
                self._pairs.add(pair)
                try:
                    self._forward(pair)
                finally:
                    self._pairs.discard(pair)

    def _forward(self, pair: _Pair) -> None:
        first = True
        while not self._closing.is_set():
            if self._blackhole or pair.dead:
                pair.dead = True
                if pair.fault is None or pair.fault.then == "silence":
                    self._hold_dead(pair.client)
                return
            readable, _, _ = select.select([pair.client, pair.target], [], [], _TICK_S)
            if pair.client in readable:
                data = pair.client.recv(_CHUNK_BYTES)
                if not data:
                    return
                self._note_request(pair, data, first)
                first = False
                pair.target.sendall(data)
            if pair.target in readable:
                data = pair.target.recv(_CHUNK_BYTES)
                if not data:
                    return
                self._take_answer(pair, data)
            self._pass_on(pair)

    def _hold_dead(self, client: socket.socket) -> None:
        """Until the client has closed its end; nothing is read, for a dead network takes nothing."""
        closed = select.poll()
        closed.register(client, _HUNG_UP)
        while not self._closing.is_set() and not closed.poll(1000 * _TICK_S):
            pass

    def _note_request(self, pair: _Pair, data: bytes, first: bool) -> None:
        """Requests begin with a packet: nobody here sends a second one before the first is answered."""
        head = _REQUEST.match(data)
        if head is None:
            return
        method, path = head[1].decode(), head[2].decode()
        if first:
            self.asked.append((time.monotonic(), f"{method} {path}"))
        pair.fault = next((fault for fault in self._faults if fault.takes(method, path)), None)
        pair.answer = b""

    def _take_answer(self, pair: _Pair, data: bytes) -> None:
        fault = pair.fault
        if fault is None:
            pair.held.append((time.monotonic() + self.delay_s, data))
            return
        pair.answer += data
        head, end, body = pair.answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if not end or (length and len(body) < int(length[1])):
            return  # the server is heard out, so that it has done what it was asked for
        if fault.share > 0.0:
            part = head + end + body[: int(len(body) * fault.share)]
            pair.held.append((time.monotonic(), part))
            self._pass_on(pair)
        if fault.then == "reset":
            pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        pair.dead = True

    def _pass_on(self, pair: _Pair) -> None:
        if sum(len(data) for _, data in pair.held) > _MOST_HELD_BYTES:
            pair.dead = True
        while pair.held and pair.held[0][0] <= time.monotonic() and not self.stalled:
            _, data = pair.held.popleft()
            if not pair.half_closed:
                pair.client.sendall(data)
