from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backend.core.api_graph import find_circle, links_of, needed_by
from backend.core.comfyui_api import ComfyUIClient
from backend.core.custom_workflow import CustomBuilder
from backend.core.engine_plan import Plan, WorkflowPlanner
from backend.core.graph_validation import graph_problems
from backend.core.housekeeping import Housekeeping
from backend.core.jobs import FileRef, Graph
from backend.core.model_families import SD15
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
from backend.core.workflow_places import SAVERS
from backend.engine.dialect import Dialect
from backend.engine.files import Folders
from backend.engine.graph_check import check_graph
from backend.engine.node_type import Workspace
from backend.engine.stock_nodes import CHECKPOINT, stock_nodes
from backend.errors import ConfigError
from tests.core.recorded import node_catalog
from tests.core.workflows import CONTROLLED, ENLARGED, FLUX, PLAIN, TWO_SAMPLERS, loaded, node
from tests.fakes.painters import NumpyPainter

LATENT = FileRef("kf_00001_.latent", "dream", "output")
PICTURE = FileRef("start.png", "", "input")
WORDS, DISLIKED = "a heron at dusk", "haze"
REQUESTS: list[Request] = [
    TextToImage(WORDS, DISLIKED, 9, 64, 128),
    ImageToImage(PICTURE, WORDS, DISLIKED, 9, 0.4),
    DreamStep(LATENT, WORDS, DISLIKED, 9, 0.4),
    DecodeLatents(LATENT, WORDS, DISLIKED),
    EncodePicture(PICTURE, WORDS, DISLIKED),
]
KEYFRAMES = REQUESTS[:3]
ALL = pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)

MODELS = {
    ("CheckpointLoaderSimple", "ckpt_name"): CHECKPOINT,
    ("UNETLoader", "unet_name"): "flux.safetensors",
    ("VAELoader", "vae_name"): "ae.safetensors",
    ("ControlNetLoader", "control_net_name"): "depth.safetensors",
    ("DualCLIPLoader", "clip_name1"): "l.safetensors",
    ("DualCLIPLoader", "clip_name2"): "t5.safetensors",
}


def catalog(version: str) -> NodeCatalog:
    found = node_catalog(version)
    for (class_type, name), model in MODELS.items():
        found = found.with_choices(class_type, name, [model])
    return found


def builder(folder: Path, graph: Any = PLAIN, bindings: str | None = None) -> CustomBuilder:
    return CustomBuilder(loaded(folder, graph, bindings), lambda: "dream/kf")


def of_class(graph: Graph, class_type: str) -> list[str]:
    return [node_id for node_id, node in graph.items() if node["class_type"] == class_type]


def inputs_of(workflow: Workflow, class_type: str) -> Any:
    (node_id,) = of_class(workflow.graph, class_type)
    return workflow.graph[node_id]["inputs"]


def link(workflow: Workflow, node_id: str, name: str) -> Any:
    """The inputs of the node that an input is linked to, and its class."""
    source = workflow.graph[workflow.graph[node_id]["inputs"][name][0]]
    return source["class_type"], source["inputs"]


# Every request


@ALL
@pytest.mark.parametrize("version", ["0.3.64", "0.33.0"])
@pytest.mark.parametrize(
    "graph", [PLAIN, FLUX, CONTROLLED, ENLARGED], ids=["plain", "flux", "controlled", "enlarged"]
)
def test_real_servers_take_the_graph_of_every_request(
    tmp_path: Path, request_: Request, version: str, graph: dict[str, Any]
) -> None:
    workflow = builder(tmp_path, graph).build(request_)
    assert graph_problems(workflow.graph, catalog(version)) == ()


@ALL
@pytest.mark.parametrize("dialect", list(Dialect))
def test_the_embedded_engine_takes_the_example(tmp_path: Path, request_: Request, dialect: Dialect) -> None:
    workspace = Workspace(Folders(tmp_path), NumpyPainter(), {"checkpoints": [CHECKPOINT], "loras": []})
    for file in (LATENT, PICTURE):
        path = tmp_path / file.type / file.subfolder / file.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"found")
    workflow = builder(tmp_path).build(request_)
    check = check_graph(copy.deepcopy(dict(workflow.graph)), stock_nodes(dialect), workspace, dialect)
    assert (check.error, check.node_errors) == (None, {})
    assert set(check.outputs) == {workflow.picture_node, workflow.latent_node} - {None}


