from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from backend.core import model_families as known
from backend.core.model_choice import Models, ModelWish, choose_models
from backend.errors import ModelMissing

FLUX_PARTS = {
    "diffusion_models": ("flux1-dev.safetensors",),
    "text_encoders": ("t5xxl_fp16.safetensors", "clip_l.safetensors"),
    "vae": ("flux2-vae.safetensors", "ae.safetensors"),
}


@dataclass
class Shelves:
    """A server's model folders, and what was asked of it."""

    folders: Mapping[str, tuple[str, ...]]
    told: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def models(self, folder: str) -> tuple[str, ...]:
        return self.folders.get(folder, ())

    def metadata(self, folder: str, name: str) -> Mapping[str, str]:
        self.asked.append(f"{folder}/{name}")
        return self.told.get(name, {})


def choose(folders: Mapping[str, tuple[str, ...]], wish: ModelWish | None = None) -> Models:
    return choose_models(wish or ModelWish(), Shelves(folders))


def test_without_a_wish_the_first_checkpoint_of_a_known_family_is_taken() -> None:
    models = choose({"checkpoints": ("mystery.ckpt", "sd_xl_base_1.0.safetensors", "tiny-sd15.safetensors")})
    assert models == Models(known.SDXL, checkpoint="sd_xl_base_1.0.safetensors")
    assert models.label == "sd_xl_base_1.0.safetensors"


def test_without_a_known_checkpoint_the_first_complete_set_of_parts_is_taken() -> None:
    models = choose({"checkpoints": ("mystery.ckpt",), **FLUX_PARTS})
    assert models == Models(
        known.FLUX,
        diffusion_model="flux1-dev.safetensors",
        text_encoders=("clip_l.safetensors", "t5xxl_fp16.safetensors"),
        vae="ae.safetensors",
    )
    assert models.label == "flux1-dev.safetensors"


def test_an_incomplete_set_is_passed_over_for_a_complete_one() -> None:
    folders = {
        "diffusion_models": ("hidream_i1_fast_fp8.safetensors", "z_image_turbo_bf16.safetensors"),
        "text_encoders": ("qwen_3_4b.safetensors",),
        "vae": ("ae.safetensors",),
    }
    assert choose(folders).family is known.Z_IMAGE_TURBO


def test_a_checkpoint_of_no_known_family_is_better_than_none() -> None:
    folders = {"checkpoints": ("mystery.ckpt",), "diffusion_models": ("flux1-dev.safetensors",)}
    assert choose(folders) == Models(known.SD15, checkpoint="mystery.ckpt")


@pytest.mark.parametrize("special", ["sd-v1-5-inpainting.ckpt", "sd_xl_refiner_1.0.safetensors"])
def test_a_checkpoint_of_a_special_kind_is_taken_only_where_there_is_no_other(special: str) -> None:
    assert choose({"checkpoints": (special, "mystery.ckpt")}).checkpoint == "mystery.ckpt"
    assert choose({"checkpoints": (special,)}).checkpoint == special
    assert (
        choose({"checkpoints": (special, "mystery.ckpt")}, ModelWish(checkpoint=special)).checkpoint
        == special
    )


def test_metadata_is_asked_for_where_names_tell_nothing_and_not_without_end() -> None:
    names = tuple(f"mystery-{number}.safetensors" for number in range(100))
    told = {"mystery-3.safetensors": {"modelspec.architecture": "stable-diffusion-xl-v1-base"}}
    shelves = Shelves({"checkpoints": names}, told)
    assert choose_models(ModelWish(), shelves) == Models(known.SDXL, checkpoint="mystery-3.safetensors")
    assert len(shelves.asked) < 40


def test_metadata_corrects_a_name_that_misleads() -> None:
    told = {"my-xl-size.safetensors": {"modelspec.architecture": "stable-diffusion-v1"}}
    shelves = Shelves({"checkpoints": ("my-xl-size.safetensors",)}, told)
    assert choose_models(ModelWish(), shelves).family is known.SD15


def test_a_wished_family_wins_over_names_and_metadata() -> None:
    told = {"sd_xl_base_1.0.safetensors": {"modelspec.architecture": "stable-diffusion-v1"}}
    shelves = Shelves({"checkpoints": ("sd_xl_base_1.0.safetensors",)}, told)
    wish = ModelWish(family="sdxl lcm", checkpoint="sd_xl_base_1.0.safetensors")
    assert choose_models(wish, shelves).family is known.SDXL_LCM


def test_a_wished_family_chooses_among_the_files() -> None:
    folders = {
        "checkpoints": ("tiny-sd15.safetensors", "sd_xl_base.safetensors", "sdxl_lightning.safetensors")
    }
    wish = ModelWish(family="SDXL Lightning")
    assert choose(folders, wish) == Models(known.SDXL_LIGHTNING, checkpoint="sdxl_lightning.safetensors")
    assert choose({"checkpoints": folders["checkpoints"][:2]}, wish).checkpoint == "sd_xl_base.safetensors"


def test_a_wished_family_takes_its_parts_where_no_checkpoint_is_of_it() -> None:
    folders = {"checkpoints": ("tiny-sd15.safetensors",), **FLUX_PARTS}
    assert choose(folders, ModelWish(family="flux dev")).diffusion_model == "flux1-dev.safetensors"


def test_a_wished_family_that_nothing_is_of_is_named() -> None:
    with pytest.raises(ModelMissing, match=r"any of the family HiDream\b.*tiny-sd15"):
        choose({"checkpoints": ("tiny-sd15.safetensors",)}, ModelWish(family="hidream"))


