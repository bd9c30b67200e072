from __future__ import annotations

import struct

import pytest

from backend.core.comfyui_messages import PictureArrived, parse_binary
from comfyui_nodes.encoding import Encoding
from comfyui_nodes.messages import PLAIN, WITH_ORIGIN, Origin, numbers, plain, with_origin

JPEG = b"\xff\xd8\xff" + bytes(40)


def test_the_daemon_reads_a_frame_with_its_prompt_its_node_and_its_place() -> None:
    sent = with_origin(JPEG, Encoding("jpeg"), Origin("p-1", "8"), 3, 40)
    message = struct.pack(">I", WITH_ORIGIN) + sent
    assert parse_binary(message) == PictureArrived(JPEG, "jpeg", "p-1", "8", 3)


def test_a_plain_frame_is_read_without_any() -> None:
    message = struct.pack(">I", PLAIN) + plain(JPEG, Encoding("jpeg"))
    assert parse_binary(message) == PictureArrived(JPEG, "jpeg")


def test_a_plain_frame_cannot_be_a_webp() -> None:
    with pytest.raises(ValueError, match="webp"):
        plain(b"RIFF", Encoding("webp"))


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        ("", 3, (0, 1, 2)),
        (" ", 0, ()),
        ("1", 3, (1,)),
        ("4, 0-2, 1", 5, (0, 1, 2, 4)),
    ],
)
def test_frames_are_named_by_numbers_and_ranges(text: str, count: int, expected: tuple[int, ...]) -> None:
    assert numbers(text, count) == expected


@pytest.mark.parametrize("text", ["3", "0-3", "2-1", "-1", "a", "1,,2", "1-", "0x1"])
def test_frames_that_there_are_not_are_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="frames"):
        numbers(text, 3)
