from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient

from backend.shim.app import create_app
from backend.shim.server import address_of, bound
from tests.shim.stand_in import StandIn, picture

HERE = "http://127.0.0.1"


@pytest.fixture
def far(tmp_path: Path) -> Iterator[tuple[StandIn, str]]:
    """Another machine that dreams, and the address of its shim."""
    daemon = StandIn(tmp_path / "far")
    daemon.answer()
    listener = bound("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(daemon.spec), log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield daemon, address_of(listener)
    server.should_exit = True
    thread.join(20)
    listener.close()
    daemon.stop()


def test_what_the_folders_do_not_tell_is_asked_of_the_other_machine(
    daemon: StandIn, far: tuple[StandIn, str]
) -> None:
    there, url = far
    name = there.remember(picture(5))
    with TestClient(create_app(replace(daemon.spec, upstream=url)), HERE) as client:
        image = client.get(f"/api/images/{name}")
        assert image.content == picture(5)
        assert (
            client.get(f"/api/images/{name}", headers={"If-None-Match": image.headers["etag"]}).status_code
            == 304
        )
        assert client.post("/api/prompt", json={"text": "snow"}).status_code == 200
        assert client.get("/api/memory", params={"order": "beauty"}).status_code == 200
        assert client.post("/api/prompt", json={"text": ""}).status_code == 422
    assert [one["command"] for one in there.asked] == ["say", "memory"]


def test_frames_still_come_from_the_shared_folder(daemon: StandIn, far: tuple[StandIn, str]) -> None:
    daemon.show()
    with TestClient(create_app(replace(daemon.spec, upstream=far[1])), HERE) as client:
        assert client.get("/api/frame/current").content == picture(1)


def test_another_machine_that_is_away_is_told_of(daemon: StandIn) -> None:
    listener = bound("127.0.0.1", 0)
    url = address_of(listener)
    listener.close()
    with TestClient(create_app(replace(daemon.spec, upstream=url)), HERE) as client:
        answer = client.get("/api/memory")
        assert (answer.status_code, answer.json()["code"]) == (503, "no_daemon")
