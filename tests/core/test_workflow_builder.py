from __future__ import annotations

import pytest

from backend.core.jobs import FileRef
from backend.core.model_choice import Models
from backend.core.model_families import SD15
from backend.core.sampling import Sampling
from backend.core.workflow_builder import (
    DecodeLatents,
    DreamStep,
    EncodePicture,
    ImageToImage,
    Request,
    TextToImage,
    WorkflowBuilder,
)
from tests.core.recorded import recorded

PICTURE = FileRef("init.png", "", "input")
LATENT = FileRef("kf_00001_.latent", "latents", "output")
REQUESTS: list[Request] = [
    TextToImage("a cat", "", 9, 64, 64),
    ImageToImage(PICTURE, "a cat", "", 9, 0.4),
    DreamStep(LATENT, "a cat", "", 9, 0.4),
    DecodeLatents(LATENT, "a cat", ""),
    EncodePicture(PICTURE, "a cat", ""),
]
KEYFRAMES = REQUESTS[:3]


def builder() -> WorkflowBuilder:
    models = Models(SD15, checkpoint="tiny-sd15.safetensors")
    return WorkflowBuilder(models, Sampling(1, 5.0, "euler", "normal"), lambda: "dream/kf")


def classes(request: Request) -> list[str]:
    return [node["class_type"] for node in builder().build(request).graph.values()]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_every_graph_carries_the_same_loader_and_texts_so_that_they_stay_warm(request_: Request) -> None:
    warm = list(builder().build(REQUESTS[0]).graph.values())[:3]
    assert list(builder().build(request_).graph.values())[:3] == warm
    assert [node["class_type"] for node in warm] == [
        "CheckpointLoaderSimple",
        "CLIPTextEncode",
        "CLIPTextEncode",
    ]


@pytest.mark.parametrize("request_", KEYFRAMES, ids=lambda request: type(request).__name__)
def test_every_keyframe_saves_its_latent_and_sends_its_picture(request_: Request) -> None:
    workflow = builder().build(request_)
    assert workflow.latent_node is not None
    assert workflow.picture_node is not None
    assert workflow.graph[workflow.latent_node]["class_type"] == "SaveLatent"
    assert workflow.graph[workflow.latent_node]["inputs"]["filename_prefix"] == "dream/kf"
    assert workflow.graph[workflow.picture_node]["class_type"] == "SaveImageWebsocket"


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_every_link_leads_to_a_node_that_stands_before_it(request_: Request) -> None:
    seen: set[str] = set()
    for node_id, node in builder().build(request_).graph.items():
        links = [value for value in node["inputs"].values() if isinstance(value, list)]
        assert {link[0] for link in links} <= seen
        seen.add(node_id)


def test_a_dream_step_starts_from_the_latent_in_the_output_folder() -> None:
    graph = builder().build(DreamStep(LATENT, "a", "b", 1, 0.5)).graph
    assert graph["4"] == {
        "class_type": "LoadLatent",
        "inputs": {"latent": "latents/kf_00001_.latent [output]"},
    }


def test_text_to_image_has_the_inputs_of_the_recorded_graph() -> None:
    (example,) = [
        node
        for entry in recorded("history_img2img_websocket").values()
        for node in entry["prompt"][2].values()
        if node["class_type"] == "KSampler"
    ]
    ours = builder().build(TextToImage("a cat", "", 9, 64, 64)).graph["5"]
    assert ours["inputs"].keys() == example["inputs"].keys()


def test_decoding_sends_pictures_and_samples_nothing() -> None:
    assert classes(DecodeLatents(LATENT, "a", ""))[3:] == ["LoadLatent", "VAEDecode", "SaveImageWebsocket"]


def test_encoding_saves_a_latent_and_sends_nothing() -> None:
    workflow = builder().build(EncodePicture(PICTURE))
    assert workflow.picture_node is None
    assert [node["class_type"] for node in workflow.graph.values()][3:] == [
        "LoadImage",
        "VAEEncode",
        "SaveLatent",
    ]


@pytest.mark.parametrize("size", [(100, 64), (64, 100), (0, 64)])
def test_a_size_that_latents_cannot_hold_is_refused_in_words(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="is not divisible by 8"):
        builder().build(TextToImage("a", "", 1, *size))


@pytest.mark.parametrize("denoise", [0.0, -0.1, 1.1, float("nan")])
def test_a_denoise_outside_its_range_is_refused(denoise: float) -> None:
    with pytest.raises(ValueError, match="denoise"):
        builder().build(DreamStep(LATENT, "a", "", 1, denoise))
