from __future__ import annotations

import threading

from fastapi.testclient import TestClient

from backend.utils.status_schema import State
from tests.shim.stand_in import StandIn, as_json


def test_the_status_is_the_daemons_own_words(client: TestClient, daemon: StandIn) -> None:
    answer = client.get("/api/status")
    assert answer.status_code == 200
    assert answer.content == (daemon.status / "status.json").read_bytes()
    assert answer.headers["cache-control"] == "no-cache"


def test_whoever_has_it_already_gets_nothing_new(client: TestClient) -> None:
    tag = client.get("/api/status").headers["etag"]
    again = client.get("/api/status", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


def test_a_long_poll_ends_with_the_next_status(client: TestClient, daemon: StandIn) -> None:
    now = client.get("/api/status").json()["sequence"]
    later = threading.Timer(0.1, daemon.show)
    later.start()
    answer = client.get("/api/status", params={"after": now, "wait": 30})
    later.join()
    assert answer.json()["sequence"] == now + 1


def test_a_long_poll_of_no_time_gives_what_there_is(client: TestClient) -> None:
    now = client.get("/api/status").json()["sequence"]
    assert client.get("/api/status", params={"after": now, "wait": 0}).json()["sequence"] == now
    assert client.get("/api/status", params={"after": now + 5, "wait": 30}).json()["sequence"] == now


def test_a_bad_query_is_refused_in_the_envelope(client: TestClient) -> None:
    answer = client.get("/api/status", params={"after": "soon"})
    assert answer.status_code == 422
    assert answer.json()["status"] == "error"
    assert answer.json()["code"] == "bad_request"
    assert "after" in answer.json()["message"]


def test_without_a_status_the_answer_says_so(daemon: StandIn) -> None:
    from backend.shim.app import create_app

    with TestClient(create_app(daemon.spec), "http://127.0.0.1") as client:
        answer = client.get("/api/status")
        assert answer.status_code == 503
        assert answer.json()["code"] == "no_daemon"
        assert answer.headers["retry-after"]
        assert client.get("/queue/progress").json()["status"] == "offline"


def test_progress_tells_how_much_is_ready(client: TestClient, daemon: StandIn) -> None:
    daemon.show()
    wait = client.get("/api/status").json()["sequence"]
    client.get("/api/status", params={"after": wait, "wait": 1})
    told = client.get("/queue/progress").json()
    assert told == {"percent": 50, "status": "dreaming", "message": "all is well", "job_id": "7"}


def test_live_ready_and_started_are_three_things(client: TestClient, daemon: StandIn) -> None:
    assert client.get("/livez").status_code == 200
    assert client.get("/startupz").json()["frame"] == 3
    assert client.get("/readyz").status_code == 503  # a status that was there before us may be a leftover
    daemon.show()
    client.get("/api/status", params={"after": 3, "wait": 10})
    assert client.get("/readyz").status_code == 200


def test_no_picture_yet_is_not_started(daemon: StandIn) -> None:
    from backend.shim.app import create_app

    daemon.tell(State.STARTING)
    with TestClient(create_app(daemon.spec), "http://127.0.0.1") as client:
        assert client.get("/startupz").status_code == 503
        assert client.get("/api/frame/current").status_code == 404


def test_the_openapi_says_what_there_is(client: TestClient) -> None:
    told = as_json(client.get("/openapi.json").content)
    assert {"/api/status", "/api/events", "/api/frames/{sequence}", "/stream.mjpg", "/api/prompt"} <= told[
        "paths"
    ].keys()
    assert "/" not in told["paths"]


def test_metrics_are_the_status_in_prometheus_words(client: TestClient) -> None:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "dreamloop_frame_sequence 3.0" in answer.text
    assert 'dreamloop_state{dreamloop_state="dreaming"} 1.0' in answer.text
