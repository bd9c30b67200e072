from __future__ import annotations

import io

import numpy as np
from PIL import Image

from backend.engine import png
from backend.engine.pictures import Picture, encode_all


def noise(seed: int, height: int = 16, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_png_loses_nothing() -> None:
    assert np.array_equal(png.decode(png.encode(noise(1))), noise(1))


def test_transparency_is_dropped() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (2, 2), (9, 8, 7, 0)).save(buffer, "PNG")
    assert png.decode(buffer.getvalue()).tolist() == [[[9, 8, 7]] * 2] * 2


def test_a_batch_is_encoded_in_order_while_it_is_painted() -> None:
    pictures = encode_all(noise(seed) for seed in range(40))
    assert len(pictures) == 40
    for seed, picture in enumerate(pictures):
        assert np.array_equal(picture.pixels(), noise(seed))


def test_an_error_in_the_painting_ends_the_batch() -> None:
    def painted() -> object:
        yield noise(1)
        raise ZeroDivisionError

    try:
        encode_all(painted())  # type: ignore[arg-type]
    except ZeroDivisionError:
        return
    raise AssertionError


def test_a_picture_can_be_had_as_pixels_again() -> None:
    assert np.array_equal(Picture.of(noise(2)).pixels(), noise(2))
