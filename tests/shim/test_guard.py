from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.shim.stand_in import StandIn


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "[::", "10.0.0.1", "dream.local"]
)
def test_other_names_than_this_machines_are_refused(client: TestClient, host: str) -> None:
    answer = client.get("/api/status", headers={"Host": host})
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"


@pytest.mark.parametrize(
    "host", ["localhost:8422", "127.0.0.1", "127.0.0.2:80", "[::1]:8422", "studio.localhost"]
)
def test_this_machines_own_names_are_let_in(client: TestClient, host: str) -> None:
    assert client.get("/livez", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:99"])
def test_a_page_from_elsewhere_changes_nothing(client: TestClient, daemon: StandIn, origin: str) -> None:
    daemon.answer()
    assert client.post("/api/control/stop", headers={"Origin": origin}).status_code == 403
    assert daemon.asked == []


def test_our_own_page_may(client: TestClient, daemon: StandIn) -> None:
    daemon.answer()
    assert client.post("/api/control/pause", headers={"Origin": "http://127.0.0.1"}).status_code == 200
    assert daemon.asked == [{"command": "pause"}]


def test_elsewhere_the_token_is_wanted_for_changes_and_only_for_them(
    open_client: TestClient, daemon: StandIn
) -> None:
    daemon.answer()
    token = (daemon.status / "token").read_text().strip()
    assert open_client.get("/api/status").status_code == 200
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {token}"}):
        answer = open_client.post("/api/control/pause", headers=headers)
        assert answer.status_code == 401
        assert token not in answer.text
    assert daemon.asked == []
    assert (
        open_client.post("/api/control/pause", headers={"Authorization": f"Bearer {token}"}).status_code
        == 200
    )


def test_the_token_is_for_its_owner_only(open_client: TestClient, daemon: StandIn) -> None:
    assert (daemon.status / "token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["token", "access_token", "Token"])
def test_a_token_in_an_address_is_refused(client: TestClient, name: str) -> None:
    answer = client.get("/api/status", params={name: "abc"})
    assert answer.status_code == 400
    assert "abc" not in answer.text


def test_a_known_page_from_elsewhere_may_read(open_client: TestClient) -> None:
    answer = open_client.get("/api/status", headers={"Origin": "https://wall.example"})
    assert answer.headers["access-control-allow-origin"] == "https://wall.example"
    assert "origin" in answer.headers["vary"].lower()
    other = open_client.get("/api/status", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_a_known_page_may_ask_whether_it_may_change_something(open_client: TestClient) -> None:
    headers = {
        "Origin": "https://wall.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    answer = open_client.options("/api/prompt", headers=headers)
    assert answer.status_code == 204
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    assert "POST" in answer.headers["access-control-allow-methods"]


@pytest.mark.parametrize("path", ["/", "/studio", "/api/status", "/nowhere", "/web/display.js"])
def test_every_answer_keeps_pages_within_bounds(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    "path", ["/web/../app.py", "/web/%2e%2e/app.py", "/web//etc/passwd", "/web/nothing.js", "/etc/passwd"]
)
def test_no_file_beside_the_pages_is_served(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
