"""The plain measures: each tells what it says, and the shipped themes have the makings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import ImageFilter

from backend.cache.beauty import beauty, measures
from backend.cache.thumbnail import thumbnail
from backend.engine.oklab import linear_from_oklab, srgb_from_linear
from tests.cache.painted import as_png, of_pixels, opened, painted, themes

NEBULA = next(theme for theme in themes() if theme.name == "nebula")
SPOILT = ["flat", "noise", "fog", "dark", "blown out", "checkers"]


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.asarray(opened(painted(NEBULA, seed=7)), np.float32)


def _spoilt(how: str, pixels: np.ndarray) -> bytes:
    noise = np.random.default_rng(0)
    squares = np.kron(np.indices((27, 48)).sum(axis=0) % 2, np.ones((8, 8)))
    made = {
        "flat": np.full_like(pixels, 120),
        "noise": noise.integers(0, 256, pixels.shape),
        "fog": 0.1 * pixels + 120,
        "dark": 0.1 * pixels,
        "blown out": 8.0 * pixels + 100,
        "checkers": 255 * squares[..., None].repeat(3, axis=2),
    }
    return of_pixels(made[how])


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_picture_is_far_less_beautiful(how: str, picture: np.ndarray) -> None:
    assert beauty(thumbnail(_spoilt(how, picture))) < 0.6 * beauty(thumbnail(of_pixels(picture)))


@pytest.mark.parametrize("theme", themes(), ids=lambda theme: theme.name)
def test_every_shipped_theme_has_the_makings(theme) -> None:
    assert beauty(thumbnail(painted(theme, prompt=1, seed=3))) > 0.5


def test_fog_has_too_little_contrast_and_nothing_else_to_it(picture: np.ndarray) -> None:
    fog = measures(thumbnail(_spoilt("fog", picture)))
    assert fog.contrast < 0.1
    assert fog.exposure == 1.0


def test_noise_has_no_edges(picture: np.ndarray) -> None:
    whole = measures(thumbnail(of_pixels(picture)))
    grain = np.random.default_rng(1).normal(0, 60, picture.shape)
    assert measures(thumbnail(_spoilt("noise", picture))).edges == 0.0
    assert measures(thumbnail(of_pixels(picture + grain))).edges < 0.7 * whole.edges


def test_a_blur_has_few_edges(picture: np.ndarray) -> None:
    blurred = as_png(opened(of_pixels(picture)).filter(ImageFilter.GaussianBlur(40)))
    assert measures(thumbnail(blurred)).edges < 0.5 * measures(thumbnail(of_pixels(picture))).edges


def test_exposure_falls_with_the_light(picture: np.ndarray) -> None:
    exposures = [
        measures(thumbnail(of_pixels(picture * share))).exposure for share in (1.0, 0.5, 0.25, 0.1, 0.0)
    ]
    assert exposures == sorted(exposures, reverse=True)
    assert exposures[-1] == 0.0


def test_grey_has_a_quarter_of_the_colour_and_two_opposite_hues_have_more_than_all_hues() -> None:
    grey = np.tile(np.linspace(30, 220, 384)[None, :, None], (216, 1, 3))
    assert measures(thumbnail(of_pixels(grey))).colour == pytest.approx(0.25, abs=0.01)
    across = np.linspace(0, 2 * np.pi, 384)[None].repeat(216, axis=0)
    rainbow = of_hues(across)
    two_opposite = of_hues(np.where(across < np.pi, 0.8, 0.8 + np.pi))
    assert measures(thumbnail(two_opposite)).colour > measures(thumbnail(rainbow)).colour + 0.15


def of_hues(angles: np.ndarray) -> bytes:
    """Equally light and equally strong colours of these angles in Oklab."""
    lab = np.stack([np.full_like(angles, 0.7), 0.09 * np.cos(angles), 0.09 * np.sin(angles)])
    rgb = srgb_from_linear(linear_from_oklab(torch.from_numpy(lab))).numpy()
    return of_pixels(255 * rgb.transpose(1, 2, 0))


def test_a_score_is_between_nothing_and_one_for_every_single_colour() -> None:
    for colour in ((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)):
        assert 0.0 < beauty(thumbnail(of_pixels(np.full((20, 20, 3), colour)))) < 0.3
