"""Walks on a server that has our own nodes, over real sockets."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backend.core.comfyui_api import ComfyUIClient
from backend.core.comfyui_socket import SocketTimes
from backend.core.engine import DreamNeeds, Engine, EngineKind
from backend.core.engine_jobs import DecodeJob, finished, latent_file
from backend.core.engine_plan import FamilyPlanner, SamplingChoice
from backend.core.housekeeping import Housekeeping
from backend.core.job_actions import Patience
from backend.core.jobs import FileRef
from backend.core.latent_nodes import FrameFormat
from backend.core.model_choice import ModelWish
from backend.core.node_pack import NodePack, PackUse
from backend.core.streamed_walks import StreamedWalks
from backend.core.workflow_builder import DecodeLatents, DreamStep, TextToImage
from backend.errors import GraphRejected, JobFailed
from backend.interpolation.decoder import LatentBatch
from backend.interpolation.latent_encoder import LatentEncoder, read_latents
from backend.interpolation.walk import Knot, Walk, Waypoint
from backend.utils.prompt_manager import Prompt
from tests.fakes.fake_comfy import FakeComfy

GUARD_S = 20.0
PROMPT = Prompt("theme", "a lake", "fog")
PNG = FrameFormat("png")
T = torch.arange(1, 9) / 9


@dataclass
class Studio:
    """An engine on a FakeComfy, and what is asked of it."""

    fake: FakeComfy
    engine: Engine

    def keyframe(self, previous: FileRef | None = None, seed: int = 1) -> FileRef:
        request = (
            TextToImage("a lake", "fog", seed, 64, 64)
            if previous is None
            else DreamStep(previous, "a lake", "fog", seed, 0.5)
        )
        job, workflow = self.engine.submit(request)
        return latent_file(finished(job.result(GUARD_S)), workflow)

    def walk(self, *, named: bool = True) -> Walk:
        """From one keyframe to one that was dreamt from it."""
        first = self.keyframe()
        second = self.keyframe(first)
        points = [
            Waypoint(read_latents(self.engine.fetch_latent(ref)), ref.annotated if named else None)
            for ref in (first, second)
        ]
        return Walk("smooth", Knot(points[0], after=points[1]), Knot(points[1], before=points[0]), 4.0)

    def send(self, walk: Walk) -> DecodeJob:
        batch = LatentBatch(walk.latents(T), PROMPT, tuple(T.tolist()), walk=walk)
        job = LatentEncoder(self.engine).decode(batch)
        assert isinstance(job, DecodeJob)
        return job

    def posted(self) -> list[dict[str, str]]:
        """Classes by node of each graph that was posted, oldest first."""
        bodies = [json.loads(request.body) for request in self.fake.posted("/prompt")]
        return [{key: node["class_type"] for key, node in body["prompt"].items()} for body in bodies]

    def streamed(self) -> bool:
        """Whether the newest graph has our own nodes."""
        return "DreamloopFrames" in self.posted()[-1].values()


@contextmanager
def studio(folder: Path, *, frames: FrameFormat | None = PNG, **how: object) -> Iterator[Studio]:
    with FakeComfy(folder, **{"pack": True, **how}) as fake:  # type: ignore[arg-type]
        client = ComfyUIClient(
            fake.url,
            times=SocketTimes(tick_s=0.02, backoff_s=0.05),
            patience=Patience(poll_s=0.2, success_s=0.05, deaf_poll_s=0.05, miss_gap_s=0.1, retry_s=0.05),
        )
        client.start()
        house = Housekeeping(client, instance="test", hour=lambda: "2026010100", clock=lambda: 0.0)
        planner = FamilyPlanner(ModelWish(), SamplingChoice(steps=1), frames=frames)
        needs = DreamNeeds((64, 64))
        engine = Engine(client, EngineKind.COMFYUI, planner, house, needs=needs, job_timeout_s=GUARD_S)
        engine.connect()
        try:
            yield Studio(fake, engine)
        finally:
            client.close()


def pictures(job: DecodeJob) -> tuple[bytes, ...]:
    done = threading.Event()
    job.add_done_callback(done.set)
    assert done.wait(GUARD_S)
    return job.pictures()


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def test_the_server_walks_to_the_very_pictures_that_walked_latents_decode_to(tmp_path: Path) -> None:
    with studio(tmp_path) as made:
        walk = made.walk()
        streamed = pictures(made.send(walk))
        assert made.streamed()
        again = pictures(made.send(walk))
        decoded = LatentEncoder(made.engine).decode(LatentBatch(walk.latents(T), PROMPT))
        plain = pictures(decoded)  # type: ignore[arg-type]
        assert not made.streamed()
    assert len(streamed) == 8
    assert again == streamed
    for one, other in zip(streamed, plain, strict=True):
        np.testing.assert_array_equal(pixels(one), pixels(other))


def test_nothing_is_uploaded_for_a_walk_between_keyframes_that_the_server_has(tmp_path: Path) -> None:
    with studio(tmp_path) as made:
        pictures(made.send(made.walk()))
        assert made.fake.posted("/upload/image") == []


def test_frames_are_had_while_the_later_ones_are_still_decoded(tmp_path: Path) -> None:
    with studio(tmp_path) as made:
        walk, had, go_on = made.walk(), threading.Event(), threading.Event()
        made.fake.pack.before_frame = lambda frame: frame < 3 or go_on.wait(GUARD_S) or None
        job = made.send(walk)
        came: list[int] = []

        def look() -> None:
            came.extend(place for place, _ in job.arrived())
            if len(came) == 3:
                had.set()

        job.add_arrival_callback(look)
        assert had.wait(GUARD_S)
        assert not job.done()
        go_on.set()
        assert len(pictures(job)) == 8
        look()
        assert came == list(range(8))


def test_a_walk_whose_socket_dies_decodes_no_frame_twice_that_had_come(tmp_path: Path) -> None:
    with studio(tmp_path) as made:
        walk, came = made.walk(), threading.Semaphore(0)

        def lose_the_socket(frame: int) -> None:
            if frame == 5 and made.fake.pack.decoded == [0, 1, 2, 3, 4]:
                for _ in range(5):
                    assert came.acquire(timeout=GUARD_S)
                made.fake.drop_sockets()

        made.fake.pack.before_frame = lose_the_socket
        job = made.send(walk)
        job.add_arrival_callback(came.release)
        streamed = pictures(job)
        assert made.engine.client.reposts >= 1
        assert len(streamed) == 8
        assert made.fake.pack.decoded.count(0) == 1
        assert made.fake.pack.decoded.count(4) == 1
        assert len({bytes(one) for one in streamed}) == 8


def test_a_frame_that_was_lost_on_its_way_is_asked_for_alone(tmp_path: Path) -> None:
    with studio(tmp_path) as made:
        walk, lost = made.walk(), []

        def drop(kind: str, data: object) -> bool:
            if kind == "picture" and isinstance(data, bytes) and b'"frame": 6}' in data[:400] and not lost:
                lost.append(data)
                return True
            return False

        made.fake.server.core.hub.drop = drop  # type: ignore[attr-defined]
        assert len(pictures(made.send(walk))) == 8
        assert made.fake.pack.decoded == [*range(8), 6]


def test_without_a_socket_frames_are_fetched_from_the_temp_folder(tmp_path: Path) -> None:
    with studio(tmp_path) as made:
        walk = made.walk()
        made.fake.mute()
        assert len(pictures(made.send(walk))) == 8
        body = json.loads(made.fake.posted("/prompt")[-1].body)
        (frames,) = [n["inputs"] for n in body["prompt"].values() if n["class_type"] == "DreamloopFrames"]
        assert frames["to"] == "temp"


def test_latents_that_the_server_has_lost_are_brought_along(tmp_path: Path) -> None:
    with studio(tmp_path) as made:
        walk = made.walk()
        made.fake.pack.latents.clear()
        made.fake.lose_output_files()
        assert len(pictures(made.send(walk))) == 8
        assert made.streamed()
        assert len(made.fake.posted("/upload/image")) == 1


def test_a_latent_that_was_emptied_is_still_in_the_servers_memory(tmp_path: Path) -> None:
    with studio(tmp_path) as made:
        walk = made.walk()
        for point in (walk.start.at, walk.end.at):
            made.engine.retire_latent(FileRef(Path(str(point.name)[:-9]).name, "dreamloop/test/2026010100"))
        assert len(pictures(made.send(walk))) == 8
        assert made.streamed()


def test_a_restarted_server_reads_the_files(tmp_path: Path) -> None:
    with studio(tmp_path) as made:
        walk = made.walk()
        made.fake.restart()
        assert len(pictures(made.send(walk))) == 8
        assert made.streamed()


def test_keyframes_without_a_name_travel_as_one_batch(tmp_path: Path) -> None:
    with studio(tmp_path) as made:
        assert len(pictures(made.send(made.walk(named=False)))) == 8
        assert made.streamed()
        assert len(made.fake.posted("/upload/image")) == 1


def test_a_server_that_lost_the_nodes_is_asked_with_stock_ones(tmp_path: Path) -> None:
    with studio(tmp_path) as made:
        walk = made.walk()
        made.fake.lose_pack()
        assert len(pictures(made.send(walk))) == 8
        assert not made.streamed()
        before = len(made.posted())
        assert len(pictures(made.send(walk))) == 8
        assert len(made.posted()) == before + 1  # it is not tried in vain each time
        with pytest.raises(GraphRejected, match="Dreamloop"):
            made.keyframe()
        assert made.engine.connect().pack.use is PackUse.MISSING
        made.keyframe()
        made.fake.give_pack()
        assert made.engine.connect().pack.use is PackUse.USED
        assert len(pictures(made.send(walk))) == 8
        assert made.streamed()


def test_a_walk_that_fails_there_is_a_failed_job(tmp_path: Path) -> None:
    def fail(_frame: int) -> None:
        raise RuntimeError("no walk today")

    with studio(tmp_path) as made:
        walk = made.walk()
        made.fake.pack.before_frame = fail
        with pytest.raises(JobFailed, match="no walk today"):
            pictures(made.send(walk))


@pytest.mark.parametrize(
    ("arrange", "use"),
    [
        (lambda fake: setattr(fake.pack, "versions", (0, 0)), PackUse.OLD),
        (lambda fake: setattr(fake.pack, "versions", (7, 9)), PackUse.NEW),
        (lambda fake: fake.lose_node("DreamloopWalk"), PackUse.OLD),
    ],
)
def test_nodes_that_do_not_fit_are_named_and_not_used(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    arrange: Callable[[FakeComfy], None],
    use: PackUse,
) -> None:
    with studio(tmp_path, pack=False) as made:
        arrange(made.fake)
        made.fake.give_pack()
        assert made.engine.connect().pack.use is use
        assert "install-nodes" in caplog.text
        assert len(pictures(made.send(made.walk()))) == 8
        assert not any(name.startswith("Dreamloop") for graph in made.posted() for name in graph.values())


def test_nodes_that_are_unlike_what_they_should_be_are_not_used(tmp_path: Path) -> None:
    with studio(tmp_path, pack=False) as made:
        made.fake.give_pack()
        nodes = made.fake.server.core.nodes
        nodes["DreamloopLatents"] = nodes["LoadLatent"]
        assert made.engine.connect().pack.use is PackUse.OLD


def test_nodes_that_the_settings_leave_alone_are_not_used(tmp_path: Path) -> None:
    with studio(tmp_path, frames=None) as made:
        assert made.engine.facts is not None
        assert made.engine.facts.pack.use is PackUse.OFF
        assert len(pictures(made.send(made.walk()))) == 8
        assert not any(name.startswith("Dreamloop") for graph in made.posted() for name in graph.values())


def test_frames_come_in_the_format_that_is_wished(tmp_path: Path) -> None:
    with studio(tmp_path, frames=FrameFormat("jpeg", 90)) as made:
        assert all(one.startswith(b"\xff\xd8\xff") for one in pictures(made.send(made.walk())))


def test_decoding_of_what_is_no_walk_is_as_ever(tmp_path: Path) -> None:
    with studio(tmp_path) as made:
        latent = made.keyframe()
        job, _ = made.engine.submit(DecodeLatents(latent, "a lake", "fog"))
        assert len(finished(job.result(GUARD_S)).pictures) == 1


@pytest.mark.parametrize(("installable", "lines"), [(True, 1), (False, 0)])
def test_what_is_not_installed_is_told_once_and_only_of_servers_it_could_be_installed_into(
    installable: bool, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    walks = StreamedWalks(lambda *_: pytest.fail("nothing is sent"), lambda _: pytest.fail("nothing is sent"))
    for _ in range(3):
        walks.found(NodePack(PackUse.MISSING), installable=installable)
    assert len(caplog.records) == lines
