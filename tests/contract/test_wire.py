"""What is said on the wire: raw HTTP and WebSocket, in the order and form that the client counts on."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from backend.core.comfyui_messages import (
    FEATURE_FLAGS,
    Event,
    Executed,
    Executing,
    ExecutionCached,
    ExecutionInterrupted,
    ExecutionStart,
    ExecutionSuccess,
    FeatureFlags,
    Malformed,
    PictureArrived,
    Progress,
    ProgressState,
    Status,
    parse_binary,
    parse_text,
)
from backend.core.comfyui_socket import socket_url
from backend.core.wire import Wire, connect_wire
from tests.contract.conftest import GUARD_S, LONG_STEPS, Server

pytestmark = pytest.mark.contract


@contextmanager
def wire(server: Server, *, flags: bool = True) -> Iterator[tuple[Wire, str]]:
    """An open socket, greeted, and its client id."""
    client_id = str(uuid.uuid4())
    opened = connect_wire(socket_url(server.url, client_id), GUARD_S)
    if flags:
        opened.send(FEATURE_FLAGS)
    yield opened, client_id
    opened.abort()


def listen(opened: Wire) -> Iterator[Event]:
    while True:
        frame = opened.receive(GUARD_S)
        assert frame is not None, "the server fell silent"
        if isinstance(frame, str):
            yield parse_text(frame)
        elif isinstance(frame, bytes):
            yield parse_binary(frame)


def until_end(opened: Wire, prompt_id: str) -> list[Event]:
    heard: list[Event] = []
    for event in listen(opened):
        heard.append(event)
        if event == Executing(prompt_id, None):
            return heard
    raise AssertionError


def post(server: Server, graph: Any, client_id: str, **more: Any) -> str:
    prompt_id = str(uuid.uuid4())
    body = {"prompt": graph, "client_id": client_id, "prompt_id": prompt_id, **more}
    answer = server.post("/prompt", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["prompt_id"] == prompt_id
    assert answer.json()["node_errors"] == {}
    assert isinstance(answer.json()["number"], int | float)
    return prompt_id


def save_image(server: Server, seed: int | None = None) -> dict[str, Any]:
    workflow = server.keyframe()
    graph = {node: dict(spec) for node, spec in workflow.graph.items()}
    assert workflow.picture_node is not None
    images = graph[workflow.picture_node]["inputs"]["images"]
    graph[workflow.picture_node] = {
        "class_type": "SaveImage",
        "inputs": {"images": images, "filename_prefix": "contract/picture"},
    }
    return graph


def test_the_socket_greets_with_our_id_and_answers_our_flags(server: Server) -> None:
    with wire(server) as (opened, client_id):
        heard = listen(opened)
        first, second = next(heard), next(heard)
    assert isinstance(first, Status)
    assert first.sid == client_id
    assert second == FeatureFlags(True)


def test_a_job_is_told_from_start_to_end_in_order(server: Server) -> None:
    with wire(server) as (opened, client_id):
        prompt_id = post(server, save_image(server), client_id)
        heard = until_end(opened, prompt_id)
        entry = server.get(f"/history/{prompt_id}").json()
    told = [event for event in heard if getattr(event, "prompt_id", None) == prompt_id]
    assert isinstance(told[0], ExecutionStart)
    assert isinstance(told[1], ExecutionCached)
    kinds = [type(event) for event in told]
    assert kinds.index(ExecutionSuccess) == len(kinds) - 2
    assert not any(isinstance(event, Malformed) for event in heard)
    assert {Executing, Progress, ProgressState, Executed} <= set(kinds)
    assert any(isinstance(event, Status) for event in heard)
    assert entry[prompt_id]["status"]["status_str"] == "success", "written before the end was told"


def test_a_saved_file_is_told_by_the_socket_and_the_history_alike(server: Server) -> None:
    with wire(server) as (opened, client_id):
        prompt_id = post(server, save_image(server), client_id)
        heard = until_end(opened, prompt_id)
    outputs = server.get(f"/history/{prompt_id}").json()[prompt_id]["outputs"]
    executed = {event.node: event.files for event in heard if isinstance(event, Executed)}
    assert executed.keys() == outputs.keys()
    (image,) = (output["images"][0] for output in outputs.values() if "images" in output)
    assert image["subfolder"] == "contract"
    answer = server.get("/view", params=image)
    assert answer.status_code == 200
    assert answer.content.startswith(b"\x89PNG")


def test_pictures_carry_prompt_and_node_if_flags_were_the_first_message(server: Server) -> None:
    workflow = server.keyframe()
    with wire(server) as (opened, client_id):
        prompt_id = post(server, workflow.graph, client_id)
        pictures = [event for event in until_end(opened, prompt_id) if isinstance(event, PictureArrived)]
    ours = [picture for picture in pictures if picture.node_id == workflow.picture_node]
    assert [(picture.prompt_id, picture.format) for picture in ours] == [(prompt_id, "png")]


def test_pictures_carry_nothing_without_flags(server: Server) -> None:
    with wire(server, flags=False) as (opened, client_id):
        prompt_id = post(server, server.keyframe().graph, client_id)
        pictures = [event for event in until_end(opened, prompt_id) if isinstance(event, PictureArrived)]
    assert (pictures[-1].prompt_id, pictures[-1].node_id, pictures[-1].format) == (None, None, "png")


def test_an_interrupt_with_an_id_stops_that_prompt_and_is_told(server: Server) -> None:
    with wire(server) as (opened, client_id):
        prompt_id = post(server, server.keyframe(steps=LONG_STEPS).graph, client_id)
        for event in listen(opened):
            if isinstance(event, Progress | ProgressState) and event.prompt_id == prompt_id:
                break
        assert server.post("/interrupt", json={"prompt_id": str(uuid.uuid4())}).status_code == 200
        assert server.post("/interrupt", json={"prompt_id": prompt_id}).status_code == 200
        heard = until_end(opened, prompt_id)
    assert any(isinstance(event, ExecutionInterrupted) for event in heard)
    entry = server.get(f"/history/{prompt_id}").json()[prompt_id]
    assert entry["status"]["status_str"] == "error"
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


def test_the_queue_lists_who_runs_and_who_waits_and_gives_up_what_is_deleted(server: Server) -> None:
    with wire(server) as (opened, client_id):
        first = post(server, server.keyframe(steps=LONG_STEPS).graph, client_id)
        second = post(server, server.keyframe().graph, client_id)
        for event in listen(opened):
            if isinstance(event, ExecutionStart) and event.prompt_id == first:
                break
        queue = server.get("/queue").json()
        assert first in [item[1] for item in queue["queue_running"]]
        assert second in [item[1] for item in queue["queue_pending"]]
        assert server.get("/prompt").json()["exec_info"]["queue_remaining"] >= 2
        assert server.get(f"/history/{first}").json() == {}
        assert server.post("/queue", json={"delete": [first, second]}).status_code == 200
        queue = server.get("/queue").json()
        assert first in [item[1] for item in queue["queue_running"]], "running prompts are not deleted"
        assert second not in [item[1] for item in queue["queue_pending"]]
        server.post("/interrupt", json={"prompt_id": first})
        until_end(opened, first)
    assert server.get(f"/history/{second}").json() == {}


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize(
    "path",
    [
        "/system_stats",
        "/features",
        "/models",
        "/models/checkpoints",
        "/embeddings",
        "/queue",
        "/prompt",
        "/object_info/KSampler",
        "/history?max_items=1",
    ],
)
def test_every_route_is_there_with_and_without_its_prefix(server: Server, prefix: str, path: str) -> None:
    answer = server.get(prefix + path)
    assert answer.status_code == 200
    assert isinstance(answer.json(), dict | list)


def test_unknown_things_are_told_as_such(server: Server) -> None:
    assert server.get(f"/history/{uuid.uuid4()}").json() == {}
    assert server.get("/object_info/NoSuchNode").json() == {}
    assert server.get("/models/no-such-folder").status_code == 404
    assert server.get("/no-such-route").status_code in {403, 404}


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"filename": "nope.png"}, 404),
        ({"filename": "nope.png", "type": "nowhere"}, 400),
        ({"filename": "../nope.png"}, 400),
        ({"filename": "/etc/passwd"}, 400),
        ({"filename": "nope.png", "subfolder": "../.."}, 403),
    ],
)
def test_view_gives_nothing_from_outside(server: Server, params: dict[str, str], status: int) -> None:
    assert server.get("/view", params=params).status_code == status


@pytest.mark.parametrize("subfolder", ["..", "../x", "/tmp"])
def test_uploads_go_nowhere_else(server: Server, subfolder: str) -> None:
    answer = server.post(
        "/upload/image",
        files={"image": ("contract.png", b"x")},
        data={"type": "temp", "subfolder": subfolder},
    )
    assert answer.status_code == 400


def test_pages_of_others_are_refused(server: Server) -> None:
    headers = {"Origin": "http://example.com"}
    answer = server.post("/prompt", json={"prompt": {}}, headers=headers)
    assert answer.status_code == 403


def refused(server: Server, change: dict[str, Any], **more: Any) -> tuple[int, dict[str, Any]]:
    """POSTs a keyframe's graph with some inputs or nodes changed: ``{"5.seed": ..., "6": node}``."""
    graph = json.loads(json.dumps(save_image(server)))
    for where, value in change.items():
        node, _, name = where.partition(".")
        if value is None and name:
            del graph[node]["inputs"][name]
        elif name:
            graph[node]["inputs"][name] = value
        else:
            graph[node] = value
    answer = server.post("/prompt", json={"prompt": graph, **more})
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"5.seed": None}, "required_input_missing"),
        ({"5.steps": 0}, "value_smaller_than_min"),
        ({"5.steps": 10**6}, "value_bigger_than_max"),
        ({"5.steps": "many"}, "invalid_input_type"),
        ({"5.sampler_name": "nope"}, "value_not_in_list"),
        ({"1.ckpt_name": "nope.safetensors"}, "value_not_in_list"),
        ({"5.model": ["1", 1]}, "return_type_mismatch"),
        ({"5.model": ["1"]}, "bad_linked_input"),
        ({"5.latent_image": ["77", 0]}, "exception_during_inner_validation"),
        (
            {"4": {"class_type": "LoadLatent", "inputs": {"latent": "nope.latent"}}},
            "custom_validation_failed",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_graph_that_cannot_run_is_refused_with_its_reason(
    server: Server, change: dict[str, Any], kind: str
) -> None:
    status, body = refused(server, change)
    assert status == 400
    assert body["error"]["type"] == "prompt_outputs_failed_validation"
    errors = [error for node in body["node_errors"].values() for error in node["errors"]]
    assert kind in {error["type"] for error in errors}
    for node in body["node_errors"].values():
        assert node["class_type"]
        assert node["dependent_outputs"]


def test_a_node_class_that_is_missing_is_refused(server: Server) -> None:
    status, body = refused(server, {"5": {"class_type": "NoSuchNode", "inputs": {}}})
    assert status == 400
    assert body["error"]["type"] in {"invalid_prompt", "missing_node_type"}
    assert "5" in body["error"]["details"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [({"prompt": {}}, "prompt_no_outputs"), ({}, "no_prompt"), ([], "no_prompt")],
)
def test_a_body_without_work_is_refused(server: Server, body: object, kind: str) -> None:
    answer = server.post("/prompt", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == kind


def test_a_body_that_is_no_json_is_an_error(server: Server) -> None:
    assert server.post("/prompt", data=b"{").status_code == 500


def test_half_a_graph_is_accepted_with_its_errors_told(server: Server) -> None:
    graph = save_image(server)
    graph["99"] = {"class_type": "SaveLatent", "inputs": {"samples": ["77", 0], "filename_prefix": "x"}}
    prompt_id = str(uuid.uuid4())
    answer = server.post("/prompt", json={"prompt": graph, "prompt_id": prompt_id})
    server.post("/queue", json={"delete": [prompt_id]})
    assert answer.status_code == 200
    assert list(answer.json()["node_errors"]) == ["99"]
