"""A ``requests`` session whose calls end in time, however slowly a server lets its answer trickle in.

The time-outs of ``requests`` are for each read: a server that sends one byte a second of its headers would be
listened to for ever. Here every read and every write gets what is left of the call's own time.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_PIECE_BYTES = 64 * 1024


class Deadline:
    """When the call in hand must be over. A session makes one call at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until_s = self._silent_s = float("inf")

    def start(self, total_s: float, silent_s: float = float("inf")) -> None:
        """A call begins and may take so long, with no byte coming for so long at the most."""
        self._until_s, self._silent_s = self._clock() + total_s, silent_s

    def left_s(self) -> float:
        """How long the next bytes may take; raises TimeoutError when the call's time is over."""
        left_s = self._until_s - self._clock()
        if left_s <= 0:
            raise TimeoutError("the call's time is over")
        return min(left_s, self._silent_s)


def bounded_session(deadline: Deadline) -> requests.Session:
    """A session that asks no environment, follows no proxies and keeps to the deadline."""
    session = requests.Session()
    session.trust_env = False  # no proxies, and no search for .netrc on each call
    adapter = _BoundedAdapter(deadline)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def tls_context() -> ssl.SSLContext:
    """Trusts the system's authorities (or those that SSL_CERT_FILE names), and those that browsers trust."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # some Pythons come without the system's
    return context


class _BoundedAdapter(HTTPAdapter):
    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_Pool, deadline=self._deadline),
            "https": partial(_TlsPool, deadline=self._deadline),
        }


class _Connection(HTTPConnection):
    def __init__(self, *args: Any, deadline: Deadline, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline = deadline
        self.response_class = partial(_Response, deadline)  # type: ignore[assignment]

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        # In pieces, for a socket's time-out is for all that is handed to it, however steadily it goes out.
        for piece in _pieces(data):
            if self.sock is not None:  # so far it had only the time for connecting, too little for an upload
                self.sock.settimeout(self._deadline.left_s())
            super().send(piece)


def _pieces(data: Any) -> Iterable[Any]:
    """Whole bytes in pieces; what else may be sent as it is."""
    if not isinstance(data, bytes) or len(data) <= _PIECE_BYTES:
        return (data,)
    return (data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES))


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection

    def __init__(self, *args: Any, deadline: Deadline, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn_kw["deadline"] = deadline


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection

    def __init__(self, *args: Any, deadline: Deadline, **options: Any) -> None:
        super().__init__(*args, **(options | {"ssl_context": tls_context()}))
        self.conn_kw["deadline"] = deadline


class _Response(http.client.HTTPResponse):
    """Reads its status line, its headers and its body under the deadline."""

    def __init__(self, deadline: Deadline, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp: Any = io.BufferedReader(_BoundedReader(self.fp.detach(), sock, deadline))


class _BoundedReader(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: Deadline) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._deadline.left_s())
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