@ALL
def test_only_what_is_bound_is_changed(tmp_path: Path, request_: Request) -> None:
    graph = builder(tmp_path, CONTROLLED).build(request_).graph
    bound = {("2", "text"), ("3", "text"), ("5", "seed"), ("5", "denoise"), ("5", "latent_image")}
    bound |= {("4", "width"), ("4", "height")}
    if isinstance(request_, DecodeLatents):
        bound |= {("6", "samples")}
    for node_id in CONTROLLED.keys() - {"7"}:
        theirs, ours = CONTROLLED[node_id]["inputs"], graph[node_id]["inputs"]
        assert theirs.keys() == ours.keys()
        assert {(node_id, name) for name in theirs if theirs[name] != ours[name]} <= bound


@ALL
def test_every_graph_says_the_same_words_so_that_they_stay_warm(tmp_path: Path, request_: Request) -> None:
    graph = builder(tmp_path).build(request_).graph
    assert (graph["2"]["inputs"]["text"], graph["3"]["inputs"]["text"]) == (WORDS, DISLIKED)
    assert graph["1"] == PLAIN["1"]


@ALL
def test_no_graph_saves_a_picture(tmp_path: Path, request_: Request) -> None:
    more = {"50": node("PreviewImage", images=["6", 0]), "51": node("SaveLatent", samples=["5", 0])}
    workflow = builder(tmp_path, {**PLAIN, **more}).build(request_)
    assert not {*of_class(workflow.graph, "SaveImage"), *of_class(workflow.graph, "PreviewImage")}
    assert of_class(workflow.graph, "SaveLatent") == ([workflow.latent_node] if workflow.latent_node else [])


@ALL
def test_our_nodes_never_take_an_id_of_theirs(tmp_path: Path, request_: Request) -> None:
    strange = {"8": node("Note", text="hi"), "0009": node("Note", text="hi"), "x": node("Note", text="hi")}
    graph = {**PLAIN, **strange, "9" * 40: node("Note", text="hi")}
    built = builder(tmp_path, graph).build(request_).graph
    ours = [node_id for node_id in built if node_id not in graph]
    assert len(ours) == len(set(ours))
    assert all(
        built[node_id]["class_type"] == graph[node_id]["class_type"]
        for node_id in built.keys() & graph.keys()
    )


def test_the_workflow_itself_is_never_changed(tmp_path: Path) -> None:
    workflow = loaded(tmp_path, PLAIN)
    before = copy.deepcopy(workflow.graph)
    made = CustomBuilder(workflow, lambda: "dream/kf")
    for request_ in REQUESTS:
        made.build(request_)
    assert workflow.graph == before


# One by one


def test_a_keyframe_from_words_takes_size_seed_and_all_of_the_noise(tmp_path: Path) -> None:
    graph = {**PLAIN, "5": node("KSampler", **{**PLAIN["5"]["inputs"], "denoise": 0.3})}
    workflow = builder(tmp_path, graph).build(REQUESTS[0])
    assert (
        inputs_of(workflow, "EmptyLatentImage")["width"],
        inputs_of(workflow, "EmptyLatentImage")["height"],
    ) == (
        64,
        128,
    )
    sampler = inputs_of(workflow, "KSampler")
    assert (sampler["seed"], sampler["denoise"], sampler["latent_image"]) == (9, 1.0, ["4", 0])


@pytest.mark.parametrize("request_", KEYFRAMES, ids=lambda request: type(request).__name__)
def test_a_keyframe_sends_its_picture_and_saves_its_latent(tmp_path: Path, request_: Request) -> None:
    workflow = builder(tmp_path).build(request_)
    assert workflow.picture_node is not None
    assert workflow.latent_node is not None
    assert workflow.graph[workflow.picture_node] == node("SaveImageWebsocket", images=["6", 0])
    assert workflow.graph[workflow.latent_node] == node(
        "SaveLatent", samples=["5", 0], filename_prefix="dream/kf"
    )


def test_a_dream_step_starts_from_the_latent(tmp_path: Path) -> None:
    workflow = builder(tmp_path).build(REQUESTS[2])
    assert link(workflow, "5", "latent_image") == (
        "LoadLatent",
        {"latent": "dream/kf_00001_.latent [output]"},
    )
    assert workflow.graph["5"]["inputs"]["denoise"] == 0.4


