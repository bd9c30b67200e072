from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from backend.interpolation.seam import Seam, in_size, met

Pixels = NDArray[np.uint8]
HEIGHT, WIDTH = 120, 180


def scene(seed: int, noise: float = 6.0) -> Pixels:
    """Soft colours with fine grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(30, 225, (5, 8, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.float32)
    return np.clip(soft + rng.normal(0, noise, soft.shape), 0, 255).astype(np.uint8)


def as_other_vae(picture: Pixels) -> Pixels:
    """A little off in tone, and without the grain."""
    small = Image.fromarray(picture).resize((WIDTH // 4, HEIGHT // 4), Image.Resampling.BOX)
    soft = np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.float32)
    return np.clip(0.93 * soft + np.array([9.0, 2.0, -5.0]), 0, 255).astype(np.uint8)


def rms(one: Pixels, other: Pixels) -> float:
    return float(np.sqrt(np.square(one.astype(float) - other.astype(float)).mean()))


def grain(picture: Pixels) -> float:
    return float(np.abs(np.diff(picture.astype(float), axis=1)).mean())


def test_at_its_ends_a_walk_is_the_keyframes_themselves() -> None:
    start, end = scene(1), scene(2)
    seams = Seam.between(start, as_other_vae(start)), Seam.between(end, as_other_vae(end))
    assert np.abs(met(as_other_vae(start), 0.0, *seams).astype(int) - start).max() <= 1
    assert np.abs(met(as_other_vae(end), 1.0, *seams).astype(int) - end).max() <= 1


def test_nothing_pops_one_step_from_the_keyframe() -> None:
    """With and without: another VAE differs by many steps of colour at once."""
    start, end = scene(1), scene(2)
    seams = Seam.between(start, as_other_vae(start)), Seam.between(end, as_other_vae(end))
    near = as_other_vae(start)  # one fortieth of the way the picture itself has hardly moved
    assert rms(near, start) > 5.0
    assert rms(met(near, 1 / 40, *seams), start) < 1.0


def test_the_tone_is_right_all_the_way_where_both_ends_agree_on_it() -> None:
    picture = scene(3, noise=0.0)
    seam = Seam.between(picture, as_other_vae(picture))
    for t in (0.1, 0.3, 0.5, 0.8):
        mixed = met(as_other_vae(picture), t, seam, seam)
        assert abs(float(mixed.mean()) - float(picture.mean())) < 0.5


def test_fine_grain_fades_and_never_doubles() -> None:
    start, end = scene(1), scene(2)
    seams = Seam.between(start, as_other_vae(start)), Seam.between(end, as_other_vae(end))
    sharp = grain(start)
    found = [grain(met(as_other_vae(start), t, *seams)) for t in np.linspace(0.0, 1.0, 9)]
    assert max(found) < 1.2 * sharp
    assert min(found) > 1.2 * grain(as_other_vae(start))


def test_the_way_into_a_keyframe_and_out_of_it_is_even() -> None:
    """Steps of t change the picture by no more near the keyframe than in the middle: no kink in sharpness."""
    start, end = scene(1), scene(2)
    seams = Seam.between(start, as_other_vae(start)), Seam.between(end, as_other_vae(end))
    soft = as_other_vae(start)
    shown = [met(soft, t, *seams) for t in np.linspace(0.0, 1.0, 21)]
    steps = [rms(one, other) for one, other in itertools.pairwise(shown)]
    assert steps[0] < np.median(steps) * 1.2
    assert steps[-1] < np.median(steps) * 1.2


def test_pictures_of_the_same_vae_are_left_as_they_are() -> None:
    picture = scene(1)
    rounded = np.clip(picture.astype(int) + np.random.default_rng(0).integers(-2, 3, picture.shape), 0, 255)
    seam = Seam.between(picture, rounded.astype(np.uint8))
    assert met(picture, 0.3, seam, None) is picture


def test_without_keyframes_there_is_nothing_to_meet() -> None:
    picture = scene(1)
    assert met(picture, 0.5, None, None) is picture


def test_one_keyframe_alone_is_met_too() -> None:
    start = scene(1)
    seam = Seam.between(start, as_other_vae(start))
    assert rms(met(as_other_vae(start), 0.0, seam, None), start) < 1.0
    assert rms(met(as_other_vae(start), 1.0, seam, None), as_other_vae(start)) < 1.0


@pytest.mark.parametrize("shape", [(8, 8, 3), (33, 64, 3), (97, 41, 3), (1, 200, 3)])
def test_pictures_of_any_size_are_met(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(5)
    shown, decoded = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
    met_there = met(decoded, 0.0, Seam.between(shown, decoded), None)
    assert np.abs(met_there.astype(int) - shown).max() <= 1


def test_a_small_vae_of_the_same_latents_fits_and_a_grey_or_foreign_picture_does_not() -> None:
    shown = scene(1)
    grey = np.full_like(shown, 128)
    assert Seam.between(shown, as_other_vae(shown)).misfit < 0.3
    assert Seam.between(shown, grey).misfit > 0.7
    assert Seam.between(shown, scene(7)).misfit > 0.7
    assert Seam.between(shown, np.ascontiguousarray(shown[..., ::-1])).misfit > 0.7


def test_a_keyframe_without_contrast_does_not_ask_for_the_impossible() -> None:
    rng = np.random.default_rng(2)
    night = rng.integers(2, 9, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    assert Seam.between(night, as_other_vae(night)).misfit < 0.5


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    picture = scene(1)
    assert in_size(picture, (WIDTH, HEIGHT)) is picture
    assert in_size(picture, (90, 60)).shape == (60, 90, 3)
