from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from backend.interpolation.looks import Step, difference, look_of


def picture(shift: int = 0, glow: int = 0, size: tuple[int, int] = (768, 432)) -> Image.Image:
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    wave = 100 + 60 * np.sin((x + shift) / 40) * np.cos(y / 30) + glow
    return Image.fromarray(np.stack([wave, wave, 255 - wave], -1).clip(0, 255).astype(np.uint8))


def test_a_thumbnail_is_small_whatever_the_picture() -> None:
    assert look_of(picture()).shape == (72, 128, 3)
    assert look_of(picture(size=(96, 64))).shape == (64, 96, 3)


def test_the_same_picture_is_no_step() -> None:
    assert difference(look_of(picture()), look_of(picture())) == Step(0.0, 0.0)


def test_what_moves_twice_as_far_looks_about_twice_as_far() -> None:
    still, near, far = (look_of(picture(shift)) for shift in (0, 8, 16))
    assert difference(still, far).motion / difference(still, near).motion == pytest.approx(2.0, rel=0.1)


def test_a_walk_is_as_long_as_its_steps_together() -> None:
    row = [look_of(picture(shift)) for shift in range(0, 40, 10)]
    steps = sum(difference(one, other).motion for one, other in itertools.pairwise(row))
    assert difference(row[0], row[-1]).motion == pytest.approx(steps, rel=0.15)


def test_pictures_of_different_sizes_are_not_compared() -> None:
    assert difference(look_of(picture()), look_of(picture(size=(640, 640)))).motion == float("inf")


def test_a_glow_without_edges_is_seen_by_its_masses_alone() -> None:
    step = difference(look_of(picture()), look_of(picture(glow=20)))
    assert step.masses > 10.0
    assert step.motion < 0.1 * step.masses
