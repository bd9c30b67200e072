from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import features

from backend.config_values import _read_format
from backend.core.frame_buffer import Frame, FrameKind
from backend.core.frame_shelf import FrameShelf
from backend.utils.picture_check import encoded_for, inspect_picture
from backend.utils.picture_formats import (
    AS_IT_COMES,
    FORMATS,
    Encoding,
    PictureFormat,
    by_pillow,
    pixels_of,
)
from backend.utils.status_schema import FrameStatus
from tests.fakes.memory_engine import picture

LIMIT = 10_000


def difference(one: bytes, other: bytes) -> float:
    return float(np.abs(pixels_of(one).astype(int) - pixels_of(other).astype(int)).mean())


@pytest.mark.parametrize("name", list(FORMATS))
def test_what_is_encoded_is_whole_and_nearly_the_picture(name: str) -> None:
    made = Encoding(name).encode(pixels_of(picture(1)))
    assert inspect_picture(made, max_pixels=LIMIT).format == name
    assert FORMATS[name].damage(made) is None
    assert difference(made, picture(1)) < 4.0


@pytest.mark.parametrize("name", list(FORMATS))
def test_what_is_cut_off_counts_as_damaged(name: str) -> None:
    assert FORMATS[name].damage(Encoding(name).encode(pixels_of(picture(1)))[:-9]) is not None


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_less_quality_is_fewer_bytes(name: str) -> None:
    pixels = pixels_of(picture(1))
    assert len(Encoding(name, 30).encode(pixels)) < 0.8 * len(Encoding(name, 95).encode(pixels))


@pytest.mark.parametrize("encoding", [AS_IT_COMES, Encoding("png")])
def test_a_picture_that_is_right_already_stays_as_it_came_to_the_byte(encoding: Encoding) -> None:
    facts = inspect_picture(picture(1), max_pixels=LIMIT)
    assert encoded_for(encoding, picture(1), facts) == (picture(1), facts)


def test_a_picture_of_another_format_is_encoded_anew_and_the_facts_say_so() -> None:
    data, facts = encoded_for(Encoding("webp"), picture(1), inspect_picture(picture(1), max_pixels=LIMIT))
    assert inspect_picture(data, max_pixels=LIMIT) == facts
    assert facts.format == "webp"


AVIF = PictureFormat(
    suffix=".avif",
    media_type="image/avif",
    encode=lambda pixels, quality: by_pillow(pixels, "AVIF", quality=quality, speed=10),
)
"""The example of ARCHITECTURE.md."""


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_one_entry_is_all_that_another_format_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "avif", AVIF)
    assert _read_format("avif") == "avif"  # display.format: avif
    came = picture(1)
    data, facts = encoded_for(Encoding("avif"), came, inspect_picture(came, max_pixels=LIMIT))
    assert difference(data, came) < 4.0
    assert inspect_picture(data, max_pixels=LIMIT) == facts

    shelf = FrameShelf(tmp_path, keep_s=60, budget_bytes=10**6, max_pixels=LIMIT, clock=partial(float, 0))
    shelf.open()
    shown = shelf.show(Frame(data, facts, FrameKind.IN_BETWEEN, "sea", 0.1))
    assert shown.path.name == "000000001.avif"
    assert inspect_picture(shelf.current_path.read_bytes(), max_pixels=LIMIT).format == "png"
    told = FrameStatus(
        sequence=1,
        file="frames/000000001.avif",
        sha256=shown.sha256,
        bytes=shown.bytes,
        width=facts.width,
        height=facts.height,
        format=facts.format,
        kind="in_between",
        theme="sea",
        shown_at="",
        duration_s=0.1,
    )
    assert told.format == "avif"
