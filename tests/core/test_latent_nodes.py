"""Graphs with our own nodes: latents kept in the server's memory, walks that it computes and streams."""

from __future__ import annotations

import json

import pytest

from backend.core.adapters import UpscaleModel
from backend.core.jobs import FileRef
from backend.core.latent_nodes import FrameFormat, WalkFrames
from backend.core.model_families import FAMILIES, SD15
from backend.core.model_family import ModelFamily
from backend.core.workflow_builder import DecodeLatents, WorkflowBuilder
from tests.core.graphs import (
    GOLDEN_PACKED,
    LATENT,
    UPSCALER,
    WALK,
    builder,
    classes,
    golden_packed_text,
    only,
    packed,
    problems,
    requests,
    usual,
    versions_of,
    warm,
)


def test_the_graphs_are_the_golden_ones() -> None:
    assert json.loads(golden_packed_text()) == json.loads(GOLDEN_PACKED.read_text("utf-8"))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_real_server_would_take_them_whatever_the_family(family: ModelFamily) -> None:
    made = packed(usual(family))
    for request in (*requests(family), WALK):
        for version in versions_of(family):
            assert problems(made.build(request).graph, version, pack=True) == []


def test_every_graph_keeps_the_same_nodes_warm() -> None:
    made = packed(usual(SD15))
    expected = warm(builder(usual(SD15)).build(requests(SD15)[0]).graph)
    assert all(warm(made.build(request).graph) == expected for request in (*requests(SD15), WALK))


def test_a_walk_names_its_latents_one_a_line_and_wants_all_its_frames_at_the_socket() -> None:
    workflow = packed(usual(SD15)).build(WALK)
    graph, frames = workflow.graph, only(workflow.graph, "DreamloopFrames")
    assert only(graph, "DreamloopLatents")["names"].splitlines() == [one.annotated for one in WALK.latents]
    assert (frames["frames"], frames["to"], frames["format"], frames["tile"]) == ("", "socket", "jpeg", 0)
    assert workflow.picture_node is not None
    assert graph[workflow.picture_node]["class_type"] == "DreamloopFrames"
    assert workflow.latent_node is None


def test_the_places_of_a_walk_lose_nothing_on_their_way() -> None:
    places = (0.1, 1 / 3, 0.30000001192092896)
    graph = packed(usual(SD15)).build(WalkFrames((LATENT,), "{}", places, "a", "b")).graph
    assert tuple(map(float, only(graph, "DreamloopWalk")["places"].split(","))) == places


def test_frames_are_encoded_as_it_is_wished() -> None:
    models = usual(SD15)
    made = WorkflowBuilder(models, SD15.sampling(), str, stream=FrameFormat("webp", 80))
    frames = only(made.build(WALK).graph, "DreamloopFrames")
    assert (frames["format"], frames["quality"]) == ("webp", 80)


def test_what_was_uploaded_is_decoded_with_stock_nodes_all_the_same() -> None:
    graph = packed(usual(SD15)).build(DecodeLatents(FileRef("ring.latent", type="temp"), "a", "b")).graph
    assert not [name for name in classes(graph) if name.startswith("Dreamloop")]


def test_without_our_nodes_no_graph_has_them_and_no_walk_is_built() -> None:
    made = builder(usual(SD15))
    for request in requests(SD15):
        assert not [name for name in classes(made.build(request).graph) if name.startswith("Dreamloop")]
    assert not made.streams_walks
    with pytest.raises(ValueError, match="walks"):
        made.build(WALK)


def test_pictures_that_are_changed_after_they_are_decoded_are_not_streamed() -> None:
    made = packed(usual(SD15), UpscaleModel(UPSCALER))
    assert not made.streams_walks
    with pytest.raises(ValueError, match="walks"):
        made.build(WALK)
