"""What goes over the engine's WebSocket: text messages and binary picture frames, as bytes.

Layouts as measured on ComfyUI 0.3.64 and 0.33.0; all integers are big-endian.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class BinaryEvent(IntEnum):
    """First u32 of a binary frame."""

    PICTURE = 1
    PICTURE_WITH_ORIGIN = 4


class PictureType(IntEnum):
    """Second u32 of a PICTURE frame."""

    JPEG = 1
    PNG = 2

    @property
    def mime(self) -> str:
        return f"image/{self.name.lower()}"


def text(kind: str, data: Mapping[str, Any]) -> str:
    """One text message."""
    return json.dumps({"type": kind, "data": data})


def picture(kind: PictureType, image: bytes) -> bytes:
    """Event 1: the picture alone; whose it is must be guessed from the messages around it."""
    return struct.pack(">II", BinaryEvent.PICTURE, kind) + image


def picture_with_origin(
    kind: PictureType, image: bytes, *, node_id: str, prompt_id: str, frame: int | None = None
) -> bytes:
    """Event 4: the picture with its prompt and node, for clients that asked for it.

    ``frame``, its place in a batch, is told by nodes that number their pictures; ComfyUI's own do not.
    """
    told = {
        "node_id": node_id,
        "prompt_id": prompt_id,
        "display_node_id": node_id,
        "parent_node_id": None,
        "real_node_id": node_id,
        "image_type": kind.mime,
    }
    origin = json.dumps(told if frame is None else {**told, "frame": frame}).encode()
    return struct.pack(">II", BinaryEvent.PICTURE_WITH_ORIGIN, len(origin)) + origin + image
