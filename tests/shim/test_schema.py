"""Every endpoint against schemathesis: whatever is asked, no 5xx (but 503), no path, no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.shim.app import create_app
from tests.shim.stand_in import StandIn

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis (requirements-dev.lock)")


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("schema")
    daemon = StandIn(folder)
    for _ in range(3):
        daemon.show()
    daemon.answers = {
        "memory": {
            "memories": [],
            "entries": 0,
            "task": 1,
            "done": True,
            "result": {"ok": False, "error": "no"},
        },
        "models": {"models": {}},
    }
    daemon.answer()
    app = create_app(daemon.spec)
    found = schemathesis.openapi.from_asgi("/openapi.json", app, headers={"Host": "127.0.0.1"})
    found.folder = str(folder)
    yield found
    daemon.stop()


STREAMS = ("/api/events", "/stream.mjpg")
KINDS = [
    "/api/status",
    "/api/frame",
    "/api/memory",
    "/api/images",
    "/api/control",
    "/api/prompt",
    "/api/themes",
]
KINDS += ["/api/config", "/api/models", "/api/log", "/queue", "/livez", "/readyz", "/startupz", "/metrics"]


def operations(schema: Any, begins: str) -> list[Any]:
    found = [result.ok() for result in schema.get_all_operations()]
    return [one for one in found if one.path.startswith(begins) and one.path not in STREAMS]


def test_every_endpoint_is_tried(schema: Any) -> None:
    tried = {one.path for begins in KINDS for one in operations(schema, begins)}
    assert tried == {one.path for one in operations(schema, "/")}


@pytest.mark.parametrize("begins", KINDS)
def test_no_request_breaks_it(schema: Any, begins: str) -> None:
    found = operations(schema, begins)
    assert found

    @settings(
        max_examples=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    @given(st.one_of([one.as_strategy() for one in found]))
    def tried(case: Any) -> None:
        if "wait" in (case.query or {}):
            case.query["wait"] = 0
        answer = case.call(headers={"Host": "127.0.0.1"})
        assert answer.status_code < 500 or answer.status_code == 503, answer.content
        assert schema.folder.encode() not in answer.content
        assert b"Traceback" not in answer.content
        if answer.status_code >= 400:
            assert answer.json()["status"] == "error"

    tried()
