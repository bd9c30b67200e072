from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backend.core import model_families as known
from backend.core.adapters import (
    Adapter,
    ClipSkip,
    ControlNet,
    Detail,
    Inpaint,
    Lora,
    Outpaint,
    SeparateVae,
    Shift,
    SpeedUp,
    TiledVae,
    UpscaleModel,
    usable,
)
from backend.core.jobs import FileRef
from backend.core.model_choice import Models
from backend.core.workflow_builder import DecodeLatents, DreamStep, EncodePicture, ImageToImage, TextToImage
from tests.core.graphs import (
    CONTROL_NET,
    LATENT,
    LOADINGS,
    LORA,
    MASK,
    PICTURE,
    UPSCALER,
    as_checkpoint,
    build,
    builder,
    classes,
    connected,
    content,
    in_parts,
    loading_name,
    only,
    problems,
    requests,
    usual,
    versions_of,
    warm,
)

SD15 = as_checkpoint(known.SD15)
STEP = DreamStep(LATENT, "a cat", "fog", 9, 0.4)
FIRST = TextToImage("a cat", "fog", 9, 704, 384)
DECODING = DecodeLatents(LATENT, "a cat", "fog")

ADAPTERS: tuple[Adapter, ...] = (
    Lora(LORA),
    Lora(LORA, -0.5, 0.0),
    ClipSkip(2),
    SeparateVae("other.safetensors"),
    TiledVae(),
    Shift(4.0),
    SpeedUp("EasyCache"),
    SpeedUp("LazyCache"),
    ControlNet(CONTROL_NET, PICTURE, 0.7, 0.1, 0.8),
    Inpaint(MASK),
    Inpaint(MASK, "conditioning"),
    Outpaint(64, 32, 64, 32),
    UpscaleModel(UPSCALER),
    Detail(),
    Detail(2.0, 0.2, 3),
)


def fitting(models: Models) -> list[Adapter]:
    """The adapters that a family has a use for."""
    patch = models.family.patch
    shifts = patch is not None and patch.shift_input is not None
    return [one for one in ADAPTERS if shifts or not isinstance(one, Shift)]


@pytest.mark.parametrize("models", LOADINGS, ids=loading_name)
def test_a_real_server_would_take_every_adapter_with_every_family(models: Models) -> None:
    found = [
        (version, adapter, type(request).__name__, problems(build(models, request, adapter), version))
        for version in versions_of(models.family)
        for adapter in fitting(models)
        for request in requests(models.family)
    ]
    assert found
    assert [one for one in found if one[3]] == []


@examples(max_examples=100, deadline=None)
@given(data=st.data(), models=st.sampled_from(LOADINGS))
def test_adapters_compose_in_any_number_and_order_and_all_graphs_share_what_is_to_stay_warm(
    data: st.DataObject, models: Models
) -> None:
    adapters = data.draw(st.lists(st.sampled_from(fitting(models)), max_size=6))
    assume(math.prod(one.scale for one in adapters if isinstance(one, Detail)) <= 8)
    graphs = [builder(models, *adapters).build(request).graph for request in requests(models.family)]
    for version, graph in itertools.product(versions_of(models.family), graphs):
        assert problems(graph, version) == []
    assert {frozenset(warm(graph)) for graph in graphs} == {frozenset(warm(graphs[0]))}


@examples(max_examples=50, deadline=None)
@given(adapters=st.lists(st.sampled_from(fitting(SD15)), max_size=5, unique=True), data=st.data())
def test_the_order_of_adapters_of_different_kinds_does_not_change_which_nodes_run(
    adapters: list[Adapter], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(adapters))
    one, other = (sorted(connected(build(SD15, STEP, *order)).values()) for order in (adapters, shuffled))
    assert one == other


def test_loras_are_chained_in_the_users_order() -> None:
    loras = [Lora("a.safetensors", 0.5), Lora("b.safetensors", 0.8, 0.0), Lora("a.safetensors", -1)]
    graph = build(SD15, STEP, *loras)
    chain = [node["inputs"] for node in graph.values() if node["class_type"] == "LoraLoader"]
    assert [(one["lora_name"], one["strength_model"], one["strength_clip"]) for one in chain] == [
        ("a.safetensors", 0.5, 0.5),
        ("b.safetensors", 0.8, 0.0),
        ("a.safetensors", -1, -1),
    ]
    assert [one["model"][0] for one in chain] == ["1", "2", "3"]
    assert only(graph, "KSampler")["model"] == ["4", 0]


