from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from backend.cache.perceptual_matcher import PerceptualMatcher
from backend.cache.seeds import covering
from backend.engine.png import decode
from backend.utils.picture_check import inspect_picture, to_png
from backend.utils.picture_colours import rgb_of
from backend.utils.picture_formats import pixels_of

RAMP = np.linspace(0, 65_535, 64 * 64).reshape(64, 64).astype(np.uint16)
EIGHT = np.rint(RAMP / 257).astype(np.uint8)


def _png(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def _grey(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))[:, :, 0]


@pytest.mark.parametrize("kind", ["I;16", "I;16B", "I"])
def test_greys_of_sixteen_bits_are_scaled_to_eight_exactly(kind: str) -> None:
    every = np.arange(65_536).reshape(256, 256)
    image = Image.fromarray(every.astype(np.int32 if kind == "I" else np.uint16))
    if kind == "I;16B":
        image = Image.frombytes("I;16B", (256, 256), every.astype(">u2").tobytes())
    assert image.mode == kind
    assert np.array_equal(np.asarray(rgb_of(image))[:, :, 1], np.rint(every / 257).astype(np.uint8))


def test_what_is_not_of_sixteen_bits_is_converted_as_ever() -> None:
    image = Image.effect_noise((16, 16), 50)
    assert np.array_equal(np.asarray(rgb_of(image))[:, :, 2], np.asarray(image))


def test_a_seed_of_sixteen_bits_keeps_its_greys() -> None:
    deep, plain = covering(_png(RAMP), (64, 64)), covering(_png(EIGHT), (64, 64))
    assert np.abs(_grey(deep).astype(int) - _grey(plain)).max() <= 1


def test_what_shines_through_a_seed_of_sixteen_bits_is_black() -> None:
    pixels = np.full((32, 32), 40_000, np.uint16)
    pixels[:, 16:] = 50_000
    covered = _grey(covering(_png(pixels, transparency=50_000), (32, 32)))
    assert (covered[16, 4], covered[16, 28]) == (156, 0)


def test_a_picture_of_sixteen_bits_looks_to_the_matcher_like_the_same_of_eight() -> None:
    deep, plain = PerceptualMatcher().embed([_png(RAMP), _png(EIGHT)])
    assert float(deep @ plain) > 0.999


def test_a_picture_of_sixteen_bits_is_no_flat_white_to_whoever_checks_or_decodes_it() -> None:
    data = _png(RAMP)
    assert inspect_picture(data, max_pixels=10**6).width == 64
    assert np.array_equal(_grey(to_png(data)), EIGHT)
    assert np.array_equal(pixels_of(data)[:, :, 0], EIGHT)
    assert np.array_equal(decode(data)[:, :, 0], EIGHT)
