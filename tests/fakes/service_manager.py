"""Who listens at NOTIFY_SOCKET, as systemd does."""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_GUARD_S = 60.0


class Manager:
    """Listens as systemd does; keeps all that it has heard, a line an entry, and when it listened."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self.heard: list[str] = []
        self.when: list[float] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(0.2)

    def wait_for(self, line: str, count: int = 1) -> int:
        """Until a line that begins so was heard so often; gives the place of the last of them."""
        until = time.monotonic() + _GUARD_S
        while time.monotonic() < until:
            places = [place for place, heard in enumerate(self.heard) if heard.startswith(line)]
            if len(places) >= count:
                return places[count - 1]
            self.listen()
        raise AssertionError(f"{line} was not heard {count} times: {self.heard}")

    def listen(self) -> None:
        try:
            lines = self._socket.recv(65536).decode().split("\n")
        except TimeoutError:
            return
        self.heard += lines
        self.when += [time.monotonic()] * len(lines)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager() -> Iterator[Manager]:
    folder = Path(tempfile.mkdtemp(prefix="dl"))  # paths of sockets are short
    made = Manager(folder)
    yield made
    made.close()
    shutil.rmtree(folder)
