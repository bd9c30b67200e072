from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from backend.engine.latent_nodes import resized, upscale
from backend.engine.node_type import NodeCall
from backend.engine.painting import Latent

METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "bislerp")


def latent(rows: int = 8, columns: int = 16) -> Latent:
    return np.random.default_rng(1).normal(size=(2, 4, rows, columns)).astype(np.float32)


def upscaled(before: Latent, width: int, height: int, crop: str = "disabled") -> Latent:
    inputs = {"samples": before, "upscale_method": "bilinear", "width": width, "height": height, "crop": crop}
    nothing = cast(Any, None)
    (after,) = upscale(NodeCall(inputs, {}, {}, nothing, nothing, nothing)).outputs
    assert isinstance(after, np.ndarray)
    return after


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(4, 8), (16, 32), (7, 13)])
def test_every_method_gives_the_size_that_was_asked_for(method: str, size: tuple[int, int]) -> None:
    after = resized(latent(), size, method)
    assert after.shape == (2, 4, *size)
    assert after.dtype == np.float32
    assert np.isfinite(after).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_flat_latent_stays_as_it_is(method: str) -> None:
    flat = np.broadcast_to(np.float32([1, -2, 3, 0.5])[None, :, None, None], (1, 4, 8, 16))
    assert np.allclose(resized(flat, (16, 32), method), flat[:, :, :1, :1], atol=1e-5)


def test_spherical_scaling_keeps_the_length_of_the_cells_which_linear_scaling_shortens() -> None:
    before = latent()
    length = float(np.linalg.norm(before, axis=1).mean())
    spherical = float(np.linalg.norm(resized(before, (4, 8), "bislerp"), axis=1).mean())
    linear = float(np.linalg.norm(resized(before, (4, 8), "bilinear"), axis=1).mean())
    assert spherical == pytest.approx(length, rel=0.05)
    assert linear < 0.8 * length


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(256, 128, (16, 32)), (256, 0, (16, 32)), (0, 128, (16, 32)), (0, 0, (8, 16)), (8, 128, (16, 8))],
)
def test_sides_that_are_not_given_follow_from_the_others_and_none_is_below_64_px(
    width: int, height: int, expected: tuple[int, int]
) -> None:
    assert upscaled(latent(), width, height).shape[-2:] == expected


def test_cropping_takes_the_middle() -> None:
    before = np.zeros((1, 4, 8, 16), np.float32)
    before[..., 4:12] = 1.0
    assert upscaled(before, 128, 128, crop="center").min() == 1.0
    assert upscaled(before, 128, 128).min() == 0.0
