"""The quiet picture of a first boot, before any engine has answered."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_NIGHT = np.array([9.0, 11.0, 20.0])
_GLOW = np.array([34.0, 40.0, 74.0])
_INK = (176, 182, 208)
_FAINT_INK = (96, 102, 132)


def title_frame(width: int, height: int, sentence: str) -> bytes:
    """Paint a dark field with a soft glow, the name and one sentence; returns a PNG."""
    picture = Image.fromarray(_field(width, height))
    draw = ImageDraw.Draw(picture)
    scale = min(width, height)
    _centred(draw, " ".join("dreamloop"), width / 2, height * 0.47, max(12, scale // 14), _INK)
    _centred(draw, sentence, width / 2, height * 0.60, max(9, scale // 34), _FAINT_INK)
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=6)
    return file.getvalue()


def dark_frame(width: int, height: int) -> bytes:
    """A picture of nothing; returns a PNG."""
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG", optimize=True)
    return file.getvalue()


def _field(width: int, height: int) -> NDArray[np.uint8]:
    """A wide glow below the middle, dithered so that the dark gradient shows no bands."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    distance = np.hypot((x / width - 0.5) * 1.3, y / height - 0.62)
    glow = np.exp(-((distance / 0.34) ** 2))[..., None]
    dither = np.random.default_rng(0).uniform(-0.5, 0.5, (height, width, 1))
    field: NDArray[np.uint8] = np.clip(_NIGHT + glow * (_GLOW - _NIGHT) + dither + 0.5, 0, 255).astype(
        np.uint8
    )
    return field


def _centred(
    draw: ImageDraw.ImageDraw, text: str, x: float, y: float, size_px: int, ink: tuple[int, int, int]
) -> None:
    draw.text((x, y), text, font=ImageFont.load_default(size_px), fill=ink, anchor="mm")
