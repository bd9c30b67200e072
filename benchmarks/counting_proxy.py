"""A TCP proxy on loopback that passes everything on untouched, and counts the jobs that are asked for."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

_TICK_S = 0.2
_CHUNK_BYTES = 65536
_CONNECT_S = 5.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_POST = re.compile(rb"POST (?:/api)?/prompt HTTP/")
_SEEDS = ("seed", "noise_seed")


class Asked:
    """The jobs that went by. Thread-safe.

    A keyframe is known by its seeds, so that one that had to be posted again counts once.
    """

    def __init__(self) -> None:
        self.posts = 0
        self._keyframes: set[tuple[int, ...]] = set()
        self._lock = threading.Lock()

    @property
    def keyframes(self) -> int:
        """How many different keyframes were asked for."""
        with self._lock:
            return len(self._keyframes)

    def note(self, body: bytes) -> None:
        """Takes the body of a POST /prompt."""
        try:
            graph = json.loads(body)["prompt"]
            seeds = tuple(seed for node in graph.values() for seed in _seeds_of(node))
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        with self._lock:
            self.posts += 1
            if seeds:
                self._keyframes.add(seeds)


def _seeds_of(node: Mapping[str, Any]) -> list[int]:
    return [node["inputs"][name] for name in _SEEDS if isinstance(node["inputs"].get(name), int)]


class RequestReader:
    """Finds the bodies of POST /prompt in what one client sends on one connection."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._buffer = b""
        self._is_http = True

    def feed(self, data: bytes) -> None:
        """Takes what came next, cut anywhere."""
        if not self._is_http:
            return
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, length = self._buffer[: end + 2], _LENGTH.search(self._buffer[: end + 2])
            if b"\r\nupgrade: websocket" in head.lower():
                self._is_http, self._buffer = False, b""
                return
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < whole:
                return
            if _POST.match(head):
                self._asked.note(self._buffer[end + 4 : whole])
            self._buffer = self._buffer[whole:]


class CountingProxy:
    """Listens on a free port for as long as it is entered; where the server is away, it hangs up."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self.asked = Asked()
        self._target = (target.hostname or "127.0.0.1", target.port or 80)
        self._closing = threading.Event()
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(target=self._accept, name="counting-proxy", daemon=True)

    @property
    def url(self) -> str:
        """Where clients are to connect, once it listens."""
        assert self._listener is not None
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> CountingProxy:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_TICK_S)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()
        assert self._listener is not None
        self._listener.close()

    def _accept(self) -> None:
        assert self._listener is not None
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection(self._target, _CONNECT_S) as server,
        ):
            server.settimeout(None)
            self._forward(client, server)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        reader = RequestReader(self.asked)
        while not self._closing.is_set():
            readable, _, _ = select.select([client, server], [], [], _TICK_S)
            for source, target in ((client, server), (server, client)):
                if source not in readable:
                    continue
                data = source.recv(_CHUNK_BYTES)
                if not data:
                    return
                if source is client:
                    reader.feed(data)
                target.sendall(data)
