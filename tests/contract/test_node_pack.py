"""What our own nodes promise: on FakeComfy, which has them, and on a real server that has them installed."""

from __future__ import annotations

import json
import struct
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import websocket

from backend.core.comfyui_messages import FEATURE_FLAGS, PictureArrived, parse_binary
from backend.core.family_detection import family_of
from backend.core.jobs import Failed, FileRef, Interrupted
from backend.core.latent_nodes import FrameFormat, WalkFrames
from backend.core.model_choice import Models
from backend.core.node_catalog import NodeCatalog
from backend.core.node_pack import find_pack
from backend.core.sampling import Sampling
from backend.core.workflow_builder import DecodeLatents, DreamStep, TextToImage, Workflow, WorkflowBuilder
from backend.errors import GraphRejected
from backend.interpolation.latent_encoder import read_latents, write_latents
from backend.interpolation.walk import Knot, Walk, Waypoint
from backend.interpolation.walk_course import Course, course_of
from tests.contract.conftest import GUARD_S, SIZE_PX, Server, Studio, finished, server_at, studio_of
from tests.contract.material import pixels
from tests.fakes.fake_comfy import FakeComfy

pytestmark = pytest.mark.contract

PLACES = (0.25, 0.5, 0.75)
PNG = FrameFormat("png")


@pytest.fixture
def packed_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of FakeComfy with our nodes, or of the real server."""
    if request.param == "live":
        yield request.config.getoption("--comfyui-url")
    else:
        with FakeComfy(tmp_path / "fake", dialect="B", pack=True) as fake:
            yield fake.url


@pytest.fixture
def packed(packed_url: str) -> Iterator[Studio]:
    """A client of a server that has our own nodes."""
    with studio_of(server_at(packed_url)) as studio:
        pack = find_pack(NodeCatalog.parse(studio.client.object_info()), wanted=True)
        if not pack.used:
            pytest.skip(f"this server has none of our nodes that fit: {pack.sentence}")
        yield studio


def builder(server: Server, frames: FrameFormat = PNG, steps: int = 1) -> WorkflowBuilder:
    models = Models(family_of(server.checkpoint), checkpoint=server.checkpoint)
    sampling = Sampling(steps, 5.0, "euler", "normal")
    return WorkflowBuilder(models, sampling, lambda: "contract/kf", stream=frames)


def keyframe(studio: Studio, previous: FileRef | None = None) -> FileRef:
    """A new keyframe, kept in the server's memory; where its latent lies."""
    made, seed = builder(studio.server), studio.server.seed()
    if previous is None:
        workflow = made.build(TextToImage("a cat", "", seed, SIZE_PX, SIZE_PX))
    else:
        workflow = made.build(DreamStep(previous, "a cat", "", seed, 0.5))
    end = studio.finish(workflow)
    assert workflow.latent_node is not None
    return end.files[workflow.latent_node][0]


def ends(studio: Studio) -> tuple[FileRef, FileRef]:
    first = keyframe(studio)
    return first, keyframe(studio, first)


def a_walk(studio: Studio, files: tuple[FileRef, FileRef]) -> Walk:
    points = [Waypoint(read_latents(studio.client.download(file)), file.annotated) for file in files]
    return Walk("smooth", Knot(points[0], after=points[1]), Knot(points[1], before=points[0]), 4.0)


def frames_of(
    studio: Studio,
    course: Course,
    files: tuple[FileRef, ...],
    frames: FrameFormat = PNG,
    places: tuple[float, ...] = PLACES,
) -> Workflow:
    request = WalkFrames(files, course.text, places, "a cat", "")
    return builder(studio.server, frames).build(request)


def with_inputs(workflow: Workflow, class_type: str, **inputs: Any) -> Workflow:
    """The same graph, its node of that class with other inputs."""
    graph = {
        node_id: {**node, "inputs": {**node["inputs"], **inputs}}
        if node["class_type"] == class_type
        else node
        for node_id, node in workflow.graph.items()
    }
    return Workflow(graph, workflow.picture_node, workflow.latent_node)


