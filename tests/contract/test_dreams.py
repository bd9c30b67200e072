"""What the families' and the adapters' graphs do on a server that has the models: they run, and stay warm."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backend.core.adapters import (
    Adapter,
    ClipSkip,
    ControlNet,
    Detail,
    Inpaint,
    Lora,
    Outpaint,
    Shift,
    SpeedUp,
    TiledVae,
    UpscaleModel,
)
from backend.core.comfyui_api import FileRef, Finished
from backend.core.family_detection import family_named, family_of
from backend.core.model_choice import Models, ModelWish, choose_models
from backend.core.model_families import SD15, SD15_LCM
from backend.core.workflow_builder import (
    DecodeLatents,
    DreamStep,
    EncodePicture,
    ImageToImage,
    Request,
    TextToImage,
    WorkflowBuilder,
)
from backend.errors import ModelMissing
from tests.contract.conftest import SIZE_PX, Studio
from tests.contract.material import Material, latent_file, latent_of, pixels, upload_material

pytestmark = pytest.mark.contract

STEPS = 2
WORDS = ("a cat", "text")
WARM = (
    "Loader",
    "CLIPTextEncode",
    "CLIPSetLastLayer",
    "ModelSampling",
    "FluxGuidance",
    "ConditioningZeroOut",
)
"""Parts of the names of nodes that give the same for every picture of the same prompt."""

Pixels = NDArray[np.int64]


@dataclass
class Dream:
    """Keyframes of one family, with some adapters, on one server."""

    studio: Studio
    models: Models
    adapters: tuple[Adapter, ...] = ()
    ran: list[str] = field(default_factory=list)

    def work(self, request: Request, pictures: int = 1) -> tuple[Finished, FileRef | None]:
        """One job: its end, and where its latent lies. ``ran`` tells the classes that really ran."""
        sampling = self.models.family.sampling(steps=STEPS)
        builder = WorkflowBuilder(self.models, sampling, lambda: "contract/dream", self.adapters)
        workflow = builder.build(request)
        end = self.studio.finish(workflow, pictures=pictures)
        self.ran = [workflow.graph[node]["class_type"] for node in end.executed if node in workflow.graph]
        return end, end.files[workflow.latent_node][0] if workflow.latent_node else None

    def seen(self, request: Request) -> tuple[Pixels, FileRef]:
        """One keyframe, and where its latent lies."""
        end, latent = self.work(request)
        assert latent is not None
        return pixels(end.pictures[0].data), latent

    def keyframe(self, seed: int | None = None, size: tuple[int, int] = (SIZE_PX, SIZE_PX)) -> Request:
        return TextToImage(*WORDS, self.studio.server.seed() if seed is None else seed, *size)

    def latent(self, file: FileRef) -> NDArray[np.float32]:
        return latent_of(self.studio.client.download(file))


def assert_it_dreams(dream: Dream) -> None:
    """Keyframe, dream step, picture, decode and encode, and what each is to be."""
    family, studio = dream.models.family, dream.studio
    cells = SIZE_PX // family.cell_px
    first, latent = dream.seen(dream.keyframe())
    assert first.shape == (SIZE_PX, SIZE_PX, 3)
    assert first.std() > 1.0, "a picture, not one colour"
    tensor = dream.latent(latent)
    assert tensor.shape == (1, family.latent_channels, cells, cells)
    assert np.isfinite(tensor).all()

    step, after = dream.seen(DreamStep(latent, *WORDS, studio.server.seed(), 0.5))
    assert step.shape == first.shape
    assert (step != first).any()
    larger, _ = dream.seen(DreamStep(after, *WORDS, studio.server.seed(), 0.5, (2 * SIZE_PX, SIZE_PX)))
    assert larger.shape == (SIZE_PX, 2 * SIZE_PX, 3)

    batch = latent_file(tensor, dream.latent(after))
    file = studio.client.upload(batch, studio.server.name("latent"))
    end, _ = dream.work(DecodeLatents(file, *WORDS), pictures=2)
    for picture, keyframe in zip(end.pictures, (first, step), strict=True):
        assert np.abs(pixels(picture.data) - keyframe).max() <= 1, "in-betweens are painted as keyframes are"

    shown = studio.client.upload(end.pictures[0].data, studio.server.name("png"))
    _, encoded = dream.work(EncodePicture(shown, *WORDS), pictures=0)
    assert encoded is not None
    assert dream.latent(encoded).shape == tensor.shape
    again, _ = dream.seen(ImageToImage(shown, *WORDS, studio.server.seed(), 0.5, (SIZE_PX, SIZE_PX)))
    assert again.shape == first.shape


def models_of(studio: Studio, family: str) -> Models:
    try:
        return choose_models(ModelWish(family=family), studio.client)
    except ModelMissing as missing:
        pytest.skip(f"this server has not all models of {family}: {missing.name}")


@pytest.mark.live
@pytest.mark.parametrize(
    "family",
    ["SD 1.5", "SD 1.5 LCM", "SDXL", "SDXL Turbo", "SDXL Lightning", "SD 3", "SD 3.5 Turbo", "Flux schnell"],
)
def test_a_family_dreams_from_words_latents_and_pictures(live_studio: Studio, family: str) -> None:
    assert_it_dreams(Dream(live_studio, models_of(live_studio, family)))


@pytest.mark.live
def test_a_model_in_parts_dreams_as_its_checkpoint_does(live_studio: Studio) -> None:
    """With whatever encoders of its family's there are: SD 3 works with one of its three."""
    folders = {
        folder: live_studio.client.models(folder) for folder in ("diffusion_models", "text_encoders", "vae")
    }
    names = [name for name in folders["diffusion_models"] if "sd3" in name]
    encoders = [name for name in folders["text_encoders"] if "clip_l" in name]
    vaes = [name for name in folders["vae"] if "sd3" in name]
    if not (names and encoders and vaes):
        pytest.skip("this server has no SD 3 in parts")
    wish = ModelWish("SD 3", diffusion_model=names[0], text_encoders=(encoders[0],), vae=vaes[0])
    assert_it_dreams(Dream(live_studio, choose_models(wish, live_studio.client)))


