"""Encoded pictures as small squares of Oklab: all that judging without weights needs to see.

Oklab: equal steps look equal (Björn Ottosson, "A perceptual color space for image processing", 2020).
"""

from __future__ import annotations

import io
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from backend.errors import PictureRejected
from backend.utils.picture_colours import rgb_of

Lab: TypeAlias = NDArray[np.float32]
"""``[SIDE_PX, SIDE_PX, 3]``: lightness 0 to 1, green-red and blue-yellow about -0.3 to 0.3."""

SIDE_PX = 96
"""Divides by 2, 3, 6 and 12: every coarser grid is a mean of whole squares."""

MAX_PIXELS = 50_000_000
"""More are refused before anything is decoded: a bomb, or a poster of 7000 x 7000."""

_LMS_FROM_RGB = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    np.float32,
)
_LAB_FROM_LMS = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    np.float32,
)
_CODES = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(np.float32)


def thumbnail(picture: bytes) -> Lab:
    """The whole picture, squeezed into a square, as Oklab.

    Raises:
        PictureRejected: It cannot be decoded (PNG, JPEG and WebP can), or is too large.
    """
    small = np.asarray(open_picture(picture, SIDE_PX).resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX))
    lab: Lab = np.cbrt(_LINEAR[small] @ _LMS_FROM_RGB.T) @ _LAB_FROM_LMS.T
    return lab


def open_picture(picture: bytes, side_px: int) -> Image.Image:
    """An RGB picture whose sides are at least ``side_px`` or its own.

    A JPEG is decoded at half, a quarter or an eighth of its size where that is enough; other formats are
    decoded whole and then averaged down.

    Raises:
        PictureRejected: As for `thumbnail`.
    """
    try:
        image = Image.open(io.BytesIO(picture), formats=("PNG", "JPEG", "WEBP"))
        if image.width * image.height > MAX_PIXELS:
            raise PictureRejected("broken", f"{image.width}x{image.height} is more than {MAX_PIXELS} pixels")
        image.draft("RGB", (2 * side_px, 2 * side_px))
        rgb = rgb_of(image)
    except PictureRejected:
        raise
    except Exception as error:  # decoders raise whatever they like at broken bytes
        raise undecodable(picture, error) from error
    factor = min(rgb.width, rgb.height) // (2 * side_px)
    return rgb.reduce(factor) if factor > 1 else rgb


def undecodable(picture: bytes, error: Exception) -> PictureRejected:
    """What a decoder raised at some bytes, as people are told it."""
    if isinstance(error, Image.DecompressionBombError):
        return PictureRejected("bomb", str(error))
    why = "no picture" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
    return PictureRejected("broken", f"{len(picture):,} bytes: {why}")


def pooled(values: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """Means over squares: ``[S, S, ...]`` -> ``[cells, cells, ...]``; S is a multiple of ``cells``."""
    side = values.shape[0] // cells
    means: NDArray[np.float32] = values.reshape(cells, side, cells, side, *values.shape[2:]).mean(axis=(1, 3))
    return means
