"""PNG as the engine writes it, quickly."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from backend.engine.painting import Pixels
from backend.utils.picture_colours import rgb_of
from backend.utils.png_writer import png_of


def encode(pixels: Pixels) -> bytes:
    """An RGB picture as PNG."""
    return png_of(pixels)


def decode(data: bytes) -> Pixels:
    """Any picture file as RGB, its transparency dropped; raises what Pillow raises for broken ones."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(rgb_of(image), dtype=np.uint8)
