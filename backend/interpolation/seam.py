"""Where in-betweens of one decoder meet keyframes of another, so that nothing pops.

A tiny VAE, or a decoding at a smaller size, differs from the keyframe's own picture in two ways: its tone is
a little off everywhere, and it lacks fine detail. Both are known exactly at the keyframes, and are added on
the way: the tone in even parts of both ends, so that it drifts and never breathes; the detail of the nearer
end mostly, since it belongs to forms that move on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.utils.picture_formats import Pixels

# Blocks over which tone is averaged: large against details, small against forms.
_BLOCKS_ACROSS = 48
_MIN_BLOCK_PX = 4
# Differences up to this (of 255) are rounding; what is no more than that is left as it is.
_ROUNDING = 2
# A picture flatter than this (standard deviation of its tone, of 255) is not asked to match more closely.
_FLAT = 20.0


@dataclass(frozen=True, eq=False)
class Seam:
    """What a keyframe as it is shown has over its latent decoded as the in-betweens are.

    Attributes:
        tone: The coarse part, float32 ``[rows, columns, 3]``, in steps of 1/255.
        detail: The rest, int16 ``[height, width, 3]``; None where the two pictures are the same.
        misfit: How far the tone is off, in units of how much the keyframe's own varies: near 0 for a decoder
            of the same latents, 1 for a picture that is grey, more for one of other latents.
    """

    tone: NDArray[np.float32]
    detail: NDArray[np.int16] | None
    misfit: float

    @classmethod
    def between(cls, shown: Pixels, decoded: Pixels) -> Seam:
        """Compare two pictures of one size, RGB ``[height, width, 3]``."""
        residual = shown.astype(np.int16) - decoded.astype(np.int16)
        tone = _blocks(residual)
        varies = _blocks(shown).std(axis=(0, 1)).max()
        misfit = float(np.sqrt(np.square(tone).mean()) / max(varies, _FLAT))
        if int(np.abs(residual).max()) <= _ROUNDING:
            return cls(tone, None, misfit)
        coarse = _grown(tone, *residual.shape[:2])
        return cls(tone, residual - np.rint(coarse).astype(np.int16), misfit)


def met(pixels: Pixels, t: float, start: Seam | None, end: Seam | None) -> Pixels:
    """Lead an in-between toward the keyframes at both ends.

    Args:
        pixels: RGB ``[height, width, 3]``, as decoded and brought to the keyframes' size.
        t: Where it lies, 0 to 1.
        start: The seam at t = 0, where the result is the keyframe; None where nothing is to be met.
        end: The seam at t = 1.

    Returns:
        ``pixels`` itself where there is nothing to add.
    """
    tone: NDArray[np.float32] | None = None
    details = []
    for seam, distance in ((start, t), (end, 1.0 - t)):
        if seam is not None and seam.detail is not None:
            share = np.float32(1.0 - distance) * seam.tone
            tone = share if tone is None else tone + share
            details.append((seam.detail, np.float32(math.cos(0.5 * math.pi * distance) ** 4)))
    if tone is None:
        return pixels
    mixed = _grown(tone, *pixels.shape[:2])
    mixed += pixels
    for detail, weight in details:
        mixed += np.multiply(detail, weight, dtype=np.float32)
    np.rint(mixed, out=mixed)
    return np.clip(mixed, 0.0, 255.0, out=mixed).astype(np.uint8)


def in_size(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """The picture at another width and height; itself where it has them already."""
    if pixels.shape[1::-1] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _blocks(pixels: NDArray[np.uint8] | NDArray[np.int16]) -> NDArray[np.float32]:
    """Means over square blocks; those at the right and lower edge repeat what they lack."""
    height, width, _ = pixels.shape
    side = _block_px(height, width)
    padding = ((0, -height % side), (0, -width % side), (0, 0))
    padded = np.pad(pixels, padding, mode="edge")
    rows, columns = padded.shape[0] // side, padded.shape[1] // side
    means: NDArray[np.float32] = padded.reshape(rows, side, columns, side, 3).mean((1, 3), np.float32)
    return means


def _grown(blocks: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """The blocks drawn large, without steps: linear between their middles, ``[height, width, 3]``."""
    side = _block_px(height, width)
    down, across = _spread(blocks.shape[0], height, side), _spread(blocks.shape[1], width, side)
    planes = [down @ blocks[..., channel] @ across.T for channel in range(3)]
    return np.stack(planes, axis=-1)


def _block_px(height: int, width: int) -> int:
    return max(_MIN_BLOCK_PX, round(max(height, width) / _BLOCKS_ACROSS))


@lru_cache(maxsize=8)
def _spread(blocks: int, length: int, side: int) -> NDArray[np.float32]:
    """Weights ``[length, blocks]`` of linear interpolation between the middles of blocks."""
    at = np.clip((np.arange(length) + 0.5) / side - 0.5, 0, blocks - 1)
    weights = 1.0 - np.abs(at[:, None] - np.arange(blocks)[None])
    return np.maximum(weights, 0.0).astype(np.float32)