def test_the_texts_are_encoded_by_the_changed_text_encoder() -> None:
    graph = build(SD15, STEP, ClipSkip(2), Lora(LORA))
    texts = [node["inputs"]["clip"] for node in graph.values() if node["class_type"] == "CLIPTextEncode"]
    assert texts == [["3", 1], ["3", 1]]
    assert only(graph, "CLIPSetLastLayer")["stop_at_clip_layer"] == -2


@pytest.mark.parametrize("swapped", [False, True])
def test_a_separate_vae_works_in_tiles_too_whichever_is_named_first(swapped: bool) -> None:
    adapters: list[Adapter] = [SeparateVae("other.safetensors"), TiledVae(256, 32)]
    graph = build(SD15, EncodePicture(PICTURE), *(adapters[::-1] if swapped else adapters))
    tiled = only(graph, "VAEEncodeTiled")
    assert (tiled["tile_size"], tiled["overlap"]) == (256, 32)
    assert graph[tiled["vae"][0]]["class_type"] == "VAELoader"


def test_keyframes_and_in_betweens_are_decoded_and_enlarged_alike() -> None:
    adapters = (SeparateVae("other.safetensors"), TiledVae(), UpscaleModel(UPSCALER))
    ends = []
    for request in (FIRST, STEP, DECODING):
        graph = build(SD15, request, *adapters)
        up = only(graph, "ImageUpscaleWithModel")
        decoded = graph[up["image"][0]]
        ends.append((decoded["class_type"], content(graph, decoded["inputs"]["vae"][0])))
        assert graph[only(graph, "SaveImageWebsocket")["images"][0]]["inputs"] == up
    assert len(set(ends)) == 1


def test_several_control_nets_guide_both_conditionings_one_after_the_other() -> None:
    nets = [ControlNet("a.safetensors", PICTURE, 0.5, 0.0, 0.6), ControlNet("b.safetensors", MASK, 1.0, 0.2)]
    graph = build(SD15, STEP, *nets)
    first, second = (key for key, node in graph.items() if node["class_type"] == "ControlNetApplyAdvanced")
    assert graph[first]["inputs"]["start_percent"] == 0.0
    assert graph[first]["inputs"]["end_percent"] == 0.6
    assert graph[second]["inputs"]["positive"] == [first, 0]
    assert graph[second]["inputs"]["negative"] == [first, 1]
    assert only(graph, "KSampler")["positive"] == [second, 0]
    assert only(graph, "KSampler")["negative"] == [second, 1]


def test_a_shift_stands_in_the_place_of_the_familys_own() -> None:
    graph = build(usual(known.QWEN_IMAGE), STEP, Shift(2.2))
    assert only(graph, "ModelSamplingAuraFlow")["shift"] == 2.2


def test_the_shift_of_flux_is_its_max_shift() -> None:
    graph = build(usual(known.FLUX), STEP, Shift(0.9))
    patch = only(graph, "ModelSamplingFlux")
    assert (patch["max_shift"], patch["base_shift"], patch["width"]) == (0.9, 0.5, 1024)


@pytest.mark.parametrize("family", [known.SD15, known.SDXL_LCM, known.FLUX_SCHNELL, known.FLUX2])
def test_a_shift_is_refused_where_the_family_has_none(family: known.ModelFamily) -> None:
    with pytest.raises(ValueError, match=rf"adapter Shift: value = 3\.0: {family.name} has no shift"):
        build(as_checkpoint(family), STEP, Shift(3.0))


def test_a_custom_speed_up_is_told_which_family_it_speeds_up() -> None:
    assert only(build(usual(known.FLUX), STEP, SpeedUp("TeaCache")), "TeaCache")["model_type"] == "flux"
    with pytest.raises(ValueError, match=r"TeaCache': it does not know SD 1\.5"):
        build(SD15, STEP, SpeedUp("TeaCache"))


def test_speed_ups_that_the_server_lacks_are_left_out_and_nothing_else() -> None:
    adapters = (SpeedUp("TeaCache"), Lora(LORA), SpeedUp("EasyCache"))
    assert usable(adapters, {"EasyCache"}) == adapters[1:]


def test_inpainting_any_model_masks_the_latent_that_the_step_starts_from() -> None:
    graph = build(SD15, STEP, Inpaint(MASK))
    masked = only(graph, "SetLatentNoiseMask")
    assert graph[masked["samples"][0]]["class_type"] == "LoadLatent"
    assert graph[masked["mask"][0]]["inputs"] == {"image": "mask.png [input]", "channel": "red"}
    assert graph[only(graph, "KSampler")["latent_image"][0]]["class_type"] == "SetLatentNoiseMask"