def assert_the_path_is_warm(dream: Dream) -> None:
    """Keyframes and in-betweens in turns: after the first of each, only what differs is run."""
    _, latent = dream.seen(dream.keyframe())
    ran = []
    for _ in range(3):
        dream.work(DecodeLatents(latent, *WORDS))
        ran += dream.ran
        _, latent = dream.seen(DreamStep(latent, *WORDS, dream.studio.server.seed(), 0.5))
        ran += dream.ran
    assert {"LoadLatent", "SaveLatent", "SaveImageWebsocket"} <= set(ran), "the count sees what runs"
    files = ("LoadLatent", "LoadImage")  # each names another file, every time
    assert [name for name in ran if name not in files and any(part in name for part in WARM)] == []


def test_turns_of_keyframes_and_in_betweens_load_nothing_and_encode_no_text(studio: Studio) -> None:
    models = choose_models(ModelWish(checkpoint=studio.server.checkpoint), studio.client)
    assert_the_path_is_warm(Dream(studio, models))


@pytest.mark.live
@pytest.mark.parametrize(
    "family", ["SD 1.5 LCM", "SDXL", "SDXL Turbo", "SD 3", "SD 3.5 Turbo", "Flux schnell"]
)
def test_a_familys_turns_load_nothing_and_encode_no_text(live_studio: Studio, family: str) -> None:
    assert_the_path_is_warm(Dream(live_studio, models_of(live_studio, family)))


@pytest.mark.live
def test_with_adapters_turns_load_nothing_and_encode_no_text(live_studio: Studio) -> None:
    dream = Dream(live_studio, models_of(live_studio, "SD 1.5"))
    material = upload_material(live_studio.server, live_studio.client)
    adapters = (
        ClipSkip(2),
        TiledVae(64, 16),
        Inpaint(material.mask),
        *(Lora(name, 0.5) for name in made_for(dream, "loras")[:1]),
        *(ControlNet(name, material.picture) for name in made_for(dream, "controlnet")[:1]),
        *(UpscaleModel(name) for name in live_studio.client.models("upscale_models")[:1]),
    )
    assert_the_path_is_warm(Dream(live_studio, dream.models, adapters))


@pytest.fixture
def material(live_studio: Studio) -> Material:
    return upload_material(live_studio.server, live_studio.client)


@pytest.fixture(params=[SD15.name, SD15_LCM.name])
def plain(live_studio: Studio, request: pytest.FixtureRequest) -> Dream:
    """Dreams as the two ways of sampling do, without any adapter."""
    return Dream(live_studio, models_of(live_studio, request.param))


def with_adapters(plain: Dream, *adapters: Adapter) -> Dream:
    return Dream(plain.studio, plain.models, adapters)


def made_for(dream: Dream, folder: str) -> list[str]:
    """Files whose names say that they fit the models."""
    line = dream.models.family.line
    names = dream.studio.client.models(folder)
    return [name for name in names if (family := family_of(name, default=None)) and family.line == line]


def first_made_for(dream: Dream, folder: str) -> str:
    for name in made_for(dream, folder):
        return name
    pytest.skip(f"this server has nothing in models/{folder} that is named after {dream.models.family.name}")


@pytest.mark.live
@pytest.mark.parametrize("kind", ["LoRA", "clip skip", "control net", "EasyCache"])
def test_what_works_on_model_or_words_gives_another_picture(
    plain: Dream, material: Material, kind: str
) -> None:
    request = plain.keyframe(seed=7)
    match kind:
        case "LoRA":
            adapter: Adapter = Lora(first_made_for(plain, "loras"), 1.0)
        case "clip skip":
            adapter = ClipSkip(6)
        case "control net":
            adapter = ControlNet(first_made_for(plain, "controlnet"), material.picture)
        case _:
            if not plain.studio.server.get("/object_info/EasyCache").json():
                pytest.skip("this server has no EasyCache")
            adapter = SpeedUp("EasyCache")
    before, _ = plain.seen(request)
    after, _ = with_adapters(plain, adapter).seen(request)
    assert after.shape == before.shape
    if kind != "EasyCache":  # two steps are too few to skip one
        assert (after != before).any()


