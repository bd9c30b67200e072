"""The local control socket: one line of JSON asks, one line of JSON answers.

A Unix socket in the status folder, for its owner only (mode 0600). It answers from memory, so it works
where the disk is full. Requests, answers, clients and waits are bounded.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from backend.errors import NoDaemon, StorageError
from backend.utils.part import Part

log = logging.getLogger(__name__)

Handler = Callable[[dict[str, Any]], dict[str, Any]]

SOCKET_NAME = "control.sock"
"""In the status folder."""
MAX_REQUEST_BYTES = 64_000
MAX_ANSWER_BYTES = 4_000_000
MAX_CLIENTS = 8
CLIENT_DEADLINE_S = 3.0
_ACCEPT_S = 0.25
_RETRY_S = 10.0
_TURN_S = 10.0
_MAX_ADDRESS_BYTES = 100  # sun_path holds 104 bytes on macOS, 108 on Linux


class ControlServer:
    """Answers at a socket, by a thread of its own.

    A status folder that cannot hold a socket does not stop the dream: it is said once and tried again, and
    a socket that somebody deleted is made anew.

    Args:
        path: Where the socket stands.
        handler: Request in, answer out; called by one thread at a time.
        clock: Monotonic seconds.
    """

    def __init__(self, path: Path, handler: Handler, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.last_error: str | None = None
        self._handler = handler
        self._clock = clock
        self._listener: socket.socket | None = None
        self._inode: int | None = None
        self._retry_at = float("-inf")
        self._handling = threading.Lock()
        self._room = threading.BoundedSemaphore(MAX_CLIENTS)
        self.part = Part("control", self.turn, limit_s=_TURN_S)

    def start(self) -> None:
        """Begins to listen.

        Raises:
            StorageError: Another daemon answers at this very socket.
        """
        self._reopen()
        self.part.start()

    def stop(self) -> None:
        """Ends listening and removes the socket."""
        self.part.stop(2 * _ACCEPT_S + 1.0)
        self._close()

    def turn(self) -> None:
        """Looks after the socket, then waits a moment for one client."""
        if self._listener is None or _inode_of(self.path) != self._inode:
            if self._clock() < self._retry_at:
                self.part.stopping.wait(_ACCEPT_S)
                return
            self._reopen()
        if self._listener is not None:
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                self._admit(client)

    def _reopen(self) -> None:
        self._close()
        self._retry_at = self._clock() + _RETRY_S
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(self.path)
            self._listener = _listen(self.path)
            self._inode = _inode_of(self.path)
        except OSError as error:
            self._refused(error)
        else:
            self.last_error = None

    def _refused(self, error: OSError) -> None:
        if error.errno == errno.EADDRINUSE and not self.part.runs:
            raise StorageError(self.path, error) from error
        if self.last_error is None:
            log.warning("no control socket at %s: %s", self.path, error.strerror or error)
        self.last_error = str(StorageError(self.path, error))

    def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            if _inode_of(self.path) == self._inode:
                with contextlib.suppress(OSError):
                    self.path.unlink()

    def _admit(self, client: socket.socket) -> None:
        if not self._room.acquire(blocking=False):
            client.close()
            return
        threading.Thread(target=self._serve, args=(client,), name="control-client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, contextlib.suppress(OSError):
                until = self._clock() + CLIENT_DEADLINE_S
                line = _read_line(client, MAX_REQUEST_BYTES, until, self._clock)
                answer = json.dumps(self._answer(line), ensure_ascii=True, separators=(",", ":"))
                client.settimeout(max(0.01, until - self._clock()))
                client.sendall(answer.encode() + b"\n")
        finally:
            self._room.release()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"ok": False, "error": "a request is one line of JSON"}
        if not isinstance(request, dict):
            return {"ok": False, "error": "a request is a JSON object"}
        try:
            with self._handling:
                return self._handler(request)
        except Exception as error:
            log.exception("a control request failed")
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def ask(path: Path, request: dict[str, Any], timeout_s: float = 5.0) -> dict[str, Any]:
    """Asks the daemon whose socket stands at a path.

    Raises:
        NoDaemon: Nobody is there, or no whole answer came in time.
    """
    until = time.monotonic() + timeout_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, _address(path) as address:
            client.settimeout(timeout_s)
            client.connect(address)
            client.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(_read_line(client, MAX_ANSWER_BYTES, until, time.monotonic))
    except FileNotFoundError:
        raise NoDaemon(path, "there is no such socket") from None
    except (OSError, ValueError) as error:
        raise NoDaemon(path, str(error)) from error
    if not isinstance(answer, dict):
        raise NoDaemon(path, "the answer is not a JSON object")
    return answer


def _read_line(client: socket.socket, max_bytes: int, until: float, clock: Callable[[], float]) -> bytes:
    data = bytearray()
    while b"\n" not in data:
        left_s = until - clock()
        if left_s <= 0:
            raise TimeoutError("no whole line came in time")
        client.settimeout(left_s)
        part = client.recv(65_536)
        if not part:
            raise ConnectionError("the connection was closed before a whole line came")
        data += part
        if len(data) > max_bytes:
            raise OSError(errno.EMSGSIZE, "the line is too long")
    return bytes(data[: data.index(b"\n")])


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(path) as address:
            listener.bind(address)
        path.chmod(0o600)  # before listen(): until then every connect is refused
        listener.listen(MAX_CLIENTS)
        listener.settimeout(_ACCEPT_S)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    """Removes a socket that nobody answers at; any other file is left alone.

    Raises:
        OSError: EADDRINUSE where somebody answers, EEXIST where it is no socket.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "something that is not a socket stands there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, _address(path) as address:
        probe.settimeout(1.0)
        try:
            probe.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, "another Dreamloop answers there; choose another storage.status")


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path as a socket address: Unix sockets know only about 100 bytes of path."""
    if len(os.fsencode(path)) <= _MAX_ADDRESS_BYTES:
        yield str(path)
        return
    near = os.path.relpath(path)
    if len(os.fsencode(near)) <= _MAX_ADDRESS_BYTES:
        yield near
        return
    if not sys.platform.startswith("linux"):
        raise OSError(
            errno.ENAMETOOLONG, "the path is too long for a socket; choose a shorter storage.status"
        )
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _inode_of(path: Path) -> int | None:
    try:
        return path.lstat().st_ino
    except OSError:
        return None
