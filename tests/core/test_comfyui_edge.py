"""The client before servers as people have them: proxies, paths, TLS, wrong ports, web pages."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.core.comfyui_api import ComfyUIClient, HttpLimits
from backend.core.comfyui_http import AnswerLost, ComfyHttp
from backend.core.wire import WebSocketWire, WireClosed
from backend.errors import EngineAnswerError, EngineError, EngineUnreachable
from tests.core.odd_servers import (
    OddServer,
    answering,
    own_authority,
    prompt_path,
    proxying,
    saying,
)
from tests.core.test_comfyui_api import QUICK, eventually, finished, submit
from tests.fakes.fake_comfy import FakeComfy, free_port

ROOT = Path(__file__).resolve().parents[2]
SECRET = "Bearer s3cr3t-t0ken"
HEADERS = {"Authorization": SECRET, "X-Team": "dreamers"}


def asked(server: OddServer, headers: dict[str, str] | None = None) -> EngineError:
    """What comes of a question to it."""
    with pytest.raises(EngineError) as caught:
        ComfyUIClient(server.url, headers=headers).system_stats()
    return caught.value


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