@pytest.mark.live
def test_tiles_larger_than_the_picture_change_nothing(plain: Dream) -> None:
    request = plain.keyframe(seed=8)
    before, _ = plain.seen(request)
    after, _ = with_adapters(plain, TiledVae(512, 64)).seen(request)
    assert np.abs(after - before).max() <= 1


@pytest.mark.live
def test_smaller_tiles_keep_the_size(plain: Dream) -> None:
    picture, latent = with_adapters(plain, TiledVae(64, 16)).seen(plain.keyframe(size=(128, 128)))
    assert picture.shape == (128, 128, 3)
    assert plain.latent(latent).shape[2:] == (16, 16)


@pytest.mark.live
@pytest.mark.parametrize("method", ["noise_mask", "conditioning"])
def test_inpainting_keeps_what_is_masked(plain: Dream, material: Material, method: str) -> None:
    _, latent = plain.seen(plain.keyframe())
    before = plain.latent(latent)
    request = DreamStep(latent, *WORDS, plain.studio.server.seed(), 1.0)
    _, painted = with_adapters(plain, Inpaint(material.mask, method)).seen(request)
    change = np.abs(plain.latent(painted) - before).mean(axis=(0, 1, 2))
    kept, new = change[: len(change) // 4].mean(), change[-len(change) // 4 :].mean()
    assert new > 0.1 * np.abs(before).mean()
    if method == "noise_mask":  # the other one encodes the decoded picture, with whatever VAE there is
        assert kept < new / 10


@pytest.mark.live
def test_outpainting_keeps_the_size_and_paints_the_margin(plain: Dream) -> None:
    first, latent = plain.seen(plain.keyframe())
    request = DreamStep(latent, *WORDS, plain.studio.server.seed(), 0.5)
    outpaint = Outpaint(left_px=16, right_px=16, top_px=16, bottom_px=16, feather_px=4)
    wider, _ = with_adapters(plain, outpaint).seen(request)
    assert wider.shape == first.shape
    assert (wider != first).any()


@pytest.mark.live
def test_a_detail_pass_paints_larger_and_the_next_step_starts_as_small_as_before(plain: Dream) -> None:
    dream = with_adapters(plain, Detail(2.0, 0.5))
    first, latent = dream.seen(dream.keyframe())
    second, _ = dream.seen(DreamStep(latent, *WORDS, dream.studio.server.seed(), 0.5))
    assert first.shape == second.shape == (2 * SIZE_PX, 2 * SIZE_PX, 3)


@pytest.mark.live
def test_an_upscale_model_enlarges_pictures_and_leaves_latents(plain: Dream) -> None:
    names = plain.studio.client.models("upscale_models")
    if not names:
        pytest.skip("this server has no upscale models")
    dream = with_adapters(plain, UpscaleModel(names[0]))
    picture, latent = dream.seen(dream.keyframe())
    assert picture.shape[0] > SIZE_PX
    assert plain.latent(latent).shape[2:] == (SIZE_PX // 8, SIZE_PX // 8)
    end, _ = dream.work(DecodeLatents(latent, *WORDS))
    assert np.abs(pixels(end.pictures[0].data) - picture).max() <= 1


@pytest.mark.live
def test_another_shift_gives_another_picture(live_studio: Studio) -> None:
    plain = Dream(live_studio, models_of(live_studio, "SD 3"))
    request = plain.keyframe(seed=9)
    assert (plain.seen(request)[0] != with_adapters(plain, Shift(1.0)).seen(request)[0]).any()


@pytest.mark.live
def test_adapters_of_all_sorts_work_together(plain: Dream, material: Material) -> None:
    studio = plain.studio
    adapters: list[Any] = [Detail(1.5, 0.5), Outpaint(left_px=16), Inpaint(material.mask), ClipSkip(2)]
    adapters += [
        TiledVae(64, 16),
        *(Lora(name) for name in studio.client.models("loras") if "sd3" not in name),
    ]
    dream = with_adapters(plain, *adapters)
    _, latent = dream.seen(dream.keyframe())
    picture, _ = dream.seen(DreamStep(latent, *WORDS, studio.server.seed(), 0.5))
    assert picture.shape == (96, 96, 3)


def test_a_family_by_its_name_is_the_one_that_dreams(studio: Studio) -> None:
    models = choose_models(ModelWish(checkpoint=studio.server.checkpoint), studio.client)
    assert family_named(models.family.name) is models.family
    end, _ = Dream(studio, models).work(TextToImage(*WORDS, studio.server.seed(), SIZE_PX, SIZE_PX))
    assert pixels(end.pictures[0].data).shape == (SIZE_PX, SIZE_PX, 3)
