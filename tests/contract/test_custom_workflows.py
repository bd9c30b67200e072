"""A workflow of the user's own, and our verdict on graphs, on every server that must keep the contract."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from backend.core.custom_workflow import CustomBuilder
from backend.core.graph_validation import graph_problems
from backend.core.jobs import Finished
from backend.core.node_catalog import NodeCatalog
from backend.core.workflow_builder import (
    DecodeLatents,
    DreamStep,
    EncodePicture,
    ImageToImage,
    Request,
    TextToImage,
    Workflow,
)
from backend.errors import GraphRejected
from tests.contract.conftest import SIZE_PX, Server, Studio
from tests.core.workflows import PLAIN, loaded

pytestmark = pytest.mark.contract

WARM = {"1", "2", "3"}
"""The example's loader and its two texts."""


def example_of(server: Server) -> dict[str, Any]:
    """The example with this server's checkpoint, and as little work as there can be."""
    graph = copy.deepcopy(PLAIN)
    graph["1"]["inputs"]["ckpt_name"] = server.checkpoint
    graph["5"]["inputs"]["steps"] = 1
    return graph


@pytest.fixture
def builder(server: Server, tmp_path: Path) -> CustomBuilder:
    return CustomBuilder(loaded(tmp_path, example_of(server)), lambda: "contract/kf", (SIZE_PX, SIZE_PX))


def run(studio: Studio, builder: CustomBuilder, request: Request) -> tuple[Finished, Workflow]:
    workflow = builder.build(request)
    return studio.finish(workflow, pictures=1 if workflow.picture_node else 0), workflow


def test_the_example_dreams_on_from_its_own_latents_and_pictures(
    studio: Studio, builder: CustomBuilder
) -> None:
    seed = studio.server.seed()
    end, workflow = run(studio, builder, TextToImage("a cat", "", seed, SIZE_PX, SIZE_PX))
    assert workflow.latent_node is not None
    assert len(end.pictures) == 1
    (latent,) = end.files[workflow.latent_node]
    step, _ = run(studio, builder, DreamStep(latent, "a cat", "", seed, 0.5))
    decoded, _ = run(studio, builder, DecodeLatents(latent, "a cat", ""))
    assert [len(one.pictures) for one in (step, decoded)] == [1, 1]
    assert decoded.files == {}
    picture = studio.client.upload(end.pictures[0].data, studio.server.name("png"))
    from_picture, _ = run(studio, builder, ImageToImage(picture, "a cat", "", seed, 0.5))
    encoded, workflow = run(studio, builder, EncodePicture(picture, "a cat", ""))
    assert len(from_picture.pictures) == 1
    assert (len(encoded.pictures), list(encoded.files)) == (0, [workflow.latent_node])


def test_keyframes_and_frames_by_turns_load_and_read_nothing_twice(
    studio: Studio, builder: CustomBuilder
) -> None:
    words = f"a cat {studio.server.seed()}"
    first, workflow = run(studio, builder, TextToImage(words, "", studio.server.seed(), SIZE_PX, SIZE_PX))
    assert workflow.latent_node is not None
    (latent,) = first.files[workflow.latent_node]
    assert WARM & set(first.executed)
    for _ in range(2):
        frames, _ = run(studio, builder, DecodeLatents(latent, words, ""))
        step, workflow = run(studio, builder, DreamStep(latent, words, "", studio.server.seed(), 0.5))
        assert workflow.latent_node is not None
        (latent,) = step.files[workflow.latent_node]
        assert not WARM & {*frames.executed, *step.executed}
        assert "5" not in frames.executed
        assert "5" in step.executed


@pytest.mark.parametrize(
    ("node_id", "name", "value"),
    [
        ("5", "steps", 0),
        ("5", "steps", "many"),
        ("5", "steps", "1"),
        ("5", "seed", 2**64),
        ("5", "sampler_name", "eular"),
        ("5", "latent_image", ["6", 0]),
        ("5", "latent_image", ["99", 0]),
        ("5", "positive", ["1", 7]),
        ("5", "unheard_of", [1, 2, 3]),
        ("1", "ckpt_name", "nope.safetensors"),
        ("4", "width", 64.7),
    ],
)
def test_what_we_say_of_a_graph_is_what_the_server_says(
    studio: Studio, node_id: str, name: str, value: object
) -> None:
    catalog = NodeCatalog.parse(studio.client.object_info())
    graph = example_of(studio.server)
    graph["4"]["inputs"] |= {"width": SIZE_PX, "height": SIZE_PX}
    graph["7"] = {"class_type": "PreviewImage", "inputs": {"images": ["6", 0]}}
    graph[node_id]["inputs"][name] = value
    problems = graph_problems(graph, catalog)
    try:
        studio.finish(Workflow(graph, None, None), pictures=0)
    except GraphRejected:
        assert problems
    else:
        assert problems == ()
