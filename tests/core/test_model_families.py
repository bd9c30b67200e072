from __future__ import annotations

import pytest

from backend.core.family_detection import family_of
from backend.core.model_families import EMBEDDED, FAMILIES, SD15, SDXL
from backend.core.model_family import ModelFamily


@pytest.mark.parametrize(
    ("checkpoint", "family"),
    [
        ("dreamloop-painter.safetensors", EMBEDDED),
        ("sd_xl_base_1.0.safetensors", SDXL),
        ("folder\\DreamShaperXL.safetensors", SDXL),
        ("v1-5-pruned-emaonly-fp16.safetensors", SD15),
        ("tiny-sd15.safetensors", SD15),
        ("my-own-mix.safetensors", SD15),
        ("xl/my-own-mix.ckpt", SD15),
    ],
)
def test_a_checkpoint_name_tells_the_family(checkpoint: str, family: ModelFamily) -> None:
    assert family_of(checkpoint) is family


def test_a_name_that_tells_nothing_gives_the_default_asked_for() -> None:
    assert family_of("my-own-mix.safetensors", default=None) is None
    assert family_of("tiny-sd15.safetensors", default=None) is SD15


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_size_that_the_latent_space_can_hold(family: ModelFamily) -> None:
    assert family.width % 8 == 0
    assert family.height % 8 == 0
