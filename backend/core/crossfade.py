"""Pixel cross-fades: only where two neighbours are not neighbours in the dream."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

from PIL import Image


def crossfade(older: bytes, newer: bytes, steps: int) -> Iterator[bytes]:
    """Paint the ``steps`` pictures between two encoded ones, as PNG, in the size of the newer.

    Painted one at a time as they are asked for, with a soft start and end.
    """
    with Image.open(io.BytesIO(newer)) as opened:
        end = opened.convert("RGB")
    with Image.open(io.BytesIO(older)) as opened:
        start = opened.convert("RGB").resize(end.size, Image.Resampling.LANCZOS)
    for step in range(1, steps + 1):
        weight = 0.5 - 0.5 * math.cos(math.pi * step / (steps + 1))
        file = io.BytesIO()
        Image.blend(start, end, weight).save(file, "PNG", compress_level=1)
        yield file.getvalue()