def test_the_server_walks_to_the_pictures_that_our_own_walk_decodes_to(packed: Studio) -> None:
    import torch

    files = ends(packed)
    walk = a_walk(packed, files)
    streamed = packed.finish(frames_of(packed, course_of(walk), files), pictures=3).pictures
    ours = write_latents(walk.latents(torch.tensor(PLACES)))
    batch = packed.client.upload(ours, packed.server.name("latent"))
    decoded = packed.finish(DecodeLatents(batch, "a cat", ""), pictures=3).pictures
    for one, other in zip(streamed, decoded, strict=True):
        assert np.abs(pixels(one.data) - pixels(other.data)).max() <= 1
    assert (pixels(streamed[0].data) != pixels(streamed[2].data)).any()


def test_frames_come_one_by_one_before_the_job_ends(packed: Studio) -> None:
    files = ends(packed)
    workflow = frames_of(packed, course_of(a_walk(packed, files)), files)
    job, _ = packed.submit(workflow, pictures=3)
    came: list[tuple[int, bool]] = []
    all_there = threading.Event()

    def look() -> None:
        came.extend((place, job.done()) for place, _ in job.arrived())
        if len(came) == 3:
            all_there.set()

    job.add_arrival_callback(lambda _: look())
    assert all_there.wait(GUARD_S)
    finished(job)
    assert came == [(0, False), (1, False), (2, False)]


