"""Previews while sampling: who asks for them gets them, and nobody takes them for pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from backend.core.comfyui_api import ComfyUIClient
from backend.core.comfyui_http import Answer, ComfyHttp
from backend.core.comfyui_messages import FEATURE_FLAGS, Event, PictureArrived, parse_binary
from backend.core.wire import Frame, Wire, connect_wire
from backend.core.workflow_builder import Workflow
from tests.contract.conftest import Server, Studio
from tests.contract.test_wire import post, until_end, wire

pytestmark = pytest.mark.contract

STEPS = 2
ASKING = {"extra_data": {"preview_method": "latent2rgb"}}


def skip_unless_previews(server: Server) -> None:
    """Servers of the older generation, which has no jobs either, ignore the wish."""
    if server.get("/api/jobs").status_code != 200:
        pytest.skip("this server's generation ignores preview_method")


def pictures(heard: list[Event]) -> list[PictureArrived]:
    return [event for event in heard if isinstance(event, PictureArrived)]


def sampler(workflow: Workflow) -> str:
    (node,) = (node for node, spec in workflow.graph.items() if spec["class_type"] == "KSampler")
    return node


def test_a_preview_a_step_with_the_samplers_id_comes_before_the_picture(server: Server) -> None:
    skip_unless_previews(server)
    workflow = server.keyframe(STEPS)
    with wire(server) as (opened, client_id):
        prompt_id = post(server, workflow.graph, client_id, **ASKING)
        told = pictures(until_end(opened, prompt_id))
    assert {event.prompt_id for event in told} == {prompt_id}
    assert [(event.node_id, event.format) for event in told] == [
        *[(sampler(workflow), "jpeg")] * STEPS,
        (workflow.picture_node, "png"),
    ]


def test_without_flags_previews_are_nameless_jpegs_before_the_picture(server: Server) -> None:
    skip_unless_previews(server)
    with wire(server, flags=False) as (opened, client_id):
        prompt_id = post(server, server.keyframe(STEPS).graph, client_id, **ASKING)
        told = pictures(until_end(opened, prompt_id))
    assert [(event.node_id, event.format) for event in told] == [*[(None, "jpeg")] * STEPS, (None, "png")]


class Overheard:
    """A wire that remembers its pictures, and may keep our flags to itself."""

    def __init__(self, wire: Wire, heard: list[PictureArrived], *, flags: bool) -> None:
        self._wire = wire
        self._heard = heard
        self._flags = flags
        self.ping, self.abort = wire.ping, wire.abort

    def send(self, text: str) -> None:
        if self._flags or text != FEATURE_FLAGS:
            self._wire.send(text)

    def receive(self, timeout_s: float) -> Frame:
        frame = self._wire.receive(timeout_s)
        if isinstance(frame, bytes):
            self._heard += pictures([parse_binary(frame)])
        return frame


def asking_posts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets every prompt of our client ask for previews, which it never does by itself."""
    really_post = ComfyHttp.post

    def asking(http: ComfyHttp, url: str, body: object = None, **options: Any) -> Answer:
        if url.endswith("/prompt"):
            assert isinstance(body, Mapping)
            body = {**body, **ASKING}
        return really_post(http, url, body, **options)

    monkeypatch.setattr(ComfyHttp, "post", asking)


@pytest.mark.parametrize("flags", [True, False], ids=["flags", "no flags"])
def test_the_client_does_not_count_previews_as_pictures(
    server: Server, monkeypatch: pytest.MonkeyPatch, flags: bool
) -> None:
    skip_unless_previews(server)
    asking_posts(monkeypatch)
    heard: list[PictureArrived] = []
    client = ComfyUIClient(
        server.url,
        connect=lambda url, connect_s: Overheard(connect_wire(url, connect_s), heard, flags=flags),
    )
    client.start()
    try:
        end = Studio(client, server).finish(server.keyframe(STEPS))
    finally:
        client.close()
    assert [event.format for event in heard] == [*["jpeg"] * STEPS, "png"]
    assert [(picture.format, picture.data) for picture in end.pictures] == [("png", heard[-1].data)]


def test_asking_for_previews_does_no_harm_where_nobody_knows_of_them(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking_posts(monkeypatch)
    client = ComfyUIClient(server.url)
    client.start()
    try:
        end = Studio(client, server).finish(server.keyframe(STEPS))
    finally:
        client.close()
    assert [picture.format for picture in end.pictures] == ["png"]
