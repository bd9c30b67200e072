"""PNG as the engine writes it: quick compression, and text added without encoding again."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping

import numpy as np
from PIL import Image

from backend.engine.painting import Pixels

COMPRESS_LEVEL = 1
"""As ComfyUI: three times quicker than Pillow's default for a tenth more bytes."""

_HEADER_END = 33
"""Length of the PNG signature (8) and the IHDR chunk (25): text may follow at once."""


def encode(pixels: Pixels) -> bytes:
    """An RGB picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=COMPRESS_LEVEL)
    return buffer.getvalue()


def decode(data: bytes) -> Pixels:
    """Any picture file as RGB, its transparency dropped; raises what Pillow raises for broken ones."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)


def with_text(data: bytes, texts: Mapping[str, str]) -> bytes:
    """The same PNG with ``tEXt`` chunks (ASCII), right behind its header."""
    chunks = b"".join(_text_chunk(key, value) for key, value in texts.items())
    return data[:_HEADER_END] + chunks + data[_HEADER_END:]


def _text_chunk(key: str, value: str) -> bytes:
    body = b"tEXt" + key.encode("ascii") + b"\0" + value.encode("ascii")
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