def test_a_walk_that_is_posted_again_sends_its_frames_again(packed: Studio) -> None:
    files = ends(packed)
    workflow = frames_of(packed, course_of(a_walk(packed, files)), files)
    first, again = (packed.finish(workflow, pictures=3).pictures for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(pixels(one.data), pixels(other.data))


@pytest.mark.parametrize(
    ("format", "head"), [("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF"), ("png", b"\x89PNG")]
)
def test_frames_come_in_the_format_that_is_wished(packed: Studio, format: str, head: bytes) -> None:
    files = ends(packed)
    workflow = frames_of(packed, course_of(a_walk(packed, files)), files, FrameFormat(format, 90), (0.5,))
    (picture,) = packed.finish(workflow, pictures=1).pictures
    assert picture.data.startswith(head)
    assert pixels(picture.data).shape == (64, 64, 3)


def test_only_the_frames_that_are_asked_for_come(packed: Studio) -> None:
    files = ends(packed)
    workflow = frames_of(packed, course_of(a_walk(packed, files)), files)
    whole = packed.finish(workflow, pictures=3).pictures
    with Ears(packed.server.url) as ears:
        ears.post(with_inputs(workflow, "DreamloopFrames", frames="0, 2").graph)
        some = ears.until_end()
    assert [frame.frame for frame in some] == [0, 2]
    for frame in some:
        assert frame.frame is not None
        np.testing.assert_array_equal(pixels(frame.data), pixels(whole[frame.frame].data))


def test_a_client_that_cannot_hear_fetches_them_from_the_temp_folder(packed: Studio) -> None:
    files = ends(packed)
    workflow = frames_of(packed, course_of(a_walk(packed, files)), files)
    whole = packed.finish(workflow, pictures=3).pictures
    ears = Ears(packed.server.url)
    prompt_id = ears.post(with_inputs(workflow, "DreamloopFrames", to="temp").graph)
    ears.until_end()
    ears.close()
    entry = packed.client.history(prompt_id)
    assert entry is not None
    assert workflow.picture_node is not None
    saved = [packed.client.download(file) for file in entry.files[workflow.picture_node]]
    for one, other in zip(saved, whole, strict=True):
        np.testing.assert_array_equal(pixels(one), pixels(other.data))


def test_nobody_else_gets_a_frame(packed: Studio) -> None:
    files = ends(packed)
    with Ears(packed.server.url) as somebody_else:
        packed.finish(frames_of(packed, course_of(a_walk(packed, files)), files), pictures=3)
        assert somebody_else.pictures_for(0.5) == []


def test_a_kept_latent_outlives_its_emptied_file(packed: Studio) -> None:
    files = ends(packed)
    walk = a_walk(packed, files)
    before = packed.finish(frames_of(packed, course_of(walk), files), pictures=3).pictures
    for file in files:
        packed.client.upload(b"", file.filename, subfolder=file.subfolder, type=file.type)
    after = packed.finish(frames_of(packed, course_of(walk), files), pictures=3).pictures
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(pixels(one.data), pixels(other.data))


def test_a_latent_that_was_uploaded_is_read_from_its_file(packed: Studio) -> None:
    walk = a_walk(packed, ends(packed))
    course = course_of(walk)
    batch = packed.client.upload(write_latents(course.latents), packed.server.name("latent"))
    assert len(packed.finish(frames_of(packed, course, (batch,)), pictures=3).pictures) == 3


def test_a_latent_that_is_nowhere_is_refused_before_anything_runs(packed: Studio) -> None:
    files = ends(packed)
    course = course_of(a_walk(packed, files))
    gone = (FileRef("never_was.latent", "contract", "output"), files[1])
    with pytest.raises(GraphRejected, match="never_was"):
        packed.submit(frames_of(packed, course, gone), pictures=3)


def test_nodes_of_another_version_refuse_the_graph(packed: Studio) -> None:
    files = ends(packed)
    workflow = with_inputs(
        frames_of(packed, course_of(a_walk(packed, files)), files), "DreamloopFrames", pack=999
    )
    with pytest.raises(GraphRejected, match="999"):
        packed.submit(workflow, pictures=3)


def test_a_walk_without_sense_fails_as_any_job_does(packed: Studio) -> None:
    files = ends(packed)
    workflow = frames_of(packed, course_of(a_walk(packed, files)), files)
    job, _ = packed.submit(with_inputs(workflow, "DreamloopWalk", course="{}"), pictures=3)
    end = job.result(GUARD_S)
    assert isinstance(end, Failed)
    assert "no path" in end.message


def test_a_walk_can_be_interrupted(packed: Studio) -> None:
    files = ends(packed)
    places = tuple(number / 4001 for number in range(1, 4001))
    workflow = frames_of(packed, course_of(a_walk(packed, files)), files, places=places)
    job, _ = packed.submit(workflow, pictures=len(places))
    begun = threading.Event()
    job.add_arrival_callback(lambda _: begun.set())
    assert begun.wait(GUARD_S)
    packed.client.cancel(job)
    assert isinstance(job.result(GUARD_S), Interrupted)
    until = time.monotonic() + GUARD_S
    while packed.client.queue().running and time.monotonic() < until:
        time.sleep(0.02)
    assert not packed.client.queue().running
    assert len(job.arrived()) < len(places) / 2


class Ears:
    """A socket of its own, which asked to be told whose pictures it gets."""

    def __init__(self, url: str) -> None:
        self._url, self._client_id = url, str(uuid.uuid4())
        address = f"ws{url.removeprefix('http')}/ws?clientId={self._client_id}"
        self._socket = websocket.create_connection(address, timeout=GUARD_S, suppress_origin=True)
        self._socket.send(FEATURE_FLAGS)

    def __enter__(self) -> Ears:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def post(self, graph: Any) -> str:
        import requests

        body = {"prompt": graph, "client_id": self._client_id, "prompt_id": str(uuid.uuid4())}
        answer = requests.post(f"{self._url}/prompt", json=body, timeout=GUARD_S)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["prompt_id"])

    def until_end(self) -> list[PictureArrived]:
        """The pictures until ``executing`` nothing."""
        pictures: list[PictureArrived] = []
        while True:
            message = self._socket.recv()
            if isinstance(message, bytes):
                pictures += _picture(message)
                continue
            told = json.loads(message)
            if told["type"] == "executing" and told["data"]["node"] is None:
                return pictures

    def pictures_for(self, wait_s: float) -> list[PictureArrived]:
        pictures: list[PictureArrived] = []
        self._socket.settimeout(wait_s)
        while True:
            try:
                message = self._socket.recv()
            except websocket.WebSocketTimeoutException:
                return pictures
            if isinstance(message, bytes):
                pictures += _picture(message)


def _picture(message: bytes) -> list[PictureArrived]:
    assert struct.unpack_from(">I", message)[0] in (1, 4)
    event = parse_binary(message)
    return [event] if isinstance(event, PictureArrived) else []
