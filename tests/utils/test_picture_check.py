from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from backend.errors import PictureRejected
from backend.utils.picture_check import PictureFacts, inspect_picture, to_png

Pixels = NDArray[np.uint8]
SIZE = (96, 160, 3)
LIMIT = 4096 * 4096


def encoded(pixels: Pixels, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def field(low: float, high: float, *, noise: float = 1.0, seed: int = 1) -> Pixels:
    """A soft picture: a few waves and a little noise between two brightnesses."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]] / SIZE[1]
    waves = [np.sin(rng.uniform(2, 9) * x + rng.uniform(2, 9) * y + rng.uniform(0, 6)) for _ in range(3)]
    unit = (np.stack(waves, axis=-1) + 1) / 2
    return np.clip(low + unit * (high - low) + rng.normal(0, noise, SIZE), 0, 255).astype(np.uint8)


def rejected(data: bytes, max_pixels: int = LIMIT) -> PictureRejected:
    with pytest.raises(PictureRejected) as caught:
        inspect_picture(data, max_pixels=max_pixels)
    return caught.value


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_picture_of_each_format_passes_with_its_facts(kind: str) -> None:
    facts = inspect_picture(encoded(field(20, 230), kind), max_pixels=LIMIT)
    assert facts == PictureFacts(160, 96, kind)  # type: ignore[arg-type]


def night_sky() -> Pixels:
    sky = field(0, 5, noise=1.5)
    rng = np.random.default_rng(4)
    for y, x in zip(rng.integers(0, SIZE[0], 60), rng.integers(0, SIZE[1], 60), strict=True):
        sky[y, x] = 255
    return sky


def one_lamp() -> Pixels:
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    glow = 190 * np.exp(-(((x - 80) / 12) ** 2 + ((y - 48) / 12) ** 2))
    return np.clip(glow[..., None] + field(1, 6), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "pixels",
    [field(2, 18), night_sky(), one_lamp(), field(236, 252), field(118, 124), field(0, 255, noise=30)],
    ids=["dark", "night sky", "one lamp", "snow", "fog", "noisy"],
)
def test_dark_pale_and_quiet_pictures_are_legitimate(pixels: Pixels) -> None:
    inspect_picture(encoded(pixels), max_pixels=LIMIT)
    inspect_picture(encoded(pixels, "JPEG", quality=95), max_pixels=LIMIT)


def nearly_all(colour: int, share: float) -> Pixels:
    pixels = field(20, 230).reshape(-1, 3)
    chosen = np.random.default_rng(2).permutation(len(pixels))[: int(share * len(pixels))]
    pixels[chosen] = colour
    return pixels.reshape(SIZE)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros(SIZE, np.uint8), "black"),
        (np.full(SIZE, 3, np.uint8), "black"),
        (np.full(SIZE, 127, np.uint8), "flat"),
        (np.full(SIZE, 255, np.uint8), "flat"),
        (nearly_all(0, 0.99), "black"),
        (nearly_all(200, 0.99), "flat"),
        (np.where(np.indices(SIZE)[1] % 2, 0, 255).astype(np.uint8), "flat"),
        (np.random.default_rng(3).integers(120, 122, SIZE).astype(np.uint8), "flat"),
    ],
    ids=["black", "nearly black", "grey", "white", "NaN-black", "99 % grey", "two colours", "rounding noise"],
)
def test_what_an_overflowed_vae_paints_is_refused(pixels: Pixels, reason: str) -> None:
    error = rejected(encoded(pixels))
    assert str(error).startswith(f"{error.reason}: ")
    assert error.reason == reason


def test_a_flat_jpeg_is_refused_in_spite_of_its_noise() -> None:
    pixels = np.full(SIZE, 90, np.uint8)
    pixels[::8, ::8] += 2
    assert rejected(encoded(pixels, "JPEG", quality=90)).reason == "flat"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_cut_off_anywhere_is_broken(kind: str) -> None:
    whole = encoded(field(20, 230), kind)
    cuts = [0, 1, 7, 8, 20, 33, 50, len(whole) // 2, len(whole) - 13, *range(len(whole) - 12, len(whole))]
    assert {rejected(whole[:cut]).reason for cut in cuts} == {"broken"}


@settings(max_examples=60, deadline=None)
@given(st.integers(min_value=8), st.integers(1, 255))
def test_one_damaged_byte_of_a_png_is_noticed(position: int, change: int) -> None:
    data = bytearray(encoded(field(20, 230)))
    data[position % (len(data) - 8) + 8] ^= change
    assert rejected(bytes(data)).reason == "broken"


@given(st.binary(max_size=200))
def test_bytes_that_are_no_picture_are_broken(data: bytes) -> None:
    assert rejected(data).reason == "broken"


def test_something_behind_the_picture_is_refused() -> None:
    assert rejected(encoded(field(20, 230)) + b"<script>").reason == "broken"


def test_other_formats_are_refused() -> None:
    assert rejected(encoded(field(20, 230), "BMP")).reason == "broken"
    assert rejected(encoded(field(20, 230), "GIF")).reason == "broken"


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    assert "more than 1000 pixels" in str(rejected(encoded(field(20, 230)), max_pixels=1000))
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert rejected(bomb).reason == "broken"


def test_transparency_palettes_and_greys_can_be_judged() -> None:
    picture = Image.fromarray(field(20, 230))
    for mode in ("RGBA", "L", "P"):
        file = io.BytesIO()
        picture.convert(mode).save(file, "PNG")
        assert inspect_picture(file.getvalue(), max_pixels=LIMIT).width == 160


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_any_picture_can_become_a_png(kind: str) -> None:
    data = encoded(field(20, 230), kind)
    png = to_png(data)
    assert inspect_picture(png, max_pixels=LIMIT) == PictureFacts(160, 96, "png")
    both = [np.asarray(Image.open(io.BytesIO(d)).convert("RGB"), np.int16) for d in (data, png)]
    assert (both[0] == both[1]).all()


def test_a_broken_picture_cannot_become_a_png() -> None:
    with pytest.raises(PictureRejected):
        to_png(b"nothing")
