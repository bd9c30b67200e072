"""Calls end in time, however slowly a server sends, or takes what it is sent."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.core.comfyui_api import ComfyUIClient, HttpLimits
from backend.core.comfyui_http import AnswerLost
from backend.core.jobs import FileRef
from backend.core.wire import WebSocketWire, WireClosed
from backend.errors import EngineAnswerError, EngineUnreachable
from tests.core.odd_servers import OddServer, answering, own_authority, trickling

GUARD_S = 30.0


def within_the_guard(call: Callable[[], object]) -> BaseException:
    """The error that a call ends with; fails if it does not end."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - it is handed on
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(GUARD_S)
    assert not thread.is_alive(), "it went on as long as the server did"
    return errors[0]


class TestTrickles:
    """Servers that send something all the time and never come to an end."""

    LIMITS = HttpLimits(connect_s=5.0, answer_s=0.3, transfer_s=0.3)

    @pytest.mark.parametrize(
        ("start", "drop"),
        [
            (b"HTT", b"P"),
            (b"HTTP/1.1 200 OK\r\n", b"X"),
            (b"HTTP/1.1 200 OK\r\nX-", b"Y: 1\r\nX-"),
            (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1", b";"),
            (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
        ],
        ids=[
            "status",
            "header",
            "headers",
            "continue",
            "body",
            "chunks",
            "chunk head",
            "body without length",
        ],
    )
    def test_whatever_trickles_in_the_call_ends_with_its_deadline(self, start: bytes, drop: bytes) -> None:
        with OddServer(trickling(start, drop)) as server:
            client = ComfyUIClient(server.url, self.LIMITS)
            error = within_the_guard(client.system_stats)
            # A hundred headers are too many for http.client, which may come first.
            assert isinstance(error, EngineUnreachable | EngineAnswerError), error

    def test_over_tls_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tls, certificate = own_authority(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with OddServer(trickling(b"HTTP/1.1 200 OK\r\n", b"X"), tls) as server:
            error = within_the_guard(ComfyUIClient(server.url, self.LIMITS).system_stats)
            assert isinstance(error, EngineUnreachable)
            assert "no answer in time" in str(error)

    def test_a_server_that_takes_an_upload_byte_by_byte_costs_no_more(self) -> None:
        def read_no_more(server: OddServer, _client: socket.socket, _head: bytes) -> None:
            server.over.wait(GUARD_S)

        with OddServer(read_no_more) as server:
            client = ComfyUIClient(server.url, self.LIMITS)
            error = within_the_guard(lambda: client.upload(b"x" * 50_000_000, "a.latent"))
            assert isinstance(error, AnswerLost)

    def test_a_file_of_which_nothing_more_comes_is_not_waited_for_to_the_end(self) -> None:
        def breaks_off(server: OddServer, client: socket.socket, _head: bytes) -> None:
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nand so")
            server.over.wait(10 * GUARD_S)

        with OddServer(breaks_off) as server:
            client = ComfyUIClient(server.url, HttpLimits(answer_s=0.3, transfer_s=10 * GUARD_S))
            error = within_the_guard(lambda: client.download(FileRef("a.latent")))
            assert isinstance(error, EngineUnreachable)

    @pytest.mark.parametrize("size", [10, 50_000_000])
    def test_an_upload_of_which_nothing_more_goes_out_is_not_waited_for_to_the_end(self, size: int) -> None:
        def swallows(server: OddServer, _client: socket.socket, _head: bytes) -> None:
            server.over.wait(10 * GUARD_S)

        with OddServer(swallows) as server:
            client = ComfyUIClient(server.url, HttpLimits(answer_s=0.3, transfer_s=10 * GUARD_S))
            error = within_the_guard(lambda: client.upload(b"x" * size, "a.latent"))
            assert isinstance(error, AnswerLost)

    def test_an_upload_that_goes_out_slowly_but_steadily_has_its_time(self) -> None:
        answer_s, size = 0.5, 30_000_000

        def slow(server: OddServer, client: socket.socket, head: bytes) -> None:
            read, began = len(head.partition(b"\r\n\r\n")[2]), time.monotonic()
            while read < size and (piece := client.recv(500_000)):
                read += len(piece)
                server.over.wait(2.0 * answer_s / 60)
            taken_s.append(time.monotonic() - began)
            answering("200 OK", '{"name": "a"}')(server, client, head)

        taken_s: list[float] = []
        with OddServer(slow) as server:
            client = ComfyUIClient(server.url, HttpLimits(answer_s=answer_s, transfer_s=GUARD_S))
            assert client.upload(b"x" * size, "a.latent").filename == "a"
        assert taken_s[0] > answer_s, "this shows nothing"

    def test_an_upload_has_more_time_than_a_connection(self) -> None:
        reads = threading.Event()

        def slow(server: OddServer, client: socket.socket, head: bytes) -> None:
            reads.wait(1.0)  # the buffers are full by then, and the time for connecting is over
            answering("200 OK", '{"name": "a"}')(server, client, head)

        with OddServer(slow) as server:
            client = ComfyUIClient(server.url, HttpLimits(connect_s=0.2))
            assert client.upload(b"x" * 50_000_000, "a.latent").filename == "a"

    @pytest.mark.parametrize(
        "start",
        [b"HTTP/1.1 101 Switching Protocols\r\nX-", b"HTTP/1.1 500 No\r\nContent-Length: 9999999\r\n\r\n"],
    )
    def test_a_handshake_that_trickles_in_is_given_up(self, start: bytes) -> None:
        with OddServer(trickling(start, b"Y")) as server:
            error = within_the_guard(lambda: WebSocketWire(server.url.replace("http", "ws"), 0.3))
            assert isinstance(error, WireClosed)
