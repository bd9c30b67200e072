from __future__ import annotations

import pytest

from backend.core.graph_validation import graph_problems
from backend.core.jobs import FileRef
from backend.core.model_choice import Models
from backend.core.model_families import FLUX, FLUX2, FLUX_SCHNELL, QWEN_IMAGE, SD15, SDXL_TURBO
from backend.core.sampling import Sampling
from backend.core.workflow_builder import (
    DecodeLatents,
    DreamStep,
    EncodePicture,
    ImageToImage,
    Request,
    TextToImage,
    TinyVae,
    WorkflowBuilder,
)
from tests.core.graphs import as_checkpoint, build, classes, connected, in_parts, only, usual
from tests.core.recorded import node_catalog, recorded

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
    assert classes(builder().build(DecodeLatents(LATENT, "a", "")).graph)[3:] == [
        "LoadLatent",
        "VAEDecode",
        "SaveImageWebsocket",
    ]


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


def test_a_dream_step_of_most_families_is_a_sampling_with_that_denoise() -> None:
    sampler = only(build(usual(QWEN_IMAGE), DreamStep(LATENT, "a", "", 7, 0.35)), "KSampler")
    assert (sampler["seed"], sampler["denoise"], sampler["steps"]) == (7, 0.35, QWEN_IMAGE.steps)


@pytest.mark.parametrize(("denoise", "skipped"), [(0.01, 3), (0.3, 3), (0.5, 2), (0.8, 1)])
def test_a_dream_step_of_a_few_step_model_walks_the_last_of_the_levels_it_was_trained_for(
    denoise: float, skipped: int
) -> None:
    graph = build(usual(FLUX_SCHNELL), DreamStep(LATENT, "a", "", 7, denoise))
    levels = only(graph, "BasicScheduler")
    assert (levels["steps"], levels["denoise"]) == (4, 1.0)
    assert only(graph, "SplitSigmas")["step"] == skipped
    sampled = only(graph, "SamplerCustomAdvanced")
    assert graph[sampled["sigmas"][0]]["class_type"] == "SplitSigmas"
    assert sampled["sigmas"][1] == 1
    assert only(graph, "RandomNoise")["noise_seed"] == 7


def test_a_picture_from_nothing_walks_all_levels() -> None:
    graph = build(as_checkpoint(SDXL_TURBO), TextToImage("a", "", 1, 704, 384))
    assert "SplitSigmas" not in classes(graph)
    assert only(graph, "CFGGuider")["cfg"] == 1.0
    assert only(graph, "KSamplerSelect")["sampler_name"] == "euler_ancestral"


def test_levels_that_depend_on_the_size_are_those_of_the_picture() -> None:
    step = DreamStep(LATENT, "a", "", 1, 0.5, (1024, 576))
    levels = only(build(usual(FLUX2), step), "Flux2Scheduler")
    assert (levels["width"], levels["height"]) == (1024, 576)


def test_a_latent_is_resized_to_whole_cells_however_many_pixels_they_have() -> None:
    step = DreamStep(LATENT, "a", "", 1, 0.5, (1024, 576))
    for family, width, height in ((SD15, 1024, 576), (FLUX2, 512, 288)):
        resized = only(build(usual(family), step), "LatentUpscale")
        assert (resized["width"], resized["height"]) == (width, height)
        assert resized["upscale_method"] == "bislerp"


def test_a_picture_of_another_shape_is_cut_not_stretched() -> None:
    request = ImageToImage(PICTURE, "a", "", 1, 0.5, (704, 384))
    scaled = only(build(as_checkpoint(SD15), request), "ImageScale")
    assert (scaled["width"], scaled["height"], scaled["crop"]) == (704, 384, "center")


def test_a_model_that_was_distilled_to_do_without_never_encodes_the_negative_prompt() -> None:
    graph = build(usual(FLUX), TextToImage("a cat", "fog", 1, 1344, 768))
    assert only(graph, "CLIPTextEncode")["text"] == "a cat"
    assert "ConditioningZeroOut" in connected(graph).values()
    assert only(graph, "FluxGuidance")["guidance"] == FLUX.guidance


