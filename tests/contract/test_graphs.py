"""The server's own validator finds nothing wrong with our graphs, but that it has not the models.

Every graph names models that no server has, so that it is refused and never runs; the reasons are looked at.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
)
from backend.core.family_detection import family_named
from backend.core.jobs import Graph
from backend.core.model_choice import Models
from backend.core.model_families import FAMILIES, SD3, SD15, SDXL_TURBO
from backend.core.model_family import ModelFamily
from backend.core.workflow_builder import (
    DecodeLatents,
    DreamStep,
    EncodePicture,
    ImageToImage,
    Request,
    TextToImage,
    WorkflowBuilder,
)
from tests.contract.conftest import SIZE_PX, Server, Studio
from tests.contract.material import (
    MISSING,
    Material,
    checkpoint_without_file,
    models_without_files,
    upload_material,
)

pytestmark = pytest.mark.contract

FAMILY_NAMES = [family.name for family in FAMILIES]
MODEL_INPUTS = {
    *("ckpt_name", "unet_name", "vae_name", "lora_name", "control_net_name", "model_name", "clip_name"),
    *(f"clip_name{number}" for number in range(1, 5)),
}
ADAPTERS: dict[str, Callable[[Material], tuple[Adapter, ...]]] = {
    "LoRAs": lambda _: (Lora(MISSING), Lora(MISSING, 0.5, clip_strength=0.0)),
    "clip skip": lambda _: (ClipSkip(2),),
    "separate VAE": lambda _: (SeparateVae(MISSING),),
    "tiled VAE": lambda _: (TiledVae(512, 64),),
    "EasyCache": lambda _: (SpeedUp("EasyCache"),),
    "LazyCache": lambda _: (SpeedUp("LazyCache"),),
    "control nets": lambda has: (
        ControlNet(MISSING, has.picture),
        ControlNet(MISSING, has.mask, 0.5, start=0.1, end=0.6),
    ),
    "inpaint": lambda has: (Inpaint(has.mask),),
    "inpaint for inpainting models": lambda has: (Inpaint(has.mask, "conditioning"),),
    "outpaint": lambda _: (Outpaint(left_px=16, bottom_px=8, feather_px=4),),
    "upscale model": lambda _: (UpscaleModel(MISSING),),
    "detail": lambda _: (Detail(1.5, 0.3, steps=2),),
    "everything": lambda has: (
        *(Detail(2.0), UpscaleModel(MISSING), Outpaint(top_px=8), Inpaint(has.mask, "conditioning")),
        *(
            ControlNet(MISSING, has.picture),
            TiledVae(64, 16),
            SeparateVae(MISSING),
            ClipSkip(1),
            Lora(MISSING),
        ),
    ),
}


@pytest.fixture
def material(live_studio: Studio) -> Material:
    return upload_material(live_studio.server, live_studio.client)


def requests_of(material: Material, family: ModelFamily) -> dict[str, Request]:
    words, size = ("a cat", "text", 1), (SIZE_PX, SIZE_PX)
    return {
        "keyframe": TextToImage(*words, *size),
        "dream step": DreamStep(material.latent, *words, 0.4),
        "resized dream step": DreamStep(material.latent, *words, 0.4, size),
        "picture": ImageToImage(material.picture, *words, 0.6, size),
        "decode": DecodeLatents(material.latent, "a cat", "text"),
        "encode": EncodePicture(material.picture, "a cat", "text"),
    }


def skip_unless_it_can(server: Server, graph: Graph, family: ModelFamily) -> None:
    """Skip where the server lacks a node class, or is older than the family."""
    here = server.get("/object_info").json()
    lacking = {node["class_type"] for node in graph.values()} - here.keys()
    version = server.get("/system_stats").json()["system"]["comfyui_version"]
    if lacking:
        pytest.skip(f"this server has no {', '.join(sorted(lacking))}")
    if family.since and numbers(version) < numbers(family.since):
        pytest.skip(f"{family.name} needs ComfyUI {family.since}")


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def assert_only_models_are_missing(server: Server, graph: Graph) -> None:
    answer = server.post("/prompt", json={"prompt": graph})
    assert answer.status_code == 400, answer.text
    body = answer.json()
    told = [
        (error["type"], error["extra_info"].get("input_name"), error["extra_info"].get("received_value"))
        for node in body["node_errors"].values()
        for error in node["errors"]
    ]
    assert told, body
    others = [one for one in told if one[0] != "value_not_in_list" or one[1] not in MODEL_INPUTS]
    assert not others, body
    assert {value for _, _, value in told} == {MISSING}


def check(server: Server, material: Material, models: Models, adapters: tuple[Adapter, ...] = ()) -> None:
    builder = WorkflowBuilder(models, models.family.sampling(), lambda: "contract/kf", adapters)
    requests = requests_of(material, models.family)
    graphs = [builder.build(request).graph for request in requests.values()]
    for graph in graphs:
        skip_unless_it_can(server, graph, models.family)
    for graph in graphs:
        assert_only_models_are_missing(server, graph)


def test_the_graphs_of_a_plain_dream_lack_nothing_but_their_files(studio: Studio) -> None:
    builder = WorkflowBuilder(checkpoint_without_file(SD15), SD15.sampling(), lambda: "contract/kf")
    material = upload_material(studio.server, studio.client)
    requests = requests_of(material, SD15)
    for kind in ("keyframe", "dream step", "decode", "encode"):
        assert_only_models_are_missing(studio.server, builder.build(requests[kind]).graph)


@pytest.mark.live
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_every_graph_of_a_family_lacks_nothing_but_its_files(
    live_studio: Studio, material: Material, name: str
) -> None:
    check(live_studio.server, material, models_without_files(family_named(name)))


@pytest.mark.live
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_every_graph_of_a_checkpoint_lacks_nothing_but_its_files(
    live_studio: Studio, material: Material, name: str
) -> None:
    check(live_studio.server, material, checkpoint_without_file(family_named(name)))


@pytest.mark.live
@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("family", [SD15, SDXL_TURBO, SD3], ids=lambda family: family.name)
def test_every_graph_with_adapters_lacks_nothing_but_its_files(
    live_studio: Studio, material: Material, family: ModelFamily, name: str
) -> None:
    check(live_studio.server, material, checkpoint_without_file(family), ADAPTERS[name](material))


@pytest.mark.live
@pytest.mark.parametrize("name", ["SD 3", "Flux dev", "Qwen-Image"])
def test_another_shift_lacks_nothing_but_its_files(
    live_studio: Studio, material: Material, name: str
) -> None:
    check(live_studio.server, material, checkpoint_without_file(family_named(name)), (Shift(4.0),))


@pytest.mark.live
def test_a_custom_speed_up_lacks_nothing_but_its_files(live_studio: Studio, material: Material) -> None:
    models = checkpoint_without_file(family_named("Flux dev"))
    check(live_studio.server, material, models, (SpeedUp("TeaCache"),))
