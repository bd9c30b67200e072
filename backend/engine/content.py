"""The content of latents: smooth fields made from a seed, and how one moves toward another."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

_OCTAVES = ((0.8, 1.0), (1.6, 0.68), (3.2, 0.40), (6.4, 0.15))
"""(waves along the shorter side, amplitude): large forms before small ones."""


def field(seed: int, height: int, width: int) -> Tensor:
    """Smooth noise ``[4, h, w]`` of zero mean and unit variance in each channel."""
    generator = torch.Generator().manual_seed(seed % 2**64)
    side = min(height, width)
    total = torch.zeros(4, height, width)
    for waves, amplitude in _OCTAVES:
        step = side / waves
        if step >= 4.0 or waves < 1:
            total += amplitude * _octave(generator, 0.55 * step, height, width)
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
    start_large, goal_large = large(start, 1 / 14), large(goal, 1 / 14)
    coarse, fine = 0.5 * math.pi * denoise**1.3, 0.5 * math.pi * denoise**0.9
    masses = math.cos(coarse) * start_large + math.sin(coarse) * goal_large
    details = math.cos(fine) * (start - start_large) + math.sin(fine) * (goal - goal_large)
    return _held(masses + details, denoise)


def _held(content: Tensor, denoise: float) -> Tensor:
    """Draws mean and variance back toward 0 and 1, the more the longer the step."""
    pull = min(2.0 * denoise, 1.0)
    mean = content.mean((1, 2), keepdim=True)
    centred = content - mean
    spread = centred.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-4)
    return centred * spread.clamp(0.2, 5.0).pow(-pull) + mean * (1.0 - pull)


def large(content: Tensor, spread: float) -> Tensor:
    """The large forms alone; a Gaussian, because anything on a grid would show after some keyframes.

    ``spread`` is a share of the shorter side.
    """
    height, width = content.shape[1:]
    cells = spread * min(height, width)
    down, across = (_blur(length, cells, outside=0) for length in (height, width))
    down, across = down / down.sum(1, keepdim=True), across / across.sum(1, keepdim=True)
    return down @ content @ across.T


def _octave(generator: torch.Generator, spread: float, height: int, width: int) -> Tensor:
    """White noise under a Gaussian: unit variance, no preferred direction, nothing special at the edges."""
    outside = math.ceil(3.0 * spread)
    white = torch.randn(4, height + 2 * outside, width + 2 * outside, generator=generator)
    down, across = (_blur(length, spread, outside=outside) for length in (height, width))
    down, across = down / down.norm(dim=1, keepdim=True), across / across.norm(dim=1, keepdim=True)
    octave: Tensor = down @ white @ across.T
    return octave


@lru_cache(maxsize=32)
def _blur(length: int, spread: float, *, outside: int) -> Tensor:
    """Gaussian weights ``[length, length + 2 * outside]``, not normalised."""
    distance = torch.arange(length).reshape(-1, 1) + outside - torch.arange(length + 2 * outside)
    return torch.exp(-0.5 * (distance / max(spread, 0.3)) ** 2)


def cubic_spline(at: Tensor, knots: int) -> Tensor:
    """Weights ``[n, knots]`` of the cubic B-spline at positions ``at`` (in knots); each row sums to 1."""
    distance = (at.reshape(-1, 1) - torch.arange(knots)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2.0 - distance).clamp_min(0.0) ** 3 / 6
    return torch.where(distance < 1.0, near, far)
