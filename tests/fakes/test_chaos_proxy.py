"""The proxy itself: each kind of chaos is what it says, and ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tests.fakes.chaos_proxy import ChaosProxy

GUARD_S = 30.0
BODY = bytes(range(256)) * 40


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    posted: list[bytes]

    def do_GET(self) -> None:
        self._answer(BODY)

    def do_POST(self) -> None:
        self.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(b"done")

    def log_message(self, *_: object) -> None:
        """The test's own output is enough."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Connections that break are what this is about."""


@pytest.fixture
def proxy() -> Iterator[ChaosProxy]:
    Echo.posted = []
    with Server(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            with ChaosProxy(server.server_address[1]) as made:
                yield made
        finally:
            server.shutdown()
            thread.join(GUARD_S)


def get(proxy: ChaosProxy, timeout_s: float = GUARD_S) -> bytes:
    return requests.get(f"{proxy.url}/x", timeout=timeout_s).content


def read_into(parts: list[bytes], proxy: ChaosProxy) -> None:
    with requests.get(f"{proxy.url}/x", timeout=GUARD_S, stream=True) as answer:
        parts.extend(answer.iter_content(64))


def test_by_itself_it_changes_nothing(proxy: ChaosProxy) -> None:
    assert get(proxy) == BODY
    assert requests.post(f"{proxy.url}/x", b"words", timeout=GUARD_S).content == b"done"
    assert Echo.posted == [b"words"]
    assert [request for _, request in proxy.asked] == ["GET /x", "POST /x"]
    assert len(proxy.connected_at) == 2


def test_a_delay_is_at_least_as_long_as_it_says(proxy: ChaosProxy) -> None:
    proxy.delay_s = 0.2
    began = time.monotonic()
    assert get(proxy) == BODY
    assert time.monotonic() - began >= 0.2


def test_what_was_stalled_comes_afterwards(proxy: ChaosProxy) -> None:
    proxy.stalled = True
    with pytest.raises(requests.Timeout):
        get(proxy, 0.2)
    threading.Timer(0.1, proxy.heal).start()
    assert get(proxy) == BODY


def test_connections_of_the_time_of_a_blackhole_stay_dead(proxy: ChaosProxy) -> None:
    with requests.Session() as session:
        assert session.get(f"{proxy.url}/x", timeout=GUARD_S).content == BODY
        proxy.blackhole()
        with requests.Session() as other, pytest.raises(requests.Timeout):
            other.get(f"{proxy.url}/x", timeout=0.1)
        proxy.heal()
        with pytest.raises(requests.Timeout):
            session.get(f"{proxy.url}/x", timeout=0.1)
        assert get(proxy) == BODY


def test_an_answer_is_dropped_after_the_server_has_done_the_work(proxy: ChaosProxy) -> None:
    fault = proxy.drop_answer("POST", "/x", times=1)
    with pytest.raises(requests.ConnectionError):
        requests.post(f"{proxy.url}/x", b"once", timeout=GUARD_S)
    assert Echo.posted == [b"once"]
    proxy.drop_answer("POST", "/x", then="silence", times=1)
    with pytest.raises(requests.Timeout):
        requests.post(f"{proxy.url}/x", b"twice", timeout=0.2)
    assert Echo.posted == [b"once", b"twice"]
    assert requests.post(f"{proxy.url}/x", b"thrice", timeout=GUARD_S).content == b"done"
    assert fault.hits == 1


@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_body_is_cut_at_its_share(proxy: ChaosProxy, then: str) -> None:
    proxy.cut("GET", "/*", share=0.5, then=then, times=1)
    read: list[bytes] = []
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        read_into(read, proxy)
    body = b"".join(read)
    assert BODY.startswith(body)
    assert len(body) <= len(BODY) // 2
    assert get(proxy) == BODY


def test_all_connections_are_reset_or_half_closed_at_once(proxy: ChaosProxy) -> None:
    for way in (proxy.reset, proxy.half_close):
        proxy.stalled = True
        timer = threading.Timer(0.1, way)
        timer.start()
        with pytest.raises(requests.ConnectionError):
            get(proxy)
        timer.join()
        proxy.heal()
        assert get(proxy) == BODY
