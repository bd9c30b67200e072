"""Oklab, the colour space in which pictures are graded: equal steps look equal, mixtures stay clean.

Source: Björn Ottosson, "A perceptual color space for image processing" (2020).
Arrays hold the channels first: ``[3, ...]``.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LMS_FROM_RGB = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_LAB_FROM_LMS = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
_RGB_FROM_LMS = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)
_LMS_FROM_LAB = (
    (1.0, 0.3963377774, 0.2158037573),
    (1.0, -0.1055613458, -0.0638541728),
    (1.0, -0.0894841775, -1.2914855480),
)


def oklab_from_srgb(rgb: Tensor) -> Tensor:
    """Oklab ``[3, ...]`` of sRGB ``[3, ...]`` in 0 to 1."""
    return oklab_from_linear(linear_from_srgb(rgb))


def linear_from_srgb(rgb: Tensor) -> Tensor:
    """Linear light of gamma-coded sRGB in 0 to 1."""
    return torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp_min(0.0) + 0.055) / 1.055) ** 2.4)


def oklab_from_linear(linear: Tensor) -> Tensor:
    """Oklab ``[3, ...]`` of linear sRGB ``[3, ...]``."""
    lms = _matrix(_LMS_FROM_RGB, linear)
    return _matrix(_LAB_FROM_LMS, lms.clamp_min(0.0) ** (1 / 3))


def linear_from_oklab(lab: Tensor) -> Tensor:
    """Linear sRGB ``[3, ...]``, not clipped, of Oklab ``[3, ...]``."""
    lms = _matrix(_LMS_FROM_LAB, lab)
    return _matrix(_RGB_FROM_LMS, lms * lms * lms)


def srgb_from_linear(linear: Tensor) -> Tensor:
    """Gamma-coded sRGB in 0 to 1, clipped, of linear light; the straight piece near black is kept."""
    linear = linear.clamp(0.0, 1.0)
    curve = linear.clamp_min(1e-6).log_().mul_(1 / 2.4).exp_().mul_(1.055).sub_(0.055)
    return torch.where(linear <= 0.0031308, linear * 12.92, curve)


def oklab_from_hex(text: str) -> tuple[float, float, float]:
    """Oklab of ``rrggbb``."""
    rgb = torch.tensor([int(text[i : i + 2], 16) / 255 for i in (0, 2, 4)], dtype=torch.float64)
    lightness, green_red, blue_yellow = oklab_from_srgb(rgb).tolist()
    return lightness, green_red, blue_yellow


def _matrix(rows: tuple[tuple[float, float, float], ...], value: Tensor) -> Tensor:
    weights = torch.tensor(rows, dtype=value.dtype)
    return (weights @ value.reshape(3, -1)).reshape(value.shape)
