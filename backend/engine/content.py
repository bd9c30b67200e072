"""The content of latents: smooth fields made from a seed, and how one moves toward another."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import Tensor

_OCTAVES = ((0.75, 1.0), (1.5, 0.62), (3.0, 0.34), (6.0, 0.12))
"""(lattice cells along the shorter side, amplitude): large forms before small ones."""


def field(seed: int, height: int, width: int) -> Tensor:
    """Smooth noise ``[4, h, w]`` of zero mean and unit variance in each channel."""
    generator = torch.Generator().manual_seed(seed % 2**64)
    side = min(height, width)
    total = torch.zeros(4, height, width)
    for cells, amplitude in _OCTAVES:
        step = side / cells
        if step >= 4.0 or cells < 1:
            total += amplitude * _octave(generator, step, height, width)
    return normal(total)


def normal(content: Tensor) -> Tensor:
    """Zero mean and unit variance in each channel; a flat channel stays flat."""
    centred = content - content.mean((1, 2), keepdim=True)
    return centred / centred.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-4)


def toward(start: Tensor, goal: Tensor, denoise: float) -> Tensor:
    """``start`` moved toward ``goal`` by ``denoise``; fine parts go before the large ones.

    The two weights lie on a circle, so independent fields keep their variance, as often as one likes.
    """
    if denoise >= 1.0:
        return goal
    start_large, goal_large = _large(start), _large(goal)
    coarse, fine = 0.5 * math.pi * denoise**1.3, 0.5 * math.pi * denoise**0.9
    large = math.cos(coarse) * start_large + math.sin(coarse) * goal_large
    small = math.cos(fine) * (start - start_large) + math.sin(fine) * (goal - goal_large)
    return _held(large + small, denoise)


def _held(content: Tensor, denoise: float) -> Tensor:
    """Draws mean and variance back toward 0 and 1, the more the longer the step."""
    pull = min(2.0 * denoise, 1.0)
    mean = content.mean((1, 2), keepdim=True)
    centred = content - mean
    spread = centred.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-4)
    return centred * spread.clamp(0.2, 5.0).pow(-pull) + mean * (1.0 - pull)


def _large(content: Tensor) -> Tensor:
    height, width = content.shape[1:]
    small = F.adaptive_avg_pool2d(content[None], (max(height // 6, 1), max(width // 6, 1)))
    return F.interpolate(small, (height, width), mode="bicubic", align_corners=False)[0]


def _octave(generator: torch.Generator, step: float, height: int, width: int) -> Tensor:
    """One octave: a random lattice drawn with cubic splines, placed at random so that no grid shows."""
    rows, columns = math.ceil(height / step) + 4, math.ceil(width / step) + 4
    lattice = torch.randn(1, 4, rows, columns, generator=generator)
    shift_y, shift_x = torch.rand(2, generator=generator).tolist()
    down = cubic_spline(torch.arange(height) / step + 1.0 + shift_y, rows)
    across = cubic_spline(torch.arange(width) / step + 1.0 + shift_x, columns)
    return torch.einsum("yr,crx,ux->cyu", down, lattice[0], across)


def cubic_spline(at: Tensor, knots: int) -> Tensor:
    """Weights ``[n, knots]`` of the cubic B-spline at positions ``at`` (in knots); each row sums to 1."""
    distance = (at.reshape(-1, 1) - torch.arange(knots)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2.0 - distance).clamp_min(0.0) ** 3 / 6
    return torch.where(distance < 1.0, near, far)
