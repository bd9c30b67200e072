from __future__ import annotations

import pytest

from backend.core import model_families as known
from backend.core.family_detection import FAMILY_NAMES, family_named, family_of
from backend.core.model_family import ModelFamily


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("dreamloop-painter.safetensors", known.EMBEDDED),
        ("sd_xl_base_1.0.safetensors", known.SDXL),
        ("folder\\DreamShaperXL.safetensors", known.SDXL),
        ("ponyDiffusionV6XL.safetensors", known.SDXL),
        ("sd_xl_turbo_1.0_fp16.safetensors", known.SDXL_TURBO),
        ("DreamShaperXL_Turbo_v2.safetensors", known.SDXL_TURBO),
        ("sdxl_lightning_8step.safetensors", known.SDXL_LIGHTNING),
        ("Juggernaut_X_RunDiffusion_Hyper-XL.safetensors", known.SDXL_LIGHTNING),
        ("lcm-sdxl.safetensors", known.SDXL_LCM),
        ("v1-5-pruned-emaonly-fp16.safetensors", known.SD15),
        ("sd-v1-4.ckpt", known.SD15),
        ("tiny-sd15.safetensors", known.SD15),
        ("dreamshaper_8LCM.safetensors", known.SD15_LCM),
        ("v2-1_512-ema-pruned.safetensors", known.SD2),
        ("v2-1_768-ema-pruned.safetensors", known.SD2_768),
        ("512-base-ema.ckpt", known.SD2),
        ("768-v-ema.ckpt", known.SD2_768),
        ("sd_turbo.safetensors", known.SD_TURBO),
        ("sd3_medium_incl_clips_t5xxlfp8.safetensors", known.SD3),
        ("sd3.5_large_fp8_scaled.safetensors", known.SD35),
        ("sd3.5_medium.safetensors", known.SD35),
        ("sd3.5_large_turbo.safetensors", known.SD35_TURBO),
        ("flux1-dev-fp8.safetensors", known.FLUX),
        ("flux1-krea-dev_fp8_scaled.safetensors", known.FLUX),
        ("flux1-schnell-fp8.safetensors", known.FLUX_SCHNELL),
        ("flux2_dev_fp8mixed.safetensors", known.FLUX2),
        ("flux-2-klein-4b.safetensors", known.FLUX2_KLEIN),
        ("flux-2-klein-9b-fp8.safetensors", known.FLUX2_KLEIN_9B),
        ("flux-2-klein-base-4b-fp8.safetensors", known.FLUX2_KLEIN_BASE),
        ("flux-2-klein-base-9b.safetensors", known.FLUX2_KLEIN_BASE_9B),
        ("hidream_i1_full_fp8.safetensors", known.HIDREAM),
        ("hidream_i1_dev_bf16.safetensors", known.HIDREAM_DEV),
        ("hidream_i1_fast_fp8.safetensors", known.HIDREAM_FAST),
        ("qwen_image_fp8_e4m3fn.safetensors", known.QWEN_IMAGE),
        ("qwen_image_2512_fp8_e4m3fn.safetensors", known.QWEN_IMAGE),
        ("z_image_turbo_bf16.safetensors", known.Z_IMAGE_TURBO),
        ("z_image_bf16.safetensors", known.Z_IMAGE),
    ],
)
def test_a_file_name_tells_the_family(name: str, family: ModelFamily) -> None:
    assert family_of(name, default=None) is family


@pytest.mark.parametrize(
    "name",
    [
        "my-own-mix.safetensors",
        "xl/my-own-mix.ckpt",
        "dreamlike_v2_1.safetensors",
        "hidream_o1_image.safetensors",
        "hidream_e1_full_bf16.safetensors",
        "qwen_image_2.1_bf16.safetensors",
        "",
    ],
)
def test_a_name_that_tells_nothing_gives_the_default_asked_for(name: str) -> None:
    assert family_of(name) is known.SD15
    assert family_of(name, default=None) is None


@pytest.mark.parametrize(
    ("name", "architecture", "title", "family"),
    [
        ("mystery.safetensors", "stable-diffusion-v1", "", known.SD15),
        ("mystery.safetensors", "stable-diffusion-v2-512", "", known.SD2),
        ("mystery.safetensors", "stable-diffusion-v2-768-v", "", known.SD2_768),
        ("mystery.safetensors", "stable-diffusion-xl-v1-base", "", known.SDXL),
        ("mystery.safetensors", "stable-diffusion-xl-v1-base", "Mystery Lightning", known.SDXL_LIGHTNING),
        ("mystery-turbo.safetensors", "stable-diffusion-xl-v1-base", "", known.SDXL_TURBO),
        ("mystery.safetensors", "stable-diffusion-3-medium", "", known.SD3),
        ("mystery.safetensors", "stable-diffusion-3.5-large", "", known.SD35),
        ("mystery.safetensors", "stable-diffusion-v3-medium", "", known.SD3),
        ("mystery.safetensors", "Flux-1-dev", "", known.FLUX),
        ("mystery.safetensors", "flux-1-schnell", "", known.FLUX_SCHNELL),
        ("mystery.safetensors", "flux-2-dev", "", known.FLUX2),
    ],
)
def test_what_a_file_says_of_itself_tells_the_line_and_its_names_the_variant(
    name: str, architecture: str, title: str, family: ModelFamily
) -> None:
    told = {"modelspec.architecture": architecture, "modelspec.title": title}
    assert family_of(name, metadata=told) is family


def test_what_a_file_says_of_itself_outweighs_its_name() -> None:
    told = {"modelspec.architecture": "stable-diffusion-v1"}
    assert family_of("not-really-sdxl.safetensors", metadata=told) is known.SD15


def test_an_architecture_that_nobody_knows_leaves_it_to_the_name() -> None:
    told = {"modelspec.architecture": "wonder-diffusion-9"}
    assert family_of("sd_xl_base_1.0.safetensors", metadata=told) is known.SDXL


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_family_is_found_under_its_name_however_it_is_written(name: str) -> None:
    assert family_named(name).name == name
    assert family_named(name.upper().replace(" ", "-").replace(".", "_")).name == name


def test_a_family_that_there_is_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"family = 'sdx': did you mean 'SDXL'\? one of embedded, "):
        family_named("sdx")
