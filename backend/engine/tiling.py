"""Pictures of any size in the memory of one tile.

Tiles are not blended: the painter paints each as it is in the whole picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from backend.engine.painting import LATENT_SCALE, Latent, Painter, Pixels, Window

LARGE_PX = 2**21
"""Pixels from which a picture is painted in tiles even if nobody asks: whole, one of 4096x2304 would take
more than a gigabyte, and longer, since nothing of it stays in the processor's caches."""
LARGE_TILE_PX = 1024

_SMALLEST_TILE_PX = 256
"""Smaller ones would be painted mostly for what lies around them."""


def paint_tiled(
    painter: Painter, latent: Latent, tile_px: int, on_tile: Callable[[int, int], None]
) -> Iterator[Pixels]:
    """Each picture of a batch, tile by tile; ``on_tile(done, total)`` counts over all of them."""
    height, width = (LATENT_SCALE * side for side in latent.shape[2:])
    windows = tiles(height, width, tile_px)
    for index in range(len(latent)):
        pixels = np.empty((height, width, 3), np.uint8)
        for number, window in enumerate(windows, 1):
            pixels[window.rows, window.columns] = painter.decode_window(latent[index : index + 1], window)
            on_tile(index * len(windows) + number, len(latent) * len(windows))
        yield pixels


def tiles(height: int, width: int, tile_px: int) -> list[Window]:
    """Windows that cover a picture without overlap, of sides up to ``tile_px``."""
    side = max(tile_px, _SMALLEST_TILE_PX) // LATENT_SCALE * LATENT_SCALE
    return [
        Window(top, min(top + side, height), left, min(left + side, width))
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]
