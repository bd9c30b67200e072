"""Texts go into a PNG and come out of it; the picture stays as it was, and no bytes can do harm."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from backend.utils.png_text import MAX_TEXT_BYTES, text_of, with_text


def png(**texts: str) -> bytes:
    info, file = PngInfo(), io.BytesIO()
    for key, text in texts.items():
        info.add_text(key, text)
    pixels = np.random.default_rng(1).integers(0, 255, (24, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body) if crc is None else crc)


def behind_the_header(picture: bytes, added: bytes) -> bytes:
    return picture[:33] + added + picture[33:]


def texts_by_pillow(picture: bytes) -> dict[str, str]:
    with Image.open(io.BytesIO(picture)) as image:
        image.load()
        return dict(image.text)


def pixels_of(picture: bytes) -> bytes:
    with Image.open(io.BytesIO(picture)) as image:
        return image.tobytes()


def test_what_goes_in_comes_out_by_us_and_by_pillow() -> None:
    texts = {"prompt": '{"1": {}}', "Title": "Köln bei Nacht", "Wish": "une forêt 🌲 日本"}
    told = with_text(png(), texts)
    assert text_of(told) == texts
    assert texts_by_pillow(told) == texts
    assert pixels_of(told) == pixels_of(png())


def test_what_latin_1_can_say_is_plain_text_and_the_rest_is_unicode_text() -> None:
    told = with_text(png(), {"a": "é", "b": "日"})
    assert b"tEXta\0\xe9" in told
    assert b"iTXtb\0\0\0\0\0" + "日".encode() in told


def test_nothing_but_the_added_chunks_changes() -> None:
    picture = png(kept="as it was")
    told = with_text(picture, {"new": "x"})
    assert told == behind_the_header(picture, chunk(b"tEXt", b"new\0x"))


def test_a_text_takes_the_place_of_the_one_before_it() -> None:
    once = with_text(png(other="kept"), {"a": "old", "b": "old 日"})
    twice = with_text(once, {"b": "new", "a": "new"})
    assert text_of(twice) == {"other": "kept", "a": "new", "b": "new"}
    assert twice.count(b"tEXta\0") == 1
    assert b"old" not in twice


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_other_formats_stay_untouched(form: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, form)
    assert with_text(file.getvalue(), {"a": "b"}) == file.getvalue()
    assert text_of(file.getvalue()) == {}


def test_packed_texts_of_others_are_read() -> None:
    info, file = PngInfo(), io.BytesIO()
    info.add_text("z", "packed", zip=True)
    info.add_itxt("i", "packed 日", zip=True)
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    assert text_of(file.getvalue()) == {"z": "packed", "i": "packed 日"}


@pytest.mark.parametrize("key", ["", " a", "a ", "a\nb", "a\0b", "日", "k" * 80])
def test_keywords_that_png_forbids_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        with_text(png(), {key: "x"})


@pytest.mark.parametrize(
    "text", ["a\0b", "\ud800", "x" * (MAX_TEXT_BYTES + 1)], ids=["NUL", "surrogate", "long"]
)
def test_texts_that_png_cannot_carry_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        with_text(png(), {"a": text})


def test_a_small_file_cannot_unpack_to_much() -> None:
    bomb = zlib.compress(b"a" * (4 * MAX_TEXT_BYTES), 9)
    for added in (chunk(b"zTXt", b"a\0\0" + bomb), chunk(b"iTXt", b"a\0\1\0\0\0" + bomb)):
        with pytest.raises(ValueError, match="more than"):
            text_of(behind_the_header(png(), added))


def test_many_texts_are_counted_together() -> None:
    third = zlib.compress(b"a" * (MAX_TEXT_BYTES // 3 + 1))
    added = b"".join(chunk(b"zTXt", b"%d\0\0" % number + third) for number in range(3))
    with pytest.raises(ValueError, match="more than"):
        text_of(behind_the_header(png(), added))


@pytest.mark.parametrize(
    "added",
    [
        chunk(b"tEXt", b"a\0b", crc=1),
        chunk(b"iTXt", b"a\0"),
        chunk(b"iTXt", b"a\0\0\0no end"),
        chunk(b"iTXt", b"a\0\0\0\0\0\xff"),
        chunk(b"zTXt", b"a\0\0not packed"),
        chunk(b"zTXt", b"a\0\0" + zlib.compress(b"cut off")[:-5]),
        struct.pack(">I4s", 0xFFFFFFFF, b"tEXt"),
    ],
    ids=["checksum", "no fields", "half its fields", "no UTF-8", "not packed", "cut off", "endless"],
)
def test_damaged_texts_are_refused(added: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        text_of(behind_the_header(png(), added))


@pytest.mark.parametrize(
    "broken",
    [png()[:8], png()[:20], png()[:33], png()[:-1], png()[:8] + chunk(b"tEXt", b"a\0b") + png()[8:]],
    ids=["signature", "half a header", "header", "no end", "text before the header"],
)
def test_a_png_that_is_none_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match="PNG"):
        with_text(broken, {"a": "b"})
    with pytest.raises(ValueError, match="PNG"):
        text_of(broken)


@given(st.data())
def test_damage_anywhere_is_a_value_error_or_none(data: st.DataObject) -> None:
    picture = bytearray(with_text(png(), {"a": "b", "c": "日"}))
    for _ in range(data.draw(st.integers(1, 8))):
        picture[data.draw(st.integers(8, len(picture) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(picture[: data.draw(st.integers(8, len(picture)))])
    for call in (lambda: text_of(damaged), lambda: with_text(damaged, {"a": "new"})):
        try:
            call()
        except ValueError:
            continue
