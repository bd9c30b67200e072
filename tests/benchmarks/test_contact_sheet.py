"""Sheets: pictures in their places, files of their size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.contact_sheet import GAP_PX, LABEL_PX, save_jpeg, save_webp, scaled, sheet
from benchmarks.photos import photos


def flat(tone: int) -> np.ndarray:
    return np.full((36, 64, 3), tone, np.uint8)


def test_pictures_stand_in_reading_order() -> None:
    whole = sheet([flat(tone) for tone in (10, 60, 110, 160, 210)], 3, 32)
    assert whole.size == (3 * 32 + 2 * GAP_PX, 2 * 18 + GAP_PX)
    middles = [
        (16 + column * (32 + GAP_PX), 9 + row * (18 + GAP_PX)) for row in (0, 1) for column in (0, 1, 2)
    ]
    assert [whole.getpixel(at)[0] for at in middles[:5]] == [10, 60, 110, 160, 210]


def test_labels_make_room_for_themselves() -> None:
    assert sheet([flat(9)], 1, 64, ["aurora"]).height == 36 + LABEL_PX


def test_a_file_gets_the_best_quality_that_fits(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (200, 300, 3), np.uint8))
    large = save_jpeg(noise, tmp_path / "large.jpg", 10**6)
    small = save_jpeg(noise, tmp_path / "small.jpg", large // 2)
    assert small <= large // 2 < large == (tmp_path / "large.jpg").stat().st_size
    with pytest.raises(ValueError, match=r"tiny\.jpg"):
        save_jpeg(noise, tmp_path / "tiny.jpg", 100)


def test_a_clip_is_endless_and_has_its_pace(tmp_path: Path) -> None:
    frames = [scaled(flat(tone), 32) for tone in range(0, 250, 50)]
    save_webp(frames, tmp_path / "clip.webp", 10, 10**6)
    with Image.open(tmp_path / "clip.webp") as clip:
        assert (clip.n_frames, clip.info["loop"]) == (5, 0)
        clip.seek(1)
        clip.load()
        assert clip.info["duration"] == 100


def test_photos_are_the_same_each_time_and_all_different() -> None:
    one, again = photos(96, 56), photos(96, 56)
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert len({pixels.tobytes() for pixels in one.values()}) == len(one) == 5
    assert all(pixels.shape == (56, 96, 3) for pixels in one.values())
