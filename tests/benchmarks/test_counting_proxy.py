"""The proxy passes everything on, and counts jobs however their bytes are cut."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import requests

from backend.core.comfyui_api import ComfyUIClient, Finished
from benchmarks.counting_proxy import Asked, CountingProxy, RequestReader
from tests.fakes.fake_comfy import FakeComfy, txt2img

GUARD_S = 30.0


def post(seed: int | None, path: str = "/prompt") -> bytes:
    inputs = {} if seed is None else {"seed": seed}
    body = json.dumps({"prompt": {"1": {"class_type": "X", "inputs": inputs}}}).encode()
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(body)) + body


STREAM = (
    b"GET /queue HTTP/1.1\r\nHost: x\r\n\r\n"
    + post(1)
    + post(1, "/api/prompt")
    + post(None)
    + post(7, "/upload/image")
    + post(2)
    + b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
    + post(3)
)


@pytest.mark.parametrize("step", [1, 7, 100, len(STREAM)])
def test_keyframes_are_counted_once_each_however_the_bytes_are_cut(step: int) -> None:
    asked = Asked()
    reader = RequestReader(asked)
    for start, end in pairwise([*range(0, len(STREAM), step), len(STREAM)]):
        reader.feed(STREAM[start:end])
    assert (asked.keyframes, asked.posts) == (2, 4)


def test_a_body_that_is_no_prompt_is_passed_over() -> None:
    asked = Asked()
    for body in (b"", b"{", b"[]", b'{"prompt": []}', b'{"prompt": {"1": 2}}'):
        asked.note(body)
    assert (asked.keyframes, asked.posts) == (0, 0)


def test_a_client_works_through_it_and_its_jobs_are_counted(fake_comfy: FakeComfy) -> None:
    with CountingProxy(fake_comfy.url) as proxy:
        client = ComfyUIClient(proxy.url)
        client.start()
        try:
            (checkpoint, *_) = client.models("checkpoints")
            for seed in (1, 2, 2):
                graph = txt2img(checkpoint, seed=seed, saver="SaveImageWebsocket")
                job = client.submit(graph, deadline_s=GUARD_S, pictures=1)
                assert isinstance(job.result(GUARD_S), Finished)
        finally:
            client.close()
        assert (proxy.asked.keyframes, proxy.asked.posts) == (2, 3)


def test_it_hangs_up_where_nobody_is() -> None:
    with CountingProxy("http://127.0.0.1:9") as proxy, pytest.raises(requests.ConnectionError):
        requests.get(f"{proxy.url}/queue", timeout=GUARD_S)
