"""The client before servers as people have them: proxies, paths, TLS, wrong ports, web pages, slow ones."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.core.comfyui_api import ComfyUIClient, HttpLimits
from backend.core.comfyui_http import AnswerLost, ComfyHttp
from backend.core.jobs import FileRef
from backend.core.wire import WebSocketWire, WireClosed
from backend.errors import EngineAnswerError, EngineError, EngineUnreachable
from tests.core.odd_servers import (
    OddServer,
    answering,
    own_authority,
    prompt_path,
    proxying,
    saying,
    trickling,
)
from tests.core.test_comfyui_api import QUICK, eventually, finished, submit
from tests.fakes.fake_comfy import FakeComfy, free_port

GUARD_S = 30.0
ROOT = Path(__file__).resolve().parents[2]
SECRET = "Bearer s3cr3t-t0ken"
HEADERS = {"Authorization": SECRET, "X-Team": "dreamers"}


def asked(server: OddServer, headers: dict[str, str] | None = None) -> EngineError:
    """What comes of a question to it."""
    with pytest.raises(EngineError) as caught:
        ComfyUIClient(server.url, headers=headers).system_stats()
    return caught.value


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


@pytest.fixture
def everything_logged() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = lambda record: lines.append(logging.Formatter().format(record))  # type: ignore[method-assign]
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    root.setLevel(before)


class TestAProxy:
    @pytest.mark.parametrize("slash", ["", "/"])
    def test_a_comfyui_under_a_path_is_dreamed_with_and_every_request_carries_the_headers(
        self, fake_comfy: FakeComfy, slash: str
    ) -> None:
        with OddServer(proxying(fake_comfy.port, "/comfy")) as proxy:
            client = ComfyUIClient(f"{proxy.url}/comfy{slash}", headers=HEADERS, patience=QUICK)
            client.start()
            assert len(finished(submit(client)).pictures) == 1
            eventually(lambda: client.connection.socket == "open")
            client.upload(b"bytes", "a.latent")
            client.close()
            paths = {prompt_path(head).partition("?")[0] for head in proxy.heads}
            assert {"/comfy/prompt", "/comfy/ws", "/comfy/upload/image"} <= paths
            for head in proxy.heads:
                assert f"Authorization: {SECRET}\r\n".encode() in head
                assert b"X-Team: dreamers\r\n" in head

    def test_tls_with_an_authority_that_is_trusted_carries_http_and_the_socket(
        self, fake_comfy: FakeComfy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tls, certificate = own_authority(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with OddServer(proxying(fake_comfy.port, "/comfy"), tls) as proxy:
            client = ComfyUIClient(f"{proxy.url}/comfy", patience=QUICK)
            client.start()
            assert len(finished(submit(client)).pictures) == 1
            eventually(lambda: client.connection.socket == "open")
            client.close()

    def test_a_certificate_that_nobody_trusts_is_named(self, tmp_path: Path) -> None:
        tls, _ = own_authority(tmp_path)
        with OddServer(answering("200 OK", "{}"), tls) as server:
            error = asked(server)
            assert type(error) is EngineUnreachable
            assert "certificate is not trusted (self-signed certificate)" in str(error)
            with pytest.raises(WireClosed, match="certificate is not trusted"):
                WebSocketWire(server.url.replace("https", "wss"), 5.0)
            assert server.heads == [], "not a word was said to it"

    def test_https_to_a_server_without_tls_is_told_so(self, fake_comfy: FakeComfy) -> None:
        with pytest.raises(EngineUnreachable, match="speaks no TLS there"):
            ComfyUIClient(fake_comfy.url.replace("http", "https")).system_stats()

    @pytest.mark.parametrize("status", [401, 403, 407])
    def test_a_proxy_that_wants_credentials_is_told_of_the_setting(self, status: int) -> None:
        with OddServer(answering(f"{status} No", "<html>log in</html>")) as server:
            error = asked(server)
            assert isinstance(error, EngineAnswerError)
            assert "comfyui.headers" in str(error)
            assert "<" not in str(error)

    @pytest.mark.parametrize("status", [502, 503, 504])
    def test_a_proxy_without_its_server_counts_as_nobody(self, status: int) -> None:
        with OddServer(answering(f"{status} Bad", "<html>nginx</html>")) as server:
            client = ComfyUIClient(server.url)
            client._was_reachable(True)
            with pytest.raises(EngineUnreachable, match=rf"proxy before it says {status}"):
                client.system_stats()
            assert not client.connection.reachable
            assert len(server.heads) == 1, "asking again at once is of no use"
            with pytest.raises(WireClosed) as caught:
                WebSocketWire(server.url.replace("http", "ws"), 5.0)
            assert caught.value.nobody

    def test_a_proxy_that_lost_its_server_after_a_post_has_perhaps_delivered_it(self) -> None:
        for status, lost in ((502, True), (503, False), (504, True)):
            with OddServer(answering(f"{status} Bad")) as server:
                with pytest.raises(EngineUnreachable) as caught:
                    ComfyHttp(HttpLimits()).post(f"{server.url}/prompt", {})
                assert isinstance(caught.value, AnswerLost) is lost

    def test_a_redirect_is_not_followed_but_told_without_its_ticket(self) -> None:
        with OddServer(answering("200 OK", "{}")) as other:
            to = f"Location: {other.url}/login?ticket=t1cket"
            with OddServer(answering("302 Found", "", to)) as server:
                error = asked(server, HEADERS)
                assert f"sends us on to {other.url}/login;" in str(error)
                assert "t1cket" not in str(error)
                with pytest.raises(WireClosed):
                    WebSocketWire(server.url.replace("http", "ws"), 5.0)
            assert other.heads == []

    def test_an_upload_too_large_for_a_proxy_is_told_so(self) -> None:
        with (
            OddServer(answering("413 Too Large", "<html>nginx</html>")) as server,
            pytest.raises(EngineAnswerError, match="413: too large for it"),
        ):
            ComfyUIClient(server.url).upload(b"x" * 100_000, "a.latent")


class TestHeaders:
    def test_their_values_are_in_no_log_no_error_and_no_repr(self, everything_logged: list[str]) -> None:
        echo = f"you sent Authorization: {SECRET}, that is {SECRET.split()[1]}"
        told: list[str] = []
        for status in ("400 Bad", "401 No", "404 Not Found", "500 Oops"):
            with OddServer(answering(status, echo, f"Location: /{SECRET}", f"X-Echo: {SECRET}")) as server:
                told.append(str(asked(server, HEADERS)))
                with pytest.raises(WireClosed) as refused:
                    WebSocketWire(server.url.replace("http", "ws"), 5.0, headers=HEADERS)
                told.append(str(refused.value))
        http = ComfyHttp(HttpLimits(), HEADERS)
        told += [repr(http), repr(ComfyUIClient("http://127.0.0.1:1", headers=HEADERS))]
        with pytest.raises(EngineUnreachable) as caught:
            http.get(f"http://127.0.0.1:{free_port()}/queue")
        told += [str(caught.value), *everything_logged]
        assert any("***" in line for line in told)
        assert "s3cr3t" not in "\n".join(told)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("X-Bad", "s3cr3t\r\nX-Other: 1"),
            ("X-Bad", " s3cr3t"),
            ("X-Bad", ""),
            ("X-Bad", "s3cr3t-ü"),
            ("Bad Name", "s3cr3t"),
            ("Content-Length", "7"),
            ("Host", "s3cr3t"),
            ("Sec-WebSocket-Key", "s3cr3t"),
        ],
    )
    def test_what_cannot_be_sent_is_refused_at_once_and_not_repeated(self, name: str, value: str) -> None:
        with pytest.raises(ValueError, match="header") as caught:
            ComfyUIClient("http://127.0.0.1:1", headers={name: value})
        assert "s3cr3t" not in str(caught.value)


class TestSomebodyElse:
    @pytest.mark.parametrize(
        "banner", [b"SSH-2.0-OpenSSH_9.2\r\n", b"-ERR unknown command\r\n", b"\x15\x03\x01\x00\x02\x02\x46"]
    )
    def test_a_port_of_something_else_is_told_so(self, banner: bytes) -> None:
        with OddServer(saying(banner)) as server:
            error = asked(server)
            assert isinstance(error, EngineAnswerError)
            assert "does not speak HTTP; is the port right?" in str(error)

    def test_a_port_of_nobody_is_told_so(self) -> None:
        with pytest.raises(EngineUnreachable, match="nobody listens there"):
            ComfyUIClient(f"http://127.0.0.1:{free_port()}").system_stats()

    def test_a_name_of_nobody_is_told_so(self) -> None:
        with pytest.raises(EngineUnreachable, match=r"nobody (knows that name|listens there)"):
            ComfyUIClient("http://nobody.invalid:8188").system_stats()

    @pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "500 Oops"])
    def test_a_web_page_is_told_as_one_and_not_quoted(self, status: str) -> None:
        with OddServer(answering(status, "\n<!doctype html><title>My router</title>")) as server:
            error = asked(server)
            assert isinstance(error, EngineAnswerError)
            assert "a web page; is comfyui.url the address of a ComfyUI?" in str(error)
            assert "router" not in str(error)


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


class TestWhatNotAllServersTell:
    FOLDERS = '{"loras": ["/models/loras", 3], "odd": "no list", "vae": ["/models/vae", "/more/vae"]}'

    def test_metadata_folders_and_files_are_told(self, fake_comfy: FakeComfy) -> None:
        client = ComfyUIClient(fake_comfy.url)
        fake_comfy.fault("GET", "/view_metadata/loras", body='{"ss_base": "sdxl", "n": 3, "x": null}')
        assert client.metadata("loras", "sub/a b.safetensors") == {"ss_base": "sdxl"}
        assert fake_comfy.requests[-1].query == {"filename": "sub/a b.safetensors"}
        fake_comfy.fault("GET", "/internal/folder_paths", body=self.FOLDERS)
        paths = client.folder_paths()
        assert paths == {"loras": (Path("/models/loras"),), "vae": (Path("/models/vae"), Path("/more/vae"))}
        client.upload(b"x", "a.latent", type="output")
        assert client.files("output") == ("a.latent",)

    @pytest.mark.parametrize("status", [200, 400, 403, 404, 500])
    @pytest.mark.parametrize("body", ["", "<html>", "[3]", "null", '"x"', "{", "{}"])
    def test_nonsense_is_nothing(self, fake_comfy: FakeComfy, status: int, body: str) -> None:
        fake_comfy.fault("GET", "/*", status=status, body=body)
        client = ComfyUIClient(fake_comfy.url)
        assert client.metadata("loras", "x") == {}
        assert client.folder_paths() == {}
        assert client.files("output") == ()

    def test_a_server_that_is_away_is_no_nonsense(self) -> None:
        client = ComfyUIClient(f"http://127.0.0.1:{free_port()}")
        for call in (
            lambda: client.metadata("loras", "x"),
            client.folder_paths,
            lambda: client.files("temp"),
        ):
            with pytest.raises(EngineUnreachable):
                call()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads its memory from /proc")
class TestTooMuch:
    ASK = """