def test_a_family_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'SDXL'"):
        choose({}, ModelWish(family="sdxxl"))


@pytest.mark.parametrize(
    ("folder", "wish"),
    [
        ("checkpoints", ModelWish(checkpoint="sdxl.safetensors")),
        ("diffusion_models", ModelWish(diffusion_model="sdxl.safetensors")),
        ("text_encoders", ModelWish(checkpoint="sd_xl.safetensors", text_encoders=("sdxl.safetensors",))),
        ("vae", ModelWish(checkpoint="sd_xl.safetensors", vae="sdxl.safetensors")),
    ],
)
def test_a_wished_file_that_is_not_there_is_named_with_its_folder_and_the_nearest(
    folder: str, wish: ModelWish
) -> None:
    folders = dict.fromkeys(
        ("checkpoints", "diffusion_models", "text_encoders", "vae"), ("sd_xl.safetensors", "other.ckpt")
    )
    with pytest.raises(ModelMissing) as caught:
        choose(folders, wish)
    assert (caught.value.folder, caught.value.name) == (folder, "sdxl.safetensors")
    assert caught.value.available == folders[folder]
    assert "did you mean 'sd_xl.safetensors'" in str(caught.value)


@pytest.mark.parametrize(
    ("gone", "wished"), [("text_encoders", "clip_l.safetensors"), ("vae", "ae.safetensors")]
)
def test_a_diffusion_model_without_one_of_its_parts_says_which_kind_of_file_is_missing(
    gone: str, wished: str
) -> None:
    folders = {folder: names for folder, names in FLUX_PARTS.items() if folder != gone}
    for wish in (ModelWish(), ModelWish(diffusion_model="flux1-dev.safetensors")):
        with pytest.raises(ModelMissing) as caught:
            choose(folders, wish)
        assert (caught.value.folder, caught.value.name) == (gone, wished)


def test_of_several_incomplete_sets_the_first_is_told_of() -> None:
    with pytest.raises(ModelMissing) as caught:
        choose({"diffusion_models": ("qwen_image_fp8_e4m3fn.safetensors", "z_image_turbo_bf16.safetensors")})
    assert caught.value.name == "qwen_2.5_vl_7b_fp8_scaled.safetensors"


def test_wished_parts_are_taken_as_they_are() -> None:
    folders = {**FLUX_PARTS, "text_encoders": ("a.safetensors", "b.safetensors"), "vae": ("mine.pt",)}
    wish = ModelWish(
        diffusion_model="flux1-dev.safetensors",
        text_encoders=("b.safetensors", "a.safetensors"),
        vae="mine.pt",
    )
    models = choose(folders, wish)
    assert (models.text_encoders, models.vae) == (("b.safetensors", "a.safetensors"), "mine.pt")


def test_a_checkpoint_that_lacks_its_text_encoders_gets_them() -> None:
    folders = {
        "checkpoints": ("sd3.5_large.safetensors",),
        "text_encoders": ("clip_g.safetensors", "clip_l.safetensors", "t5xxl_fp8_e4m3fn_scaled.safetensors"),
    }
    assert choose(folders) == Models(
        known.SD35,
        checkpoint="sd3.5_large.safetensors",
        text_encoders=("clip_l.safetensors", "clip_g.safetensors", "t5xxl_fp8_e4m3fn_scaled.safetensors"),
    )
    assert choose({**folders, "vae": ("ae.safetensors", "sd3_vae.safetensors")}).vae == "sd3_vae.safetensors"
    with pytest.raises(ModelMissing, match=r"text_encoders model 'clip_l\.safetensors'"):
        choose({"checkpoints": folders["checkpoints"]})


def test_a_whole_checkpoint_needs_nothing_beside_it() -> None:
    whole = choose({"checkpoints": ("flux1-dev-fp8.safetensors",), **FLUX_PARTS})
    assert whole == Models(known.FLUX, checkpoint="flux1-dev-fp8.safetensors")


@pytest.mark.parametrize("family", [one for one in known.FAMILIES if one.parts], ids=lambda one: one.name)
def test_the_files_that_most_people_have_are_found_for_every_family(family: known.ModelFamily) -> None:
    everything: dict[str, tuple[str, ...]] = {"diffusion_models": ("model.safetensors",)}
    parts = [one.parts for one in known.FAMILIES if one.parts]
    everything["text_encoders"] = tuple(sorted({slot.example for one in parts for slot in one.encoders}))
    everything["vae"] = tuple(sorted({one.vae.example for one in parts}))
    models = choose(everything, ModelWish(family=family.name, diffusion_model="model.safetensors"))
    assert family.parts is not None
    assert models.text_encoders == tuple(slot.example for slot in family.parts.encoders)
    assert models.vae == family.parts.vae.example


def test_the_painter_of_the_embedded_engine_cannot_be_loaded_in_parts() -> None:
    with pytest.raises(ModelMissing, match="any that fits embedded"):
        choose(FLUX_PARTS, ModelWish(family="embedded", diffusion_model="flux1-dev.safetensors"))


def test_a_server_without_any_model_is_said_to_have_none() -> None:
    with pytest.raises(ModelMissing, match="none at all"):
        choose({})


def test_a_diffusion_model_that_tells_nothing_of_itself_needs_its_family_named() -> None:
    with pytest.raises(ValueError, match=r"mystery.safetensors .*comfyui.family .*Flux dev"):
        choose(
            {"diffusion_models": ("mystery.safetensors",)},
            ModelWish(diffusion_model="mystery.safetensors"),
        )