def test_inpainting_models_are_shown_the_picture_and_the_mask() -> None:
    graph = build(SD15, STEP, Inpaint(MASK, "conditioning"))
    (node,) = (key for key, one in graph.items() if one["class_type"] == "InpaintModelConditioning")
    shown = graph[node]["inputs"]
    assert graph[shown["pixels"][0]]["class_type"] == "VAEDecode"
    assert shown["noise_mask"] is True
    sampler = only(graph, "KSampler")
    assert [sampler[key] for key in ("positive", "negative", "latent_image")] == [
        [node, 0],
        [node, 1],
        [node, 2],
    ]


@pytest.mark.parametrize("adapter", [Inpaint(MASK), Inpaint(MASK, "conditioning"), Outpaint(left_px=64)])
@pytest.mark.parametrize("request_", [FIRST, DECODING, EncodePicture(PICTURE)])
def test_where_there_is_nothing_to_keep_no_mask_is_used(adapter: Adapter, request_: TextToImage) -> None:
    plain, masked = (connected(build(SD15, request_, *adapters)) for adapters in ([], [adapter]))
    assert sorted(plain.values()) == sorted(masked.values())


@pytest.mark.parametrize("request_", [STEP, ImageToImage(PICTURE, "a cat", "fog", 9, 0.4)])
def test_outpainting_pads_shrinks_back_and_paints_the_margin_in_full(request_: DreamStep) -> None:
    graph = build(SD15, request_, Outpaint(8, 16, 24, 32, 12))
    pad = only(graph, "ImagePadForOutpaint")
    assert [pad[key] for key in ("left", "top", "right", "bottom", "feathering")] == [8, 16, 24, 32, 12]
    scaled, size = only(graph, "ImageScale"), only(graph, "GetImageSize")
    assert graph[scaled["image"][0]]["class_type"] == "ImagePadForOutpaint"
    assert size["image"] == pad["image"]
    assert (scaled["width"][1], scaled["height"][1]) == (0, 1)
    masked = only(graph, "SetLatentNoiseMask")
    assert graph[masked["mask"][0]]["class_type"] == "ImagePadForOutpaint"
    assert masked["mask"][1] == 1
    assert only(graph, "KSampler")["denoise"] == 1.0


@pytest.mark.parametrize("swapped", [False, True])
def test_inpainting_and_outpainting_paint_where_either_of_them_would(swapped: bool) -> None:
    adapters: list[Adapter] = [Inpaint(MASK), Outpaint(64, 0, 64, 0)]
    graph = build(SD15, STEP, *(adapters[::-1] if swapped else adapters))
    both = only(graph, "MaskComposite")
    assert both["operation"] == "add"
    assert [graph[both[key][0]]["class_type"] for key in ("destination", "source")] == ["ImageToMask"] * 2
    scaled = [node["inputs"]["width"] for node in graph.values() if node["class_type"] == "ImageScale"]
    assert {graph[width[0]]["class_type"] for width in scaled} == {"GetImageSize"}
    assert graph[only(graph, "SetLatentNoiseMask")["mask"][0]]["class_type"] == "MaskComposite"


def test_a_detail_pass_samples_a_second_time_and_larger() -> None:
    graph = build(SD15, FIRST, Detail(1.5, 0.3, 7))
    samplers = [node["inputs"] for node in graph.values() if node["class_type"] == "KSampler"]
    assert [(one["denoise"], one["steps"]) for one in samplers] == [(1.0, 20), (0.3, 7)]
    assert graph[samplers[1]["latent_image"][0]]["inputs"]["scale_by"] == 1.5
    saved = only(graph, "SaveLatent")["samples"]
    assert graph[saved[0]]["inputs"] == samplers[1]


def test_detail_passes_that_grow_beyond_what_a_server_takes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Detail: scale = 4\.0: a picture of at most 16384 px a side"):
        build(SD15, FIRST, Detail(4.0), Detail(4.0), Detail(4.0))


def test_a_detail_pass_of_flux_2_gets_noise_levels_for_its_own_size() -> None:
    graph = build(usual(known.FLUX2), TextToImage("a", "", 1, 1024, 576), Detail(2.0))
    sizes = [one["inputs"]["width"] for one in graph.values() if one["class_type"] == "Flux2Scheduler"]
    assert sizes == [1024, 2048]


