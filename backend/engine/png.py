"""PNG as the engine writes it, with quick compression."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from backend.engine.painting import Pixels

COMPRESS_LEVEL = 1
"""As ComfyUI: three times quicker than Pillow's default for a tenth more bytes."""


def encode(pixels: Pixels) -> bytes:
    """An RGB picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=COMPRESS_LEVEL)
    return buffer.getvalue()


def decode(data: bytes) -> Pixels:
    """Any picture file as RGB, its transparency dropped; raises what Pillow raises for broken ones."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)