def test_a_loader_of_theirs_gets_the_file_of_ours(tmp_path: Path) -> None:
    graph = {**PLAIN, "4": node("LoadLatent", latent="first.latent")}
    made = builder(tmp_path, graph, "latent_in: {node: LoadLatent, input: latent}")
    assert inputs_of(made.build(REQUESTS[2]), "LoadLatent") == {"latent": LATENT.annotated}
    from_picture = made.build(REQUESTS[1])
    assert link(from_picture, "5", "latent_image")[0] == "VAEEncode"


def test_a_picture_is_encoded_with_their_vae_where_only_a_latent_goes_in(tmp_path: Path) -> None:
    workflow = builder(tmp_path, FLUX).build(REQUESTS[1])
    kind, encoder = link(workflow, "11", "latent_image")
    assert (kind, encoder["vae"]) == ("VAEEncode", ["3", 0])
    assert inputs_of(workflow, "LoadImage") == {"image": "start.png [input]"}


def test_a_picture_goes_where_it_is_bound(tmp_path: Path) -> None:
    graph = {
        **PLAIN,
        "4": node("VAEEncode", pixels=["90", 0], vae=["1", 2]),
        "90": node(
            "ImageScale", image=["91", 0], upscale_method="area", width=64, height=64, crop="disabled"
        ),
        "91": node("LoadImage", image="mine.png"),
    }
    to_file = builder(tmp_path, graph, "picture_in: {node: LoadImage, input: image}")
    to_link = builder(tmp_path, graph, "picture_in: {node: '90', input: image}")
    assert inputs_of(to_file.build(REQUESTS[1]), "LoadImage") == {"image": "start.png [input]"}
    assert link(to_link.build(REQUESTS[1]), "90", "image") == ("LoadImage", {"image": "start.png [input]"})
    assert to_file.feeds_pictures
    assert not to_file.why_no_walks
    with pytest.raises(ValueError, match=r"bind latent_in in mine\.yaml"):
        to_file.build(REQUESTS[2])


def test_decoding_samples_nothing_and_carries_the_sampler_along(tmp_path: Path) -> None:
    workflow = builder(tmp_path).build(REQUESTS[3])
    assert workflow.picture_node is not None
    assert workflow.latent_node is None
    assert link(workflow, "6", "samples") == ("LoadLatent", {"latent": LATENT.annotated})
    assert workflow.graph[workflow.picture_node]["inputs"]["images"] == ["6", 0]
    assert workflow.graph.keys() >= PLAIN.keys() - {"7"}


def test_frames_between_keyframes_go_the_way_of_the_keyframes(tmp_path: Path) -> None:
    workflow = builder(tmp_path, ENLARGED).build(REQUESTS[3])
    assert workflow.picture_node is not None
    assert workflow.graph[workflow.picture_node]["inputs"]["images"] == ["30", 0]


def test_a_latent_that_is_sampled_again_is_decoded_plainly(tmp_path: Path) -> None:
    bindings = "prompt: {node: Words, input: text}\nseed: {node: '5', input: seed}\nlatent_out: {node: '5'}\n"
    workflow = builder(tmp_path, TWO_SAMPLERS, bindings).build(REQUESTS[3])
    assert workflow.picture_node is not None
    kind, decoder = link(workflow, workflow.picture_node, "images")
    assert (kind, decoder["vae"]) == ("VAEDecode", ["1", 2])
    assert workflow.graph[decoder["samples"][0]]["class_type"] == "LoadLatent"
    assert workflow.graph["40"]["inputs"]["samples"] == ["5", 0]


def test_a_picture_that_a_model_mends_afterwards_is_decoded_plainly(tmp_path: Path) -> None:
    mended = node("FaceDetailer", image=["6", 0], model=["1", 0], vae=["1", 2])
    graph = {**PLAIN, "7": node("SaveImage", images=["60", 0]), "60": mended}
    workflow = builder(tmp_path, graph).build(REQUESTS[3])
    assert workflow.picture_node is not None
    assert link(workflow, workflow.picture_node, "images")[0] == "VAEDecode"


def test_output_nodes_of_theirs_do_not_run_with_every_frame(tmp_path: Path) -> None:
    graph = {**PLAIN, "60": node("ShowAnything", anything=["6", 0])}
    made = builder(tmp_path, graph)
    assert ["60" in made.build(request_).graph for request_ in REQUESTS] == [True, True, True, False, False]


@ALL
def test_nodes_of_whatever_pack_that_save_are_left_out_unless_the_picture_is_theirs(
    tmp_path: Path, request_: Request
) -> None:
    """What they save would pile up on the server, day and night."""
    graph = {**PLAIN, "60": node("Image Save (of a pack)", images=["6", 0]), "61": node("MaskPreview")}
    assert not {"60", "61"} & builder(tmp_path, graph).build(request_).graph.keys()
    bound = builder(tmp_path, graph, "picture_out: {node: '60', output: 0}")
    assert ("60" in bound.build(request_).graph) is not isinstance(request_, EncodePicture)


