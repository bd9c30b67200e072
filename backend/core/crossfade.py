"""Pixel cross-fades: only where two neighbours are not neighbours in the dream."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

from backend.utils.picture_formats import AS_IT_COMES, Encoding


def crossfade(older: bytes, newer: bytes, steps: int, encoding: Encoding = AS_IT_COMES) -> Iterator[bytes]:
    """Paint the ``steps`` pictures between two encoded ones, in the size of the newer.

    Painted one at a time as they are asked for, with a soft start and end.
    """
    with Image.open(io.BytesIO(newer)) as opened:
        end = opened.convert("RGB")
    with Image.open(io.BytesIO(older)) as opened:
        start = opened.convert("RGB").resize(end.size, Image.Resampling.LANCZOS)
    for step in range(1, steps + 1):
        weight = 0.5 - 0.5 * math.cos(math.pi * step / (steps + 1))
        yield encoding.encode(np.asarray(Image.blend(start, end, weight)))
