"""What clients hear, compared with what real servers said for the same graphs."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket
from PIL import Image

from tests.engine.listener import GUARD_S, Listener, is_end, shapes
from tests.engine.recorded import CHECKPOINTS, recorded, sequence
from tests.fakes.fake_comfy import FakeComfy, txt2img

TINY = CHECKPOINTS[1]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeComfy]:
    with FakeComfy(tmp_path, checkpoints=CHECKPOINTS) as fake:
        yield fake


def graph(**changes: Any) -> dict[str, Any]:
    return txt2img(TINY, size_px=(128, 128), **changes)


def img2img(saver: str) -> dict[str, Any]:
    """The recorded graph: LoadImage 4, VAEEncode 5, KSampler 6 of three steps, VAEDecode 7, saver 8."""
    nodes = graph(steps=3)
    nodes["4"] = {"class_type": "LoadImage", "inputs": {"image": "a.png"}}
    sampler, decoder, end = nodes.pop("5"), nodes.pop("6"), nodes.pop("7")
    sampler["inputs"] |= {"latent_image": ["5", 0], "denoise": 0.6}
    decoder["inputs"]["samples"] = ["6", 0]
    end["class_type"], end["inputs"] = saver, {"images": ["7", 0]}
    encoder = {"class_type": "VAEEncode", "inputs": {"pixels": ["4", 0], "vae": ["1", 2]}}
    return nodes | {"5": encoder, "6": sampler, "7": decoder, "8": end}


def upload_picture(url: str, name: str = "a.png", size_px: tuple[int, int] = (128, 128)) -> None:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size_px).convert("RGB").save(buffer, "PNG")
    files = {"image": (name, buffer.getvalue())}
    requests.post(f"{url}/upload/image", files=files, timeout=GUARD_S).raise_for_status()


def test_the_first_run_of_a_graph_sounds_like_the_recorded_one(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        heard = [client.greeting, *client.run(graph())]
    assert shapes(heard) == shapes(sequence("txt2img_first"))


def test_the_socket_is_also_found_below_api_and_a_nameless_client_gets_a_name(fake: FakeComfy) -> None:
    address = fake.url.replace("http", "ws", 1) + "/api/ws"
    socket = websocket.create_connection(address, timeout=GUARD_S)
    greeting = json.loads(socket.recv())
    socket.close()
    assert greeting["type"] == "status"
    assert len(greeting["data"]["sid"]) == 32


def test_an_identical_run_is_cached_and_tells_the_old_file(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        client.run(graph())
        heard = client.run(graph())
    assert shapes(heard) == shapes(sequence("cached_rerun_identical"))
    executed = next(message for message in heard if message["type"] == "executed")
    assert executed["data"]["output"]["images"][0]["filename"] == "t2i_00001_.png"


@pytest.mark.parametrize(
    ("saver", "name"),
    [("SaveImageWebsocket", "img2img_websocket"), ("PreviewImage", "img2img_previewimage")],
)
def test_img2img_sounds_like_the_recorded_one(fake: FakeComfy, saver: str, name: str) -> None:
    upload_picture(fake.url)
    with Listener(fake.url) as client:
        before = img2img(saver)
        before["6"]["inputs"]["seed"] = 12
        client.run(before)
        heard = client.run(img2img(saver))
    assert shapes(heard) == shapes(sequence(name))


def test_pictures_for_the_socket_are_sent_again_when_all_else_is_cached(fake: FakeComfy) -> None:
    upload_picture(fake.url)
    with Listener(fake.url) as client:
        first = client.run(img2img("SaveImageWebsocket"))
        second = client.run(img2img("SaveImageWebsocket"))
    assert shapes(second) == shapes(sequence("saveimagewebsocket_rerun_identical"))
    pictures = [message["picture"] for message in [*first, *second] if "event" in message]
    assert len(pictures) == 2
    assert pictures[0] == pictures[1]


def test_with_feature_flags_pictures_carry_their_origin_and_come_before_their_progress(
    fake: FakeComfy,
) -> None:
    wanted = graph(saver="SaveImageWebsocket")
    wanted["4"]["inputs"]["batch_size"] = 2
    with Listener(fake.url, flags=True) as client:
        assert client.flags["type"] == "feature_flags"
        assert client.flags["data"]["supports_preview_metadata"] is True
        client.run(graph(saver="SaveImageWebsocket"))
        heard = client.run(wanted)
    assert shapes(heard) == shapes(sequence("featureflags_event4"))
    origin = next(message["metadata"] for message in heard if "event" in message)
    assert origin["node_id"] == "7"
    assert origin["prompt_id"] == heard[-1]["data"]["prompt_id"]
    picture = next(message["picture"] for message in heard if "event" in message)
    assert Image.open(io.BytesIO(picture)).size == (128, 128)


def test_flags_in_a_second_message_are_ignored(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        client.send("hello")
        client.send('{"type":"feature_flags","data":{"supports_preview_metadata":true}}')
        heard = client.run(graph(saver="SaveImageWebsocket"))
    assert [message["event"] for message in heard if "event" in message] == [1]


def test_a_prompt_without_client_id_shows_its_progress_and_pictures_to_everybody(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        client.run(graph(saver="SaveImageWebsocket", seed=1))
        body = {"prompt": graph(saver="SaveImageWebsocket")}
        requests.post(f"{fake.url}/prompt", json=body, timeout=GUARD_S)
        expected = sequence("broadcast_from_prompt_without_client_id")
        heard = [client.next() for _ in expected]
    assert shapes(heard) == shapes(expected)


def test_prompts_of_others_are_only_heard_as_status(fake: FakeComfy) -> None:
    with Listener(fake.url, "mine") as mine, Listener(fake.url, "theirs") as theirs:
        theirs.run(graph())
        heard = [mine.next() for _ in ("queued", "picked up", "done")]
        assert mine.silent_for(0.05)
    assert {message["type"] for message in heard} == {"status"}


def test_an_interrupt_stops_between_two_steps(fake: FakeComfy) -> None:
    fake.painter.step_s = 0.02
    with Listener(fake.url) as client:
        client.run(graph(steps=1))
        prompt_id = client.post(graph(steps=60))
        heard = []
        while not any(message.get("type") == "progress" for message in heard):
            heard.append(client.next())
        interrupt(fake.url, prompt_id)
        heard += client.until_end()
    told = shapes(heard)
    expected = shapes(sequence("execution_interrupted"))
    assert told[:6] == expected[:6]
    assert told[-3:] == expected[-3:]
    entry = history(fake.url, prompt_id)
    assert entry["outputs"] == {}
    assert entry["status"] | {"messages": 0} == {"status_str": "error", "completed": False, "messages": 0}
    assert [kind for kind, _ in entry["status"]["messages"]] == [
        kind for kind, _ in recorded("history")["execution_interrupted"]["status"]["messages"]
    ]


def test_an_interrupt_for_another_prompt_does_nothing(fake: FakeComfy) -> None:
    fake.painter.step_s = 0.01
    with Listener(fake.url) as client:
        client.post(graph(steps=20))
        interrupt(fake.url, "00000000-0000-4000-8000-000000000000")
        heard = client.until_end()
    assert any(message.get("type") == "execution_success" for message in heard)


def test_an_idle_interrupt_does_not_hit_the_next_prompt(fake: FakeComfy) -> None:
    requests.post(f"{fake.url}/interrupt", timeout=GUARD_S).raise_for_status()
    with Listener(fake.url) as client:
        heard = client.run(graph())
    assert any(message.get("type") == "execution_success" for message in heard)


def test_a_node_that_fails_ends_its_prompt_like_the_recorded_one(fake: FakeComfy) -> None:
    requests.post(f"{fake.url}/upload/image", files={"image": ("corrupt.png", b"nothing")}, timeout=GUARD_S)
    wanted = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "corrupt.png"}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    with Listener(fake.url) as client:
        heard = client.run(wanted)
    expected = sequence("execution_error_corrupt_image")
    error = next(message["data"] for message in heard if message["type"] == "execution_error")
    real = next(message["data"] for message in expected if message["type"] == "execution_error")
    assert error.pop("traceback")
    same = ("node_id", "node_type", "executed", "exception_type", "current_inputs", "current_outputs")
    assert {key: error[key] for key in same} == {key: real[key] for key in same}
    assert shapes(heard) == shapes(expected)


def test_a_socket_that_comes_back_hears_where_its_prompt_is_and_the_rest(fake: FakeComfy) -> None:
    fake.painter.step_s = 0.05
    with Listener(fake.url, "rc-1") as client:
        client.run(graph(steps=1))
        client.post(graph(steps=12))
        while client.next().get("type") != "progress":
            pass
    with Listener(fake.url, "rc-1") as again:
        heard = [again.greeting, *again.until_end()]
    expected = sequence("reconnect_same_client")
    assert heard[0]["data"].keys() == expected[0]["data"].keys()
    assert heard[1] == expected[1] == {"type": "executing", "data": {"node": "5"}}
    assert shapes(heard)[-10:] == shapes(expected)[-10:]


def test_the_older_of_two_sockets_hears_nothing_and_its_end_makes_the_newer_one_deaf(fake: FakeComfy) -> None:
    older = Listener(fake.url, "twin")
    with Listener(fake.url, "twin") as newer:
        newer.run(graph(seed=1))
        assert older.silent_for(0.1)
        older.close()
        deadline_s = time.monotonic() + GUARD_S
        while len([socket for socket in fake.sockets if socket.closed_at_s is None]) > 1:
            assert time.monotonic() < deadline_s
            time.sleep(0.005)
        prompt_id = newer.post(graph(seed=2))
        while not history(fake.url, prompt_id):
            assert time.monotonic() < deadline_s
            time.sleep(0.005)
        assert newer.silent_for(0.1)


def test_the_history_is_written_before_the_end_is_told(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        for seed in range(20):
            prompt_id = client.post(graph(seed=seed))
            client.until_end()
            assert history(fake.url, prompt_id)["status"]["completed"] is True


def test_a_batch_of_latents_comes_back_as_pictures_in_order(fake: FakeComfy) -> None:
    wanted = graph(saver="SaveImageWebsocket")
    wanted["4"]["inputs"]["batch_size"] = 8
    with Listener(fake.url) as client:
        heard = client.run(wanted)
        pictures = [message["picture"] for message in heard if "event" in message]
        wanted["6"]["inputs"]["samples"] = ["9", 0]
        single = {"samples": ["5", 0], "batch_index": 5, "length": 1}
        wanted["9"] = {"class_type": "LatentFromBatch", "inputs": single}
        sixth = [message["picture"] for message in client.run(wanted) if "event" in message]
    ends = [shape for shape in shapes(heard) if shape[0] in ("picture", "progress")][-16:]
    recorded_ends = [
        shape for shape in shapes(sequence("hybrid_batch8_128")) if shape[0] in ("picture", "progress")
    ]
    assert ends == recorded_ends[-16:]
    assert len(set(pictures)) == 8
    assert sixth == [pictures[5]]


def test_pictures_are_not_deflated_a_second_time(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        assert "sec-websocket-extensions" not in client._socket.getheaders()


def test_a_page_of_another_site_may_not_listen_or_post(fake: FakeComfy) -> None:
    for origin in ("http://evil.example", f"http://localhost:{fake.port}", "null"):
        answer = requests.post(f"{fake.url}/prompt", json={}, headers={"Origin": origin}, timeout=GUARD_S)
        assert (answer.status_code, answer.content) == (403, b"")
    bent = requests.get(f"{fake.url}/queue", headers={"Host": "evil.example"}, timeout=GUARD_S)
    assert bent.status_code == 403
    own = requests.get(f"{fake.url}/queue", headers={"Origin": fake.url}, timeout=GUARD_S)
    assert own.status_code == 200


def history(url: str, prompt_id: str) -> Any:
    return requests.get(f"{url}/history/{prompt_id}", timeout=GUARD_S).json().get(prompt_id)


def interrupt(url: str, prompt_id: str) -> None:
    requests.post(f"{url}/interrupt", json={"prompt_id": prompt_id}, timeout=GUARD_S).raise_for_status()


def test_the_end_is_recognised() -> None:
    assert is_end({"type": "executing", "data": {"node": None}})
