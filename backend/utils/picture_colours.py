"""Decoded pictures as eight bits of red, green and blue.

Pillow clips where it should scale: every grey of a 16-bit PNG above 255 of 65,535 becomes white.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # whoever only asks for a size needs neither
    from PIL import Image

_DEEP = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})


def rgb_of(image: Image.Image) -> Image.Image:
    """Any picture as RGB; what is transparent in it is dropped."""
    return eight_bits_of(image).convert("RGB")


def eight_bits_of(image: Image.Image) -> Image.Image:
    """The same picture; greys of 16 bits scaled to 8 (mode L, or LA where one of them is transparent)."""
    if image.mode not in _DEEP:
        return image
    import numpy as np
    from PIL import Image as Pictures

    deep = np.asarray(image)
    if deep.dtype != np.uint16:
        deep = deep.clip(0, 65_535).astype(np.uint16)
    # Rounded within 16 bits: a large picture must not be held in wider numbers.
    scaled = (deep // 257).astype(np.uint8)
    scaled += deep % 257 > 128
    grey = Pictures.fromarray(scaled)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Pictures.fromarray(np.where(deep == clear, 0, 255).astype(np.uint8)))
    return grey
