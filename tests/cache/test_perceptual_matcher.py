"""Judging without weights: what is alike, what is not, and what cannot be judged."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from backend.cache.perceptual_matcher import PerceptualMatcher
from backend.cache.thumbnail import MAX_PIXELS, SIDE_PX, thumbnail
from backend.engine.oklab import oklab_from_srgb
from backend.errors import PictureRejected
from tests.cache.painted import ALTERATIONS, as_jpeg, as_png, dream, of_pixels, opened, painted, themes


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    """Three of each shipped theme, of different prompts and seeds."""
    return [painted(theme, prompt=k, seed=100 * n + k) for n, theme in enumerate(themes()) for k in range(3)]


@pytest.fixture(scope="module")
def embeddings(pictures: list[bytes]) -> np.ndarray:
    return PerceptualMatcher().embed(pictures)


def test_embeddings_have_unit_length_and_the_dimension_that_they_say(embeddings: np.ndarray) -> None:
    matcher = PerceptualMatcher()
    assert embeddings.shape == (30, matcher.identity.dimension)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-5)
    assert matcher.embed([]).shape == (0, matcher.identity.dimension)


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_a_picture_slightly_altered_is_a_duplicate_on_every_theme(
    pictures: list[bytes], embeddings: np.ndarray, alteration: str
) -> None:
    matcher = PerceptualMatcher()
    altered = matcher.embed([ALTERATIONS[alteration](picture) for picture in pictures])
    assert (altered * embeddings).sum(axis=1).min() > matcher.thresholds.duplicate


def test_different_pictures_are_not_even_near_on_any_theme(embeddings: np.ndarray) -> None:
    similar = embeddings @ embeddings.T - 2 * np.eye(len(embeddings))
    assert similar.max() < PerceptualMatcher().thresholds.near


def test_pictures_of_one_theme_are_more_alike_than_pictures_of_two(embeddings: np.ndarray) -> None:
    similar = embeddings @ embeddings.T
    theme = np.arange(len(embeddings)) // 3
    same = theme[:, None] == theme[None]
    np.fill_diagonal(similar, np.nan)
    assert np.nanmedian(similar[same]) > np.nanmedian(similar[~same]) + 0.2


def test_a_thumbnail_is_oklab_as_the_painter_has_it() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
    wished = oklab_from_srgb(torch.from_numpy(colours).permute(2, 0, 1) / 255).permute(1, 2, 0)
    np.testing.assert_allclose(thumbnail(of_pixels(colours)), wished.numpy(), atol=1e-3)


def test_a_dream_that_hardly_moves_is_near_and_one_that_moves_on_is_not() -> None:
    matcher, theme = PerceptualMatcher(), themes()[0]
    still = matcher.embed([frame for frame, _ in zip(dream(theme, denoise=0.03), range(2), strict=False)])
    moving = matcher.embed([frame for frame, _ in zip(dream(theme, denoise=0.45), range(8), strict=False)])
    assert still[0] @ still[1] > matcher.thresholds.near
    assert moving[0] @ moving[7] < matcher.thresholds.near


def test_a_small_jpeg_and_a_large_one_of_one_picture_are_the_same() -> None:
    large = painted(themes()[3], size_px=(1536, 864))
    small = as_png(opened(large).resize((384, 216), Image.Resampling.LANCZOS))
    matcher = PerceptualMatcher()
    one, other = matcher.embed([as_jpeg(large, 90), small])
    assert one @ other > matcher.thresholds.duplicate


def test_mirroring_a_picture_makes_another_one(pictures: list[bytes]) -> None:
    matcher = PerceptualMatcher()
    mirrored = of_pixels(np.asarray(opened(pictures[0]))[:, ::-1])
    one, other = matcher.embed([pictures[0], mirrored])
    assert one @ other < matcher.thresholds.near


def test_one_picture_gives_one_embedding_whatever_was_judged_before(pictures: list[bytes]) -> None:
    fresh = PerceptualMatcher().embed(pictures[-1:])
    used = PerceptualMatcher()
    for _ in range(2):
        used.scores(used.embed(pictures), pictures)
    np.testing.assert_array_equal(used.embed(pictures[-1:]), fresh)


def test_it_keeps_no_more_than_the_newest_pictures(pictures: list[bytes]) -> None:
    matcher = PerceptualMatcher()
    matcher.embed(pictures)
    assert len(matcher._thumbnails) == 16


def test_it_knows_no_words() -> None:
    assert PerceptualMatcher().embed_texts(["aurora"]) is None


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16", "1"])
def test_any_kind_of_png_is_judged(mode: str) -> None:
    grey = Image.fromarray(np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8))
    image = (
        Image.fromarray(np.asarray(grey).astype(np.uint16) * 256) if mode == "I;16" else grey.convert(mode)
    )
    matcher = PerceptualMatcher()
    vector = matcher.embed([as_png(image)])
    assert np.isfinite(vector).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3, 2), (5000, 4)])
def test_pictures_of_odd_sizes_are_judged(size: tuple[int, int]) -> None:
    matcher = PerceptualMatcher()
    picture = as_png(Image.new("RGB", size, (200, 30, 90)))
    vector = matcher.embed([picture])
    np.testing.assert_allclose(np.linalg.norm(vector), 1.0, atol=1e-5)
    assert 0.0 <= matcher.scores(vector, [picture])[0] <= 1.0


def _bomb() -> bytes:
    """The head of a PNG that says it is a hundred thousand pixels wide and high."""
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    body = struct.pack(">I", len(head)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + body + b"\x00\x00\x00\x00IEND\xaeB`\x82"


def _gif() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "GIF")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"not a picture", _bomb(), _gif(), as_png(Image.effect_noise((99, 99), 50))[:-4000]],
    ids=["empty", "text", "bomb", "gif", "cut off"],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(PictureRejected):
        PerceptualMatcher().embed([data])


def test_a_picture_too_large_is_refused_before_it_is_decoded() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    picture = as_png(Image.new("1", (side, side)))
    with pytest.raises(PictureRejected, match="more than 50000000 pixels"):
        PerceptualMatcher().embed([picture])
