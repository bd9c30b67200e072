from __future__ import annotations

import hashlib
import io

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.shim.stand_in import StandIn, picture

ID = "ab" * 32


@pytest.mark.parametrize(
    ("path", "body", "asked"),
    [
        ("/api/control/pause", None, {"command": "pause"}),
        ("/api/control/next", {}, {"command": "next"}),
        ("/api/control/pin", {"id": ID}, {"command": "memory", "action": "pin", "id": ID}),
        ("/api/control/pin", {"id": ID, "pinned": False}, {"command": "memory", "action": "unpin", "id": ID}),
        ("/api/control/forget", {"id": ID}, {"command": "memory", "action": "forget", "id": ID}),
        ("/api/control/inject", {"id": ID}, {"command": "memory", "action": "inject", "id": ID}),
        ("/api/prompt", {"text": "snow"}, {"command": "say", "text": "snow", "seconds": 120.0}),
        ("/api/themes/try", {"name": "sea"}, {"command": "theme", "name": "sea"}),
    ],
)
def test_requests_are_forwarded_to_the_daemon(
    client: TestClient, daemon: StandIn, path: str, body: object, asked: dict[str, object]
) -> None:
    daemon.answer()
    answer = client.post(path, json=body)
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert daemon.asked == [asked]


def test_without_a_daemon_the_answer_says_so(client: TestClient) -> None:
    answer = client.post("/api/control/pause")
    assert answer.status_code == 503
    assert answer.json()["code"] == "no_daemon"


def test_what_the_daemon_refuses_is_told_in_its_words(client: TestClient, daemon: StandIn) -> None:
    daemon.answers["say"] = {"ok": False, "error": "words to dream of, not nothing"}
    daemon.answer()
    answer = client.post("/api/prompt", json={"text": " "})
    assert (answer.status_code, answer.json()["code"]) == (409, "refused")
    assert answer.json()["message"] == "words to dream of, not nothing"


@pytest.mark.parametrize(
    "body",
    [{}, {"text": ""}, {"text": "x" * 4001}, {"text": "a", "seconds": 1}, {"text": "a", "more": 1}, [], "a"],
)
def test_words_out_of_bounds_never_reach_the_daemon(
    client: TestClient, daemon: StandIn, body: object
) -> None:
    daemon.answer()
    assert client.post("/api/prompt", json=body).status_code == 422
    assert daemon.asked == []


@pytest.mark.parametrize("wrong", ["../../status/token", "zz", "abc", "AB" * 32, ""])
def test_an_id_that_is_none_never_reaches_the_daemon(client: TestClient, daemon: StandIn, wrong: str) -> None:
    daemon.answer()
    assert client.post("/api/control/forget", json={"id": wrong}).status_code == 422
    assert daemon.asked == []


def test_a_memory_is_shown_with_its_workflow_and_small(client: TestClient, daemon: StandIn) -> None:
    data = picture(77, (640, 360))
    name = daemon.remember(data)
    whole = client.get(f"/api/images/{name}")
    assert whole.content == data
    small = client.get(f"/api/images/{name}", params={"width": 160})
    assert small.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(small.content)).size == (160, 90)


@pytest.mark.parametrize("name", ["ab" * 32, "..", "%2e%2e%2fstatus", "x" * 64, "a" * 10_000])
def test_what_is_no_memory_is_not_found(client: TestClient, daemon: StandIn, name: str) -> None:
    answer = client.get(f"/api/images/{name}")
    assert answer.status_code in (404, 422)
    assert str(daemon.memory) not in answer.text


def test_a_page_of_memories_is_the_daemons_answer(client: TestClient, daemon: StandIn) -> None:
    daemon.answers["memory"] = {"memories": [], "entries": 0}
    daemon.answer()
    query = {"order": "beauty", "theme": "sea", "words": "still water", "limit": 10}
    assert client.get("/api/memory", params=query).json() == {"memories": [], "entries": 0}
    assert daemon.asked[0] == {"command": "memory", "action": "ls", "offset": 0, **query}
    assert client.get("/api/memory", params={"order": "by; DROP TABLE"}).status_code == 422


def test_models_have_the_shape_that_front_ends_know(client: TestClient, daemon: StandIn) -> None:
    daemon.answers["models"] = {"models": {"checkpoints": ["xl/base.safetensors"], "loras": []}}
    daemon.answer()
    assert client.get("/api/models").json() == {
        "status": "ok",
        "models": [
            {
                "id": "xl/base.safetensors",
                "name": "base",
                "filename": "base.safetensors",
                "kind": "checkpoint",
            }
        ],
    }


def test_a_picture_with_the_name_of_another_is_served_under_its_own_tag(
    client: TestClient, daemon: StandIn
) -> None:
    data = picture(5)
    answer = client.get(f"/api/images/{daemon.remember(data)}")
    assert answer.headers["etag"] == f'"{hashlib.sha256(data).hexdigest()}"'
