"""Two judges of how far apart two frames look, without weights; neither steers the pace of the dream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    np.float32,
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    np.float32,
)
_LINEAR = np.array(
    [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.arange(256) / 255.0], np.float32
)

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]


def structure(one: Pixels, other: Pixels) -> float:
    """Root of 1 - SSIM of the brightness, a distance.

    Sources: Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004,
    with its Gaussian window; D. Brunet et al., "On the mathematical properties of the structural similarity
    index" (2012) for the root.
    """
    x, y = one.astype(np.float32) @ _LUMA, other.astype(np.float32) @ _LUMA
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    both = _blurred(x * y) - mean_x * mean_y
    alike = (2 * mean_x * mean_y + _C1) * (2 * both + _C2)
    alike /= (mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2)
    return float(max(0.0, 1.0 - float(alike.mean()))) ** 0.5


def colour(one: Pixels, other: Pixels) -> float:
    """Mean difference in Oklab, in which equal distances look equally far (B. Ottosson, 2020)."""
    return float(np.sqrt(np.square(oklab(one) - oklab(other)).sum(axis=-1)).mean())


def oklab(pixels: Pixels) -> Plane:
    """Lightness and two hues for each pixel of sRGB."""
    lab: Plane = np.cbrt(_LINEAR[pixels] @ _TO_LMS.T) @ _TO_LAB.T
    return lab


def _blurred(plane: Plane) -> Plane:
    at = np.arange(-_RADIUS, _RADIUS + 1)
    kernel = np.exp(-0.5 * (at / _SIGMA) ** 2).astype(np.float32)
    kernel /= kernel.sum()
    for axis in (0, 1):
        windows = np.lib.stride_tricks.sliding_window_view(plane, len(kernel), axis=axis)
        plane = windows @ kernel
    return plane