def test_what_a_saving_node_hands_on_comes_from_where_it_had_it(tmp_path: Path) -> None:
    graph = {**PLAIN, "60": node("ShowAnything", anything=["7", 0])}
    assert builder(tmp_path, graph).build(REQUESTS[0]).graph["60"]["inputs"]["anything"] == ["6", 0]


# Sizes


SMALL = (64, 96)
GROWING = (
    "prompt: {node: Words, input: text}\nseed: {node: '5', input: seed}\n"
    "latent_in: {node: '5', input: latent_image}\ndenoise: {node: '5', input: denoise}\n"
)
SIZED = "width: {node: '4', input: width}\nheight: {node: '4', input: height}\n"


def test_a_latent_is_resized_where_the_request_says_so(tmp_path: Path) -> None:
    workflow = builder(tmp_path).build(DreamStep(LATENT, WORDS, "", 1, 0.5, size=SMALL))
    kind, scaler = link(workflow, "5", "latent_image")
    assert (kind, scaler["width"], scaler["height"], scaler["upscale_method"]) == (
        "LatentUpscale",
        64,
        96,
        "bislerp",
    )
    assert workflow.graph[scaler["samples"][0]]["inputs"] == {"latent": LATENT.annotated}
    assert graph_problems(workflow.graph, catalog("0.3.64")) == ()


def test_a_picture_is_cut_and_scaled_where_the_request_says_so(tmp_path: Path) -> None:
    workflow = builder(tmp_path).build(ImageToImage(PICTURE, WORDS, "", 1, 0.5, size=SMALL))
    scaler = inputs_of(workflow, "ImageScale")
    assert (scaler["width"], scaler["height"], scaler["crop"]) == (64, 96, "center")
    assert graph_problems(workflow.graph, catalog("0.33.0")) == ()


def test_a_resized_latent_goes_past_a_loader_of_theirs(tmp_path: Path) -> None:
    graph = {**PLAIN, "4": node("LoadLatent", latent="first.latent")}
    made = builder(tmp_path, graph, "latent_in: {node: LoadLatent, input: latent}")
    workflow = made.build(DreamStep(LATENT, WORDS, "", 1, 0.5, size=SMALL))
    assert link(workflow, "5", "latent_image")[0] == "LatentUpscale"
    assert workflow.graph["4"]["inputs"] == {"latent": "first.latent"}


def test_a_workflow_that_enlarges_begins_each_step_at_its_own_size(tmp_path: Path) -> None:
    for size, wanted in ((None, (512, 512)), (SMALL, SMALL)):
        workflow = loaded(tmp_path, TWO_SAMPLERS, GROWING + SIZED)
        scaler = link(
            CustomBuilder(workflow, lambda: "dream/kf", size).build(REQUESTS[2]), "5", "latent_image"
        )[1]
        assert (scaler["width"], scaler["height"]) == wanted


def test_a_workflow_that_enlarges_from_an_unknown_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it enlarges its pictures: bind width and height"):
        builder(tmp_path, TWO_SAMPLERS, GROWING).build(REQUESTS[2])


@ALL
def test_the_size_of_keyframes_stands_in_every_graph_so_that_what_depends_on_it_stays_warm(
    tmp_path: Path, request_: Request
) -> None:
    made = CustomBuilder(loaded(tmp_path, PLAIN), lambda: "dream/kf", (64, 128))
    latent = made.build(request_).graph["4"]["inputs"]
    assert (latent["width"], latent["height"]) == (64, 128)


# Whatever else stands in a workflow


EXTRA = st.dictionaries(
    st.sampled_from(["8", "9", "10", "11", "x"]),
    st.tuples(
        st.sampled_from([*SAVERS, "ImageScaleBy", "KSampler", "Note", "VAEDecode", "ShowAnything"]),
        st.dictionaries(
            st.sampled_from(["images", "samples", "image", "vae", "model", "latent_image"]),
            st.tuples(st.sampled_from([*PLAIN, "8", "9", "10", "11", "x"]), st.integers(0, 2)).map(list)
            | st.just("text"),
            max_size=3,
        ),
    ),
)
BOUND = (
    "prompt: {node: Words, input: text}\nseed: {node: '5', input: seed}\npicture_out: {node: '7'}\n"
    "latent_out: {node: '5'}\nvae: {node: '1'}\nlatent_in: {node: '5', input: latent_image}\n" + SIZED
)


