"""Bodies that are too large, too slow, or pictures that are none (faults F29 to F31)."""

from __future__ import annotations

import io
import socket
import struct
import threading
import zlib
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image, PngImagePlugin

from backend.shim import patience
from backend.shim.app import create_app
from backend.shim.patience import SMALL_BODY, PatientProtocol
from backend.shim.routes_seeds import clean_picture
from backend.shim.server import bound
from tests.shim.stand_in import StandIn, picture

SEEDS = "/api/memory/seeds"
PNG = {"Content-Type": "image/png"}


def bomb(side: int) -> bytes:
    """A PNG that claims to be enormous and is small."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def test_a_picture_of_ones_own_becomes_a_seed(client: TestClient, daemon: StandIn) -> None:
    daemon.answers["memory"] = {
        "task": 1,
        "done": True,
        "result": {"ok": True, "report": {"added": ["ab" * 32], "reasons": []}},
    }
    daemon.answer()
    answer = client.post(SEEDS, content=picture(1), headers=PNG)
    assert answer.json() == {"status": "ok", "id": "ab" * 32}
    assert daemon.asked[0]["action"] == "import"
    assert list((daemon.status / "uploads").iterdir()) == []


@pytest.mark.parametrize("size", [20_000, 50_000])
def test_a_picture_bomb_is_refused_before_it_is_decoded(
    client: TestClient, daemon: StandIn, size: int
) -> None:
    daemon.answer()
    answer = client.post(SEEDS, content=bomb(size), headers=PNG)
    assert answer.status_code in (413, 415)
    assert daemon.asked == []


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("image/png", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
        ("image/png", b"<html>"),
        ("image/jpeg", picture(1)),
        ("image/png", picture(1)[:200]),
        ("image/png", b""),
        ("image/svg+xml", b"<svg/>"),
        ("text/html", b"<html>"),
    ],
)
def test_what_is_no_picture_of_its_kind_is_refused(
    client: TestClient, daemon: StandIn, kind: str, data: bytes
) -> None:
    daemon.answer()
    answer = client.post(SEEDS, content=data, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert daemon.asked == []


def test_only_the_pixels_of_a_picture_come_in() -> None:
    told = PngImagePlugin.PngInfo()
    told.add_text("Comment", "<script>alert(1)</script>", zip=True)
    file = io.BytesIO()
    Image.open(io.BytesIO(picture(1))).save(file, "PNG", pnginfo=told)
    clean = clean_picture(file.getvalue() + b"PK\x03\x04 a zip behind the end", "PNG")
    assert b"script" not in clean
    assert b"PK\x03\x04" not in clean
    before, after = (Image.open(io.BytesIO(data)).convert("RGB") for data in (picture(1), clean))
    assert before.tobytes() == after.tobytes()


def test_a_text_bomb_in_a_picture_is_no_picture(client: TestClient, daemon: StandIn) -> None:
    told = PngImagePlugin.PngInfo()
    told.add_text("Comment", "x" * 100_000_000, zip=True)
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG", pnginfo=told)
    daemon.answer()
    answer = client.post(SEEDS, content=file.getvalue(), headers=PNG)
    assert answer.status_code in (200, 409, 415)


def test_a_body_that_says_it_is_too_large_is_not_read(client: TestClient, daemon: StandIn) -> None:
    daemon.answer()
    answer = client.post("/api/prompt", content=b"x" * (SMALL_BODY + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert daemon.asked == []


def test_a_body_that_does_not_say_so_is_cut_off(client: TestClient, daemon: StandIn) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * 1_000_000

    daemon.answer()
    assert client.post(SEEDS, content=endless(), headers=PNG).status_code == 413
    assert client.post("/api/prompt", content=endless()).status_code in (400, 413)
    assert daemon.asked == []


@pytest.fixture
def port(daemon: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A real server with little patience."""
    monkeypatch.setattr(patience, "REQUEST_S", 0.3)
    daemon.show()
    listener = bound("127.0.0.1", 0)
    config = uvicorn.Config(create_app(daemon.spec), http=PatientProtocol, log_config=None, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(20)
    listener.close()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HT",
        b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b\r\n",
        b"POST /api/prompt HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n\r\n{",
    ],
)
def test_a_request_that_trickles_in_is_ended(port: int, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(said)
        client.settimeout(30)
        try:
            while client.recv(65_536):
                pass
        except ConnectionResetError:
            pass


def test_patience_with_one_request_does_not_end_a_stream(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        client.settimeout(0.8)
        seen = bytearray()
        with pytest.raises(TimeoutError):
            _read_all(client, seen)
        assert b"event: frame" in seen


def _read_all(client: socket.socket, seen: bytearray) -> None:
    while part := client.recv(65_536):
        seen += part
    raise AssertionError("the stream was ended")