def test_the_step_after_a_detail_pass_goes_back_to_the_size_that_is_wished() -> None:
    sized = build(SD15, DreamStep(LATENT, "a", "", 1, 0.4, (704, 384)), Detail(1.5))
    assert only(sized, "LatentUpscale")["width"] == 704
    assert classes(sized).count("LatentUpscaleBy") == 1


def test_the_step_after_a_detail_pass_undoes_its_enlargement_where_no_size_is_wished() -> None:
    graph = build(SD15, STEP, Detail(1.5), Detail(2.0))
    scales = [one["inputs"]["scale_by"] for one in graph.values() if one["class_type"] == "LatentUpscaleBy"]
    assert scales == pytest.approx([1 / 1.5, 1 / 2.0, 1.5, 2.0])


@pytest.mark.parametrize("cells", range(2, 300))
def test_undoing_an_enlargement_gives_back_just_as_many_cells(cells: int) -> None:
    for scale in (1.0, 1.1, 1.25, 1.5, 1.7, 2.0, 3.3, 4.0):
        assert round(round(cells * scale) * (1 / scale)) == cells


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (
            lambda: Lora("../../x.safetensors"),
            r"adapter Lora: name = '../../x.safetensors': .* without '\.\.'",
        ),
        (lambda: Lora("/etc/passwd"), "Lora: name = '/etc/passwd'"),
        (lambda: Lora("\\\\host\\share"), "Lora: name"),
        (lambda: Lora("C:\\x.safetensors"), "Lora: name"),
        (lambda: Lora("a\\..\\b"), "Lora: name"),
        (lambda: Lora("a\0b"), "Lora: name"),
        (lambda: Lora(""), "Lora: name"),
        (lambda: Lora(" a"), "Lora: name"),
        (lambda: Lora("a", 10.5), "Lora: strength = 10.5: a number from -10 to 10"),
        (lambda: Lora("a", float("nan")), "Lora: strength = nan"),
        (lambda: Lora("a", clip_strength=-11), "Lora: clip_strength = -11"),
        (lambda: ClipSkip(0), "ClipSkip: layers = 0: a whole number from 1 to 24"),
        (lambda: ClipSkip(2.5), "ClipSkip: layers = 2.5"),
        (lambda: ClipSkip(True), "ClipSkip: layers = True"),
        (lambda: SeparateVae("../vae"), "SeparateVae: name"),
        (lambda: TiledVae(32), "TiledVae: tile_px = 32"),
        (lambda: TiledVae(128, 65), "TiledVae: overlap_px = 65: a whole number from 0 to 64"),
        (lambda: Shift(-1), "Shift: value = -1"),
        (lambda: SpeedUp("Magic"), "SpeedUp: class_type = 'Magic': one of EasyCache, LazyCache, TeaCache"),
        (lambda: ControlNet("../x", PICTURE), "ControlNet: name"),
        (lambda: ControlNet("a", FileRef("x.png", "../up", "input")), "ControlNet: picture = '../up'"),
        (lambda: ControlNet("a", PICTURE, 11), "ControlNet: strength = 11"),
        (lambda: ControlNet("a", PICTURE, 1, -0.1), "ControlNet: start = -0.1"),
        (lambda: ControlNet("a", PICTURE, 1, 0.5, 0.4), "ControlNet: end = 0.4: a number from 0.5 to 1"),
        (lambda: Inpaint(FileRef("../m.png")), "Inpaint: mask"),
        (lambda: Inpaint(MASK, "magic"), "Inpaint: method = 'magic': one of noise_mask, conditioning"),
        (Outpaint, "Outpaint: left_px = 0: at least one side above 0"),
        (lambda: Outpaint(left_px=-8), "Outpaint: left_px = -8"),
        (lambda: Outpaint(8, feather_px=5000), "Outpaint: feather_px = 5000"),
        (lambda: Detail(scale=5), "Detail: scale = 5"),
        (lambda: Detail(denoise=0), "Detail: denoise = 0"),
        (lambda: Detail(steps=0), "Detail: steps = 0"),
        (lambda: UpscaleModel("x/../../y"), "UpscaleModel: name"),
    ],
)
def test_a_wrong_value_is_refused_with_adapter_key_value_and_wish(make: object, complaint: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=complaint):
        make()


@pytest.mark.parametrize("name", ["style/a..b.safetensors", "Ünïcode ü.safetensors", "sub\\x.safetensors"])
def test_names_as_servers_list_them_are_taken(name: str) -> None:
    assert only(build(in_parts(known.FLUX), STEP, Lora(name)), "LoraLoader")["lora_name"] == name