@pytest.mark.parametrize(
    "text", ["", "100% \n \\ %date% {a|b} (x:1.2)", "猫 🐈 \u202e", '{"class_type": "X"}']
)
def test_words_reach_the_encoders_as_they_are(text: str) -> None:
    graph = build(as_checkpoint(SD15), TextToImage(text, text, 1, 64, 64))
    assert [node["inputs"]["text"] for node in graph.values() if "text" in node["inputs"]] == [text, text]


def test_a_checkpoint_with_files_of_its_own_beside_it_uses_those() -> None:
    models = Models(FLUX, checkpoint="c.safetensors", text_encoders=("a", "b"), vae="v")
    run = connected(build(models, TextToImage("a", "", 1, 64, 64))).values()
    assert {"CheckpointLoaderSimple", "DualCLIPLoader", "VAELoader"} <= set(run)


@pytest.mark.parametrize(
    ("count", "loader"),
    [(1, "CLIPLoader"), (2, "DualCLIPLoader"), (3, "TripleCLIPLoader"), (4, "QuadrupleCLIPLoader")],
)
def test_the_loader_follows_from_the_number_of_text_encoders(count: int, loader: str) -> None:
    models = Models(FLUX, diffusion_model="d", text_encoders=tuple("abcd"[:count]), vae="v")
    assert loader in classes(build(models, TextToImage("a", "", 1, 64, 64)))


@pytest.mark.parametrize(
    "models",
    [
        Models(FLUX),
        Models(FLUX, diffusion_model="d", vae="v"),
        Models(FLUX, diffusion_model="d", text_encoders=("a", "b")),
        Models(FLUX, diffusion_model="d", text_encoders=tuple("abcde"), vae="v"),
    ],
)
def test_models_that_cannot_be_loaded_are_refused(models: Models) -> None:
    with pytest.raises(ValueError, match="text encoders"):
        build(models, TextToImage("a", "", 1, 64, 64))


def test_cells_of_16_px_want_sizes_divisible_by_16() -> None:
    with pytest.raises(ValueError, match="width 1000 px is not divisible by 16; 992 would be"):
        build(in_parts(FLUX2), TextToImage("a", "", 1, 1000, 576))
    with pytest.raises(ValueError, match="height"):
        build(in_parts(FLUX2), DreamStep(LATENT, "a", "", 1, 0.5, (1024, 568)))


def with_tiny_vae(name: str = "taesd", *, is_there: bool = True) -> WorkflowBuilder:
    models = Models(SD15, checkpoint="tiny-sd15.safetensors")
    sampling = Sampling(1, 5.0, "euler", "normal")
    return WorkflowBuilder(models, sampling, lambda: "dream/kf", tiny=TinyVae(name, is_there))


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_a_small_vae_is_kept_warm_by_every_graph_and_used_by_none_that_does_not_ask_for_it(
    request_: Request,
) -> None:
    graph = with_tiny_vae().build(request_).graph
    (tiny,) = (node_id for node_id, node in graph.items() if node["class_type"] == "VAELoader")
    assert graph[tiny]["inputs"] == {"vae_name": "taesd"}
    assert not any([tiny, 0] in node["inputs"].values() for node in graph.values())


def test_in_betweens_are_decoded_by_the_small_vae_where_that_is_asked_for() -> None:
    workflow = with_tiny_vae().build(DecodeLatents(LATENT, "a cat", "", tiny=True))
    assert classes(workflow.graph).count("VAELoader") == 1
    decode = only(workflow.graph, "VAEDecode")
    assert workflow.graph[decode["vae"][0]]["inputs"] == {"vae_name": "taesd"}


def test_a_small_vae_that_the_server_lacks_is_in_no_graph_but_the_one_that_would_need_it() -> None:
    lacking = with_tiny_vae("taexx", is_there=False)
    assert "VAELoader" not in classes(lacking.build(REQUESTS[0]).graph)
    tiny = lacking.build(DecodeLatents(LATENT, "a cat", "", tiny=True)).graph
    problems = [str(problem) for problem in graph_problems(tiny, node_catalog("0.33.0"))]
    assert any("vae_name = 'taexx'" in problem for problem in problems), problems


def test_without_a_small_vae_it_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="no small VAE"):
        builder().build(DecodeLatents(LATENT, "a cat", "", tiny=True))
