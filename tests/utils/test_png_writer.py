from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.utils.picture_check import inspect_picture
from backend.utils.picture_formats import pixels_of
from backend.utils.png_writer import png_of


@given(width=st.integers(1, 70), height=st.integers(1, 70), seed=st.integers(0, 2**32 - 1))
def test_a_png_of_any_size_gives_its_pixels_back(width: int, height: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert np.array_equal(pixels_of(png_of(pixels)), pixels)


def test_pixels_that_lie_otherwise_in_memory_are_the_same_picture() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 40, 60), dtype=np.uint8).transpose(1, 2, 0)
    assert np.array_equal(pixels_of(png_of(pixels[:, ::-1])), pixels[:, ::-1])


@pytest.mark.parametrize("value", [0, 255])
def test_the_extremes_do_not_wrap(value: int) -> None:
    pixels = np.full((8, 8, 3), value, np.uint8)
    pixels[::2] = 255 - value
    assert np.array_equal(pixels_of(png_of(pixels)), pixels)


def test_it_stands_up_to_the_check_of_every_chunk() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    facts = inspect_picture(png_of(pixels), max_pixels=10_000)
    assert (facts.width, facts.height, facts.format) == (64, 40, "png")
