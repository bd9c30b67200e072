"""Pixels to PNG, several times quicker than by Pillow: one filter for all rows, and runs instead of matches.

Pictures of a dream are full of fine noise, in which deflate searches in vain for what it has seen before.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_HEAD = b"\x89PNG\r\n\x1a\n"
_UP = 2  # each byte less the one above it (https://www.w3.org/TR/png-3/#9Filter-types)
_RGB, _DEPTH = 2, 8


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """Encode RGB pixels of shape ``[height, width, 3]``, without loss."""
    height, width, _ = pixels.shape
    rows = np.ascontiguousarray(pixels).reshape(height, width * 3)
    filtered = np.empty((height, 1 + width * 3), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    packed = packer.compress(filtered.data) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, _DEPTH, _RGB, 0, 0, 0)
    return _HEAD + _chunk(b"IHDR", head) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
