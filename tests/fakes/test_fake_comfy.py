"""The fake itself: each fault does what it says, and heals."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import websocket
from PIL import Image

from backend.engine.stock_nodes import CHECKPOINT
from tests.engine.listener import GUARD_S, Listener
from tests.fakes.fake_comfy import FakeComfy, txt2img
from tests.fakes.faulty import illegal_access, out_of_memory
from tests.fakes.painters import PacedPainter


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeComfy]:
    with FakeComfy(tmp_path) as fake:
        yield fake


def graph(**changes: Any) -> dict[str, Any]:
    return txt2img(CHECKPOINT, **changes)


def history(fake: FakeComfy, prompt_id: str) -> Any:
    deadline_s = time.monotonic() + GUARD_S
    while time.monotonic() < deadline_s:
        entry = requests.get(f"{fake.url}/history/{prompt_id}", timeout=GUARD_S).json().get(prompt_id)
        if entry:
            return entry
        time.sleep(0.002)
    raise AssertionError("the prompt did not end")


def kinds(messages: list[dict[str, Any]]) -> set[str]:
    return {message.get("type", "picture") for message in messages}


def test_f01_a_mute_socket_stays_open_while_http_goes_on(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        fake.mute()
        prompt_id = client.post(graph())
        assert history(fake, prompt_id)["status"]["completed"]
        assert client.silent_for(0.05)
        fake.unmute()
        assert "execution_success" in kinds(client.run(graph(seed=2)))


def test_f04_the_end_message_can_be_lost_alone(fake: FakeComfy) -> None:
    fake.drop_end_messages()
    with Listener(fake.url) as client:
        prompt_id = client.post(graph())
        history(fake, prompt_id)
        fake.heal()
        heard = client.run(graph(seed=2))
    assert [message["type"] for message in heard].count("execution_success") == 2


def test_f05_after_a_kill_nothing_is_known_and_the_port_is_the_same(fake: FakeComfy) -> None:
    port = fake.port
    with Listener(fake.url) as client:
        fake.painter.hold()
        prompt_id = client.post(graph())
        fake.kill()
        with pytest.raises((websocket.WebSocketException, OSError)):
            client.until_end()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{fake.url}/queue", timeout=GUARD_S)
    fake.restart()
    assert fake.port == port
    assert requests.get(f"{fake.url}/history/{prompt_id}", timeout=GUARD_S).json() == {}
    assert requests.get(f"{fake.url}/prompt", timeout=GUARD_S).json()["exec_info"]["queue_remaining"] == 0


def test_f06_an_answer_is_lost_but_the_prompt_runs(fake: FakeComfy) -> None:
    fake.fault("POST", "/prompt", close="after", times=1)
    body = {"prompt": graph(), "prompt_id": "e16b097e-28af-4dee-9248-1a1af5f107c5"}
    with pytest.raises(requests.ConnectionError):
        requests.post(f"{fake.url}/prompt", json=body, timeout=GUARD_S)
    assert history(fake, body["prompt_id"])["status"]["completed"]
    assert [request.json()["prompt_id"] for request in fake.posted("/prompt")] == [body["prompt_id"]]


def test_f07_cached_files_can_be_gone(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        client.run(graph())
        fake.lose_output_files()
        client.run(graph())
    answer = requests.get(f"{fake.url}/view?filename=t2i_00001_.png", timeout=GUARD_S)
    assert answer.status_code == 404


def test_f08_a_view_ends_in_the_middle(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        client.run(graph())
    fake.fault("GET", "/view", truncate=0.5, times=2)
    for _ in range(2):
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            requests.get(f"{fake.url}/view?filename=t2i_00001_.png", timeout=GUARD_S)
    assert requests.get(f"{fake.url}/view?filename=t2i_00001_.png", timeout=GUARD_S).ok


@pytest.mark.parametrize("how", ["black", "flat", "nan", "dark"])
def test_f09_pictures_can_be_spoilt(fake: FakeComfy, how: str) -> None:
    fake.painter.spoil = how
    with Listener(fake.url) as client:
        heard = client.run(graph(saver="SaveImageWebsocket"))
    picture = next(message["picture"] for message in heard if "event" in message)
    pixels = np.asarray(Image.open(io.BytesIO(picture)))
    assert {"black": pixels.max() == 0, "flat": np.ptp(pixels) == 0}.get(how, pixels.max() > 0)
    assert how != "nan" or np.count_nonzero(pixels.any(axis=-1)) < pixels.shape[0] * pixels.shape[1] / 100
    assert how != "dark" or pixels.max() < 40


def test_f10_and_f11_jobs_fail_as_graphics_cards_make_them(fake: FakeComfy) -> None:
    fake.painter.errors.append(out_of_memory())
    with Listener(fake.url) as client:
        first = client.run(graph())
        fake.painter.always = illegal_access()
        others = [client.run(graph(seed=seed)) for seed in (1, 2)]
    told = [
        next(message["data"] for message in heard if message.get("type") == "execution_error")
        for heard in (first, *others)
    ]
    assert told[0]["exception_type"] == "torch.OutOfMemoryError"
    assert all("illegal memory access" in data["exception_message"] for data in told[1:])


def test_f12_a_job_hangs_and_no_interrupt_helps(fake: FakeComfy) -> None:
    fake.painter.hold()
    with Listener(fake.url) as client:
        prompt_id = client.post(graph())
        while client.next().get("data", {}).get("node") != "5":
            pass
        requests.post(f"{fake.url}/interrupt", json={"prompt_id": prompt_id}, timeout=GUARD_S)
        assert client.silent_for(0.05)
        running = requests.get(f"{fake.url}/queue", timeout=GUARD_S).json()["queue_running"]
        assert [item[1] for item in running] == [prompt_id]
        fake.painter.release()
        client.until_end()


def test_f13_somebody_else_has_a_prompt_in_the_queue(fake: FakeComfy) -> None:
    fake.painter.step_s = 0.005
    theirs = fake.foreign_job(steps=10)
    with Listener(fake.url) as client:
        client.run(graph())
        assert fake.executed()[0] == theirs
    assert history(fake, theirs)["prompt"][3]["client_id"] == "somebody-else"


def test_f14_a_server_that_is_not_up_refuses_until_it_is(tmp_path: Path) -> None:
    with FakeComfy(tmp_path, up=False) as fake:
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{fake.url}/queue", timeout=GUARD_S)
        fake.restart()
        assert requests.get(f"{fake.url}/queue", timeout=GUARD_S).ok


def test_f15_nodes_and_models_can_be_missing_even_after_a_restart(fake: FakeComfy) -> None:
    fake.lose_node("SaveImage")
    fake.set_checkpoints(["other.safetensors"])
    for _ in range(2):
        answer = requests.post(f"{fake.url}/prompt", json={"prompt": graph()}, timeout=GUARD_S)
        assert answer.json()["error"]["details"] == "Node ID '#7'"
        assert requests.get(f"{fake.url}/object_info/SaveImage", timeout=GUARD_S).json() == {}
        names = requests.get(f"{fake.url}/models/checkpoints", timeout=GUARD_S).json()
        assert names == ["other.safetensors"]
        fake.restart()


def test_f16_answers_can_be_replaced_delayed_and_endless(fake: FakeComfy) -> None:
    fake.fault("GET", "/history*", body='{"a": NaN}', times=1)
    fake.fault("GET", "/history*", status=500, times=1)
    fake.fault("GET", "/history*", body=(b"x" * 1000 for _ in range(10)), times=1)
    fake.fault("GET", "/queue", rewrite=lambda queue: queue | {"queue_running": 5}, times=1)
    fake.fault("GET", "/prompt", stall=True, times=1)
    address = f"{fake.url}/history/x"
    assert requests.get(address, timeout=GUARD_S).text == '{"a": NaN}'
    assert requests.get(address, timeout=GUARD_S).status_code == 500
    assert len(requests.get(address, timeout=GUARD_S).content) == 10_000
    assert requests.get(f"{fake.url}/queue", timeout=GUARD_S).json()["queue_running"] == 5
    with pytest.raises(requests.Timeout):
        requests.get(f"{fake.url}/prompt", timeout=0.05)
    assert requests.get(address, timeout=GUARD_S).json() == {}


def test_faults_may_skip_the_first_and_pick_by_content(fake: FakeComfy) -> None:
    fault = fake.fault(
        "GET", "/queue", status=503, skip=1, times=1, when=lambda request: "x" in request.query
    )
    address = f"{fake.url}/api/queue"
    codes = [
        requests.get(address, params=query, timeout=GUARD_S).status_code
        for query in ({"x": "1"}, {}, {"x": "2"}, {"x": "3"})
    ]
    assert codes == [200, 200, 503, 200]
    assert fault.hits == 1


def test_connections_and_what_they_were_sent_are_recorded(fake: FakeComfy) -> None:
    with Listener(fake.url, "one", flags=True) as client:
        client.run(graph(saver="SaveImageWebsocket"))
    sent = [kind for kind, _ in fake.sockets[0].sent]
    assert fake.sockets[0].client_id == "one"
    assert sent[:2] == ["status", "feature_flags"]
    assert sent.count("picture") == 1
    assert sent[-1] == "executing"


def test_cut_sockets_can_be_opened_again(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        fake.drop_sockets()
        with pytest.raises((websocket.WebSocketException, OSError)):
            client.until_end()
    with Listener(fake.url) as client:
        client.run(graph())


def test_the_paced_painter_holds_the_worker_by_the_clock() -> None:
    now_s = [0.0]
    slept: list[float] = []

    def sleep(wait_s: float) -> None:
        slept.append(wait_s)
        now_s[0] += wait_s

    painter = PacedPainter(keyframe_s=0.4, decode_s=0.01, clock=lambda: now_s[0], sleep=sleep)
    latent = painter.sample(
        np.zeros((1, 4, 8, 8), np.float32), 1, 2, seed=1, steps=8, cfg=5, denoise=0.5, on_step=lambda *_: None
    )
    assert now_s[0] == pytest.approx(0.4)
    assert len(slept) == 8
    pictures = list(painter.decode(np.repeat(latent, 12, axis=0)))
    assert now_s[0] == pytest.approx(0.52)
    assert pictures[0].shape == (64, 64, 3)
    assert not np.array_equal(pictures[0], pictures[1])


def test_the_busy_time_is_counted(tmp_path: Path) -> None:
    with FakeComfy(tmp_path, painter=PacedPainter(keyframe_s=0.05, decode_s=0.0)) as fake:
        assert fake.busyness().wall_s == 0.0
        with Listener(fake.url) as client:
            client.run(graph())
            client.run(graph(seed=2))
        busyness = fake.busyness()
    assert busyness.jobs == 2
    assert 0.1 <= busyness.busy_s <= busyness.wall_s
