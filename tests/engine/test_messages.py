from __future__ import annotations

import json
from pathlib import Path

from backend.engine.messages import PictureType, picture, picture_with_origin, text

FRAME = (Path(__file__).resolve().parents[1] / "data" / "comfyui" / "frame_event4.bin").read_bytes()


def test_a_frame_with_origin_equals_the_recorded_one_byte_for_byte() -> None:
    length = int.from_bytes(FRAME[4:8], "big")
    origin, image = json.loads(FRAME[8 : 8 + length]), FRAME[8 + length :]
    frame = picture_with_origin(
        PictureType.PNG, image, node_id=origin["node_id"], prompt_id=origin["prompt_id"]
    )
    assert frame == FRAME


def test_a_frame_without_origin_begins_as_recorded() -> None:
    assert picture(PictureType.PNG, b"\x89PNG").hex(" ") == "00 00 00 01 00 00 00 02 89 50 4e 47"
    assert picture(PictureType.JPEG, b"")[-1] == 1


def test_text_is_type_and_data() -> None:
    assert json.loads(text("status", {"sid": "x"})) == {"type": "status", "data": {"sid": "x"}}
