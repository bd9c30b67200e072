"""Previews: what a latent on its way looks like, sent along with the steps of its sampling.

As ComfyUI makes them for ``extra_data.preview_method``, except for the colours: there a rough guess at the
decoder, here the painter itself.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

from backend.engine.painting import Latent, Painter

SIDE_PX = 512
"""Previews are scaled, up too, until they just fit a square of this side."""

_QUALITY = 95
_METHODS = ("auto", "latent2rgb", "taesd")


def are_wanted(extra_data: Mapping[str, Any]) -> bool:
    """Whether a prompt asks for previews; an unknown method is none, as in ComfyUI."""
    return extra_data.get("preview_method") in _METHODS


def preview(painter: Painter, latent: Latent) -> bytes:
    """The first of a batch, as JPEG."""
    image = Image.fromarray(next(painter.decode(latent[:1])))
    buffer = io.BytesIO()
    image.resize(_fitting(image.size), Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _fitting(size_px: tuple[int, int]) -> tuple[int, int]:
    width, height = (max(1, round(side * SIDE_PX / max(size_px))) for side in size_px)
    return width, height