@given(EXTRA, st.sampled_from(REQUESTS))
@examples(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_graph_has_a_link_to_nowhere_where_an_output_needs_it(
    tmp_path: Path, extra: dict[str, tuple[str, dict[str, Any]]], request_: Request
) -> None:
    graph = {**PLAIN, **{node_id: node(kind, **inputs) for node_id, (kind, inputs) in extra.items()}}
    try:
        workflow = builder(tmp_path, graph, BOUND).build(request_)
    except ConfigError:  # a circle, or a link to a node that is not there
        return
    outputs = {workflow.picture_node, workflow.latent_node} - {None}
    for node_id in needed_by(workflow.graph, [output for output in outputs if output]):
        assert {source.node for _, source in links_of(workflow.graph[node_id])} <= workflow.graph.keys()
    assert find_circle(workflow.graph) == ()
    assert {workflow.graph[output]["class_type"] for output in outputs if output} <= SAVERS.keys()


# What cannot be had


@pytest.mark.parametrize("missing", ["latent_out", "vae"])
def test_without_a_latent_or_a_vae_there_are_no_walks_and_it_is_said_why(
    tmp_path: Path, missing: str
) -> None:
    made = builder(tmp_path, PLAIN, f"{missing}:\n")
    assert made.why_no_walks == (
        f"the workflow 'mine' cannot give a walk between keyframes: bind {missing} in mine.yaml"
    )
    with pytest.raises(ValueError, match=missing):
        made.build(REQUESTS[3])


def test_a_keyframe_without_a_latent_out_is_a_picture_alone(tmp_path: Path) -> None:
    workflow = builder(tmp_path, PLAIN, "latent_out:\n").build(REQUESTS[0])
    assert workflow.latent_node is None
    assert workflow.picture_node is not None


@pytest.mark.parametrize(
    ("bindings", "request_", "named"),
    [
        ("latent_in:\n", REQUESTS[1], "picture_in"),
        ("latent_in:\n", REQUESTS[2], "latent_in"),
        ("vae:\n", REQUESTS[1], "vae"),
        ("vae:\n", REQUESTS[4], "vae"),
    ],
)
def test_a_request_that_lacks_a_binding_is_refused_by_its_name(
    tmp_path: Path, bindings: str, request_: Request, named: str
) -> None:
    with pytest.raises(ValueError, match=f"bind {named}"):
        builder(tmp_path, PLAIN, bindings).build(request_)


@pytest.mark.parametrize("denoise", [0.0, 1.1, float("nan")])
def test_a_denoise_outside_its_range_is_refused(tmp_path: Path, denoise: float) -> None:
    with pytest.raises(ValueError, match="denoise"):
        builder(tmp_path).build(DreamStep(LATENT, "", "", 1, denoise))


def test_a_size_that_latents_cannot_hold_is_refused_where_it_counts(tmp_path: Path) -> None:
    request_ = TextToImage("", "", 1, 100, 64)
    with pytest.raises(ValueError, match="100 px is not divisible by 8"):
        builder(tmp_path).build(request_)
    builder(tmp_path, PLAIN, "width:\nheight:\n").build(request_)


def test_keyframes_have_the_size_that_the_workflow_says_unless_another_is_wished(tmp_path: Path) -> None:
    graph = {**PLAIN, "4": node("EmptyLatentImage", width=1028, height=768, batch_size=1)}
    assert builder(tmp_path, graph).size == (1024, 768)
    own = loaded(tmp_path, graph)
    assert CustomBuilder(own, lambda: "kf", (640, 360)).size == (640, 360)
    client = ComfyUIClient("http://127.0.0.1:1")
    house = Housekeeping(client, instance="test", hour=lambda: "1", clock=lambda: 0.0)
    plan = WorkflowPlanner(own).plan(client, house, NodeCatalog({}))
    assert (plan.family.width, plan.family.height) == (1024, 768)


def test_a_dream_that_goes_on_from_pictures_looks_at_such_a_graph_first(tmp_path: Path) -> None:
    made = builder(tmp_path, PLAIN, "latent_out:\n")
    assert made.feeds_pictures
    samples = Plan(made, "mine", SD15, made.feeds_pictures).samples((64, 64), walks=False, continues=True)
    assert "LoadImage" in {one["class_type"] for one in samples[1].graph.values()}
