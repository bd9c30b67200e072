"""Queue, history and jobs: order, deletion, what is told and what is not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.engine.listener import GUARD_S, Listener
from tests.engine.recorded import CHECKPOINTS, recorded
from tests.fakes.fake_comfy import FakeComfy, txt2img

CHECKPOINT = CHECKPOINTS[1]
JOBS = recorded("jobs")


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeComfy]:
    with FakeComfy(tmp_path, dialect="B", checkpoints=CHECKPOINTS) as fake:
        yield fake


@pytest.fixture
def old(tmp_path: Path) -> Iterator[FakeComfy]:
    with FakeComfy(tmp_path, dialect="A", checkpoints=CHECKPOINTS) as fake:
        yield fake


def graph(seed: int) -> dict[str, Any]:
    return txt2img(CHECKPOINT, seed=seed)


def get(fake: FakeComfy, path: str) -> Any:
    return requests.get(fake.url + path, timeout=GUARD_S).json()


def post(fake: FakeComfy, path: str, body: Any = None) -> requests.Response:
    return requests.post(fake.url + path, json=body, timeout=GUARD_S)


def blocked(fake: FakeComfy, client: Listener) -> str:
    """A prompt that runs until the painter is released."""
    fake.painter.hold()
    prompt_id = client.post(graph(0))
    while client.next().get("data", {}).get("node") != "5":
        pass
    return prompt_id


def test_lower_numbers_run_first_then_front_then_the_rest(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        first = blocked(fake, client)
        usual = client.post(graph(1))
        front = client.post(graph(2), front=True)
        lowest = client.post(graph(3), number=-100)
        fake.painter.release()
        for _ in range(4):
            client.until_end()
    assert fake.executed() == [first, lowest, front, usual]


def test_the_queue_tells_what_runs_and_what_waits(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        running = blocked(fake, client)
        waiting = client.post(graph(1))
        queue = get(fake, "/queue")
        assert get(fake, "/prompt") == {"exec_info": {"queue_remaining": 2}}
        number, prompt_id, told, extra_data, outputs = queue["queue_running"][0]
        assert (number, prompt_id, outputs) == (0, running, ["7"])
        assert told == graph(0)
        assert extra_data["client_id"] == "client-A"
        assert [item[1] for item in queue["queue_pending"]] == [waiting]
        assert get(fake, f"/history/{running}") == get(fake, f"/history/{waiting}") == {}
        fake.painter.release()


def test_deleting_takes_only_waiting_prompts_and_tells_only_a_status(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        running = blocked(fake, client)
        waiting = client.post(graph(1))
        assert post(fake, "/queue", {"delete": [waiting, running, "unknown"]}).content == b""
        assert [item[1] for item in get(fake, "/queue")["queue_running"]] == [running]
        assert get(fake, "/queue")["queue_pending"] == []
        fake.painter.release()
        heard = client.until_end()
        assert not any(waiting in str(message) for message in heard if "event" not in message)
    assert fake.executed() == [running]


def test_clearing_takes_all_that_wait_of_everybody(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        running = blocked(fake, client)
        client.post(graph(1))
        fake.foreign_job()
        post(fake, "/queue", {"clear": True})
        fake.painter.release()
        client.until_end()
    assert fake.executed() == [running]


def test_the_history_can_be_cut_and_forgotten(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        ids = [client.run(graph(seed))[-1]["data"]["prompt_id"] for seed in range(4)]
    assert list(get(fake, "/history")) == ids
    assert list(get(fake, "/history?max_items=2")) == ids[2:]
    assert list(get(fake, "/history?max_items=2&offset=0")) == ids[:2]
    assert requests.get(f"{fake.url}/history?max_items=x", timeout=GUARD_S).status_code == 500
    post(fake, "/history", {"delete": [ids[1]]})
    assert list(get(fake, "/history")) == [ids[0], *ids[2:]]
    post(fake, "/history", {"clear": True})
    assert get(fake, "/history") == {}


def test_history_entries_have_the_recorded_shape(old: FakeComfy) -> None:
    with Listener(old.url) as client:
        prompt_id = client.run(txt2img(CHECKPOINT, size_px=(128, 128)))[-1]["data"]["prompt_id"]
        again = client.run(txt2img(CHECKPOINT, size_px=(128, 128)))[-1]["data"]["prompt_id"]
    for name, one in {"one_success": prompt_id, "cached_rerun_identical": again}.items():
        told, expected = get(old, f"/history/{one}")[one], recorded("history")[name]
        assert sorted(told) == sorted(expected)
        assert told["outputs"] == expected["outputs"]
        assert told["meta"] == expected["meta"]
        assert told["prompt"][2:] == expected["prompt"][2:] or name == "one_success"
        assert _without_accidents(told["status"]) == _without_accidents(expected["status"])


def _without_accidents(status: dict[str, Any]) -> dict[str, Any]:
    messages = [
        [kind, {key: value for key, value in data.items() if key not in ("prompt_id", "timestamp")}]
        for kind, data in status["messages"]
    ]
    return status | {"messages": messages}


def test_the_same_id_and_number_twice_is_a_server_error(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        blocked(fake, client)
        body = {"prompt": graph(1), "prompt_id": str(uuid.uuid4()), "number": 5}
        assert post(fake, "/prompt", body).status_code == 200
        assert post(fake, "/prompt", body).status_code == 500
        fake.painter.release()


def test_posting_an_id_again_runs_it_again(fake: FakeComfy) -> None:
    prompt_id = str(uuid.uuid4())
    with Listener(fake.url) as client:
        client.run(graph(1), prompt_id=prompt_id)
        client.run(graph(2), prompt_id=prompt_id)
    assert fake.painter.samplings == 2
    assert fake.executed() == [prompt_id]


def test_only_the_wanted_outputs_run(fake: FakeComfy) -> None:
    wanted = graph(1)
    wanted["8"] = {"class_type": "PreviewImage", "inputs": {"images": ["6", 0]}}
    with Listener(fake.url) as client:
        heard = client.run(wanted, partial_execution_targets=["8"])
    assert [message["data"]["node"] for message in heard if message.get("type") == "executed"] == ["8"]


def test_a_job_is_told_in_each_of_its_states(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        running = blocked(fake, client)
        waiting = client.post(graph(1))
        told = get(fake, f"/api/jobs/{running}")
        expected = JOBS["GET job running"]["json"]
        assert told | {"id": 0, "priority": 0, "create_time": 0} == expected | {
            "id": 0,
            "priority": 0,
            "create_time": 0,
        }
        assert get(fake, f"/api/jobs/{waiting}")["status"] == "pending"
        assert [job["id"] for job in get(fake, "/api/jobs")["jobs"]] == [running, waiting]
        assert post(fake, f"/api/jobs/{waiting}/cancel").json() == {"cancelled": True}
        assert requests.get(f"{fake.url}/api/jobs/{waiting}", timeout=GUARD_S).status_code == 404
        assert post(fake, f"/api/jobs/{running}/cancel").json() == {"cancelled": True}
        fake.painter.release()
        client.until_end()
        assert get(fake, f"/api/jobs/{running}")["status"] == "cancelled"
        assert post(fake, f"/api/jobs/{running}/cancel").json() == {"cancelled": False}
        done = client.run(graph(2))[-1]["data"]["prompt_id"]
    expected = JOBS["GET /api/jobs/<id>"]["json"]
    assert sorted(get(fake, f"/api/jobs/{done}")) == sorted(expected)
    page = get(fake, "/api/jobs?limit=1")
    assert page["pagination"] == {"offset": 0, "limit": 1, "total": 2, "has_more": True}
    assert sorted(page["jobs"][0]) == sorted(JOBS["GET /api/jobs?limit=2"]["json"]["jobs"][0])


def test_the_older_dialect_knows_no_jobs(old: FakeComfy) -> None:
    for path in ("/api/jobs", "/api/jobs/x", "/jobs"):
        assert requests.get(old.url + path, timeout=GUARD_S).status_code == 404
    assert post(old, "/api/jobs/x/cancel").status_code in (404, 405)


def test_bodies_that_are_not_json_are_errors_only_where_comfyui_says_so(fake: FakeComfy) -> None:
    codes = {
        path: requests.post(fake.url + path, data="{not json", timeout=GUARD_S).status_code
        for path in ("/interrupt", "/free", "/queue", "/prompt")
    }
    assert codes == {"/interrupt": 200, "/free": 500, "/queue": 500, "/prompt": 500}


def test_freeing_memory_drops_the_node_cache(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        client.run(graph(1))
        post(fake, "/free", {"unload_models": True})
        cached = client.run(graph(1))[3]
        post(fake, "/free", {"unload_models": True, "free_memory": True})
        dropped = client.run(graph(1))[3]
    assert cached["type"] == dropped["type"] == "execution_cached"
    assert len(cached["data"]["nodes"]) == 7
    assert dropped["data"]["nodes"] == []