import re, sys
from pathlib import Path
from backend.core.comfyui_api import ComfyUIClient
from backend.errors import EngineAnswerError
def peak_kb():  # of this program; getrusage would count what its parent had before it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
client = ComfyUIClient(sys.argv[1])
before = peak_kb()
for _ in range(3):
    try:
        print(client.history("id"))
    except EngineAnswerError as error:
        print(error)
print(peak_kb() - before)
"""

    def ask(self, server: OddServer) -> tuple[str, float]:
        """The last thing said of a history, and by how many MB the process grew."""
        command = [sys.executable, "-c", self.ASK, server.url]
        run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT)
        *said, grown = run.stdout.splitlines()
        return said[-1], int(grown) / 1024

    @pytest.mark.parametrize("head", ["Content-Length: 100000000", "Transfer-Encoding: chunked", "X: 1"])
    def test_f16_a_history_of_100_mb_is_refused_without_being_held(self, head: str) -> None:
        def pour(server: OddServer, client: socket.socket, _head: bytes) -> None:
            client.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
            chunked = "chunked" in head
            for _ in range(1000):
                client.sendall(
                    (b"186a0\r\n" if chunked else b"") + b" " * 100_000 + (b"\r\n" if chunked else b"")
                )

        with OddServer(pour) as server:
            said, grown_mb = self.ask(server)
        print(f"grew by {grown_mb:.1f} MB")  # noqa: T201 - a measurement
        assert "more than 8388608 bytes" in said
        assert grown_mb < 64

    def test_f16_the_largest_history_that_is_read_is_no_burden_either(self) -> None:
        inputs = {"text": "a cat " * 20, "seed": 2**53, "model": ["4", 0]}
        graph = {str(n): {"class_type": "KSampler", "inputs": inputs} for n in range(36_000)}
        entry = {"prompt": [1, "id", graph, {}, []], "outputs": {}, "status": {"status_str": "success"}}
        body = json.dumps({"id": entry})
        assert 7.5e6 < len(body) < 8 * 2**20
        with OddServer(answering("200 OK", body)) as server:
            said, grown_mb = self.ask(server)
        print(f"grew by {grown_mb:.1f} MB")  # noqa: T201 - a measurement
        assert "Outcome.SUCCESS" in said
        assert grown_mb < 64
