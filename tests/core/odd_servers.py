"""Servers as people have them in front of a ComfyUI, or in its place: bare bytes, a reverse proxy, TLS."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import pytest

_TICK_S = 0.05
_HEAD_END = b"\r\n\r\n"


class OddServer:
    """Listens on loopback and lets ``serve`` have each connection, in a thread of its own.

    Attributes:
        heads: What came first over each connection, up to the empty line.
        over: Set when the server is to end; what trickles must look at it.
    """

    def __init__(
        self, serve: Callable[[OddServer, socket.socket, bytes], None], tls: ssl.SSLContext | None = None
    ) -> None:
        self.heads: list[bytes] = []
        self.over = threading.Event()
        self._serve = serve
        self._tls = tls
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(_TICK_S)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> OddServer:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(10.0)
        self._server.close()

    def _accept(self) -> None:
        while not self.over.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._server.accept()
                thread = threading.Thread(target=self._have, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _have(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client.settimeout(5.0)
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
        with client, contextlib.suppress(OSError):
            head = b""
            while _HEAD_END not in head and (data := client.recv(65536)):
                head += data
            if head:
                self.heads.append(head)
                self._serve(self, client, head)


def answering(
    status: str, body: str = "", *headers: str
) -> Callable[[OddServer, socket.socket, bytes], None]:
    """Always the same answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body.encode())}", "Connection: close", *headers]

    def serve(_server: OddServer, client: socket.socket, _head: bytes) -> None:
        client.sendall("\r\n".join([*lines, "", body]).encode())
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):  # what is still being sent, so that the answer is not lost in a reset
            pass

    return serve


def saying(data: bytes) -> Callable[[OddServer, socket.socket, bytes], None]:
    """Bare bytes, then the end."""
    return lambda _server, client, _head: client.sendall(data)


def trickling(start: bytes, drop: bytes) -> Callable[[OddServer, socket.socket, bytes], None]:
    """Begins an answer and goes on with it drop by drop, for ever."""

    def serve(server: OddServer, client: socket.socket, _head: bytes) -> None:
        client.sendall(start)
        while not server.over.wait(0.02):
            client.sendall(drop)

    return serve


def proxying(port: int, prefix: str) -> Callable[[OddServer, socket.socket, bytes], None]:
    """A reverse proxy that serves a server of this machine under a path, one request a connection."""

    def serve(server: OddServer, client: socket.socket, head: bytes) -> None:
        lines, rest = head.split(_HEAD_END, 1)
        method, path, version = lines.split(b"\r\n", 1)[0].split(b" ")
        if not path.startswith(prefix.encode() + b"/"):
            client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        others = lines.split(b"\r\n", 1)[1].replace(b"keep-alive", b"close")
        first = b" ".join([method, path.removeprefix(prefix.encode()), version])
        with socket.create_connection(("127.0.0.1", port)) as target:
            target.sendall(first + b"\r\n" + others + _HEAD_END + rest)
            _relay(server.over, client, target)

    return serve


def _relay(over: threading.Event, *pair: socket.socket) -> None:
    for one in pair:
        one.settimeout(_TICK_S)
    while not over.is_set():
        for source, sink in (pair, pair[::-1]):
            with contextlib.suppress(TimeoutError):
                data = source.recv(65536)
                if not data:
                    return
                sink.settimeout(5.0)
                sink.sendall(data)
                sink.settimeout(_TICK_S)


def own_authority(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """TLS for 127.0.0.1 with a certificate that nobody trusts but who is given it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl here to make a certificate with (Debian: apt install openssl)")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
    command += f"-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
    subprocess.run(command.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


def prompt_path(head: bytes) -> str:
    """The path that a request asks for."""
    match = re.match(rb"\S+ (\S+) ", head)
    return match[1].decode() if match else ""
