"""A TCP proxy that can swallow everything without closing anything, as a dead network does."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

_TICK_S = 0.02


class HalfOpenProxy:
    """Forwards to a port of this machine until ``blackhole`` is set.

    Attributes:
        blackhole: While set, nothing is forwarded, and connections of that time stay dead for ever.
        accepted: How many connections were accepted.
    """

    def __init__(self, port: int) -> None:
        self.blackhole = threading.Event()
        self.accepted = 0
        self._target = port
        self._closing = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(_TICK_S)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> HalfOpenProxy:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join(10.0)
        self._server.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._server.accept()
                self.accepted += 1
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as target:
            pairs = ((client, target), (target, client))
            for one in (client, target):
                one.settimeout(_TICK_S)
            dead = self.blackhole.is_set()
            while not self._closing.is_set():
                dead = dead or self.blackhole.is_set()
                if dead:
                    self._closing.wait(_TICK_S)
                elif not all(_forward(source, sink) for source, sink in pairs):
                    return


def _forward(source: socket.socket, sink: socket.socket) -> bool:
    try:
        data = source.recv(65536)
        sink.sendall(data)
    except TimeoutError:
        return True
    except OSError:
        return False
    return bool(data)
