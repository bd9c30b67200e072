from __future__ import annotations

from pathlib import Path

import pytest

from backend.core.model_families import FAMILIES
from backend.interpolation.latent_spaces import SPACES, space_named, space_of_line, usual_space


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("taesd_decoder.safetensors", "SD"),
        ("taesdxl_decoder.safetensors", "SDXL"),
        ("taesd3_decoder.safetensors", "SD 3"),
        ("taef1_decoder.safetensors", "Flux"),
        ("TAESDXL/diffusion_pytorch_model.safetensors", "SDXL"),
        ("taef1/diffusion_pytorch_model.safetensors", "Flux"),
        ("taesd/diffusion_pytorch_model.safetensors", "SD"),
        ("models/decoder.safetensors", None),
    ],
)
def test_the_name_of_a_file_or_its_folder_tells_whose_latents_it_decodes(path: str, name: str | None) -> None:
    found = space_named(Path("/models") / path)
    assert (None if found is None else found.name) == name


def test_every_family_with_pictures_latents_has_its_space_and_others_have_none() -> None:
    found = {family.line: space_of_line(family.line, family.latent_channels) for family in FAMILIES}
    named = {line: None if space is None else space.name for line, space in found.items()}
    assert named == {
        "embedded": None, "sd15": "SD", "sd2": "SD", "sdxl": "SDXL", "sd3": "SD 3", "flux": "Flux",
        "flux2": None, "hidream": "Flux", "qwen-image": None, "z-image": "Flux",
    }  # fmt: skip


def test_a_space_has_the_channels_of_the_latents() -> None:
    assert space_of_line("sdxl", 16) is None
    assert [usual_space(space.channels) is not None for space in SPACES] == [True] * len(SPACES)
    assert usual_space(128) is None
