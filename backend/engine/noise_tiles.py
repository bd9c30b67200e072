"""Periodic textures that the painter samples: soft noise, cells, stars. Made once, the same everywhere."""

from __future__ import annotations

import itertools
from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import Tensor

SIZE_PX = 512
_ROUNDS = 16.0
"""Added to positions, so that what is left of the first tile counts like the rest."""
_CELLS_PX = 648
FINE_PX = 1024
"""Ridges and walls are sharp: drawn large, they need a finer tile than soft noise."""


@lru_cache(maxsize=1)
def soft_tile() -> Tensor:
    """``[1, 3, SIZE+1, SIZE+1]`` smooth noise of unit variance; large forms carry most of it."""
    return wrapped(torch.stack([_noise(seed, first=4, octaves=4, falloff=0.42) for seed in (11, 12, 13)]))


@lru_cache(maxsize=1)
def fine_tile() -> Tensor:
    """``[1, 2, SIZE+1, SIZE+1]``: fbm with more detail, and the same folded into ridges (0 to 1)."""
    rough = _noise(21, first=4, octaves=5, falloff=0.55, size_px=FINE_PX)
    ridges = torch.stack(
        [
            1.0
            - _noise(30 + i, first=4 * 2**i, octaves=2, falloff=0.3, size_px=FINE_PX).abs().clamp_max(2) / 2
            for i in range(3)
        ]
    )
    shares = torch.tensor([0.55, 0.3, 0.15]).reshape(3, 1, 1)
    return wrapped(torch.stack([rough, (ridges * shares).sum(0)]))


@lru_cache(maxsize=1)
def cell_tile() -> Tensor:
    """``[1, 4, ...]``: distance to the nearest seed, its lead on the second, own number, slant."""
    return wrapped(_cells(count=9, seed=41))


@lru_cache(maxsize=1)
def star_tile() -> Tensor:
    """``[1, 1, SIZE+1, SIZE+1]``: few soft points of very different brightness, 0 to about 1."""
    generator = torch.Generator().manual_seed(51)
    axis = torch.arange(SIZE_PX, dtype=torch.float32)
    sky = torch.zeros(SIZE_PX, SIZE_PX)
    for _ in range(420):
        x, y, luck = torch.rand(3, generator=generator).tolist()
        luck *= luck**0.6
        radius = 0.95 + 1.6 * luck**6
        across = round_distance(axis, x * SIZE_PX)
        down = round_distance(axis, y * SIZE_PX)
        spot = torch.exp(-((across / radius) ** 2))[None, :] * torch.exp(-((down / radius) ** 2))[:, None]
        sky += spot * (0.16 + 0.84 * luck**5)
    return wrapped(sky[None])


def sample(tile: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """``[C, H, W]`` of the tile at positions in tiles (1.0 = once round)."""
    grid = torch.stack([x, y]).add_(_ROUNDS).frac_().mul_(2.0).sub_(1.0)
    places = grid.permute(1, 2, 0)[None]  # across and down apart: read faster than side by side
    found: Tensor = F.grid_sample(tile, places, mode="bilinear", padding_mode="border", align_corners=True)
    return found[0]


def half(*fields: Tensor) -> list[Tensor]:
    """Each field at half its size: enough for what is soft or out of focus."""
    return list(F.avg_pool2d(torch.stack(fields)[None], 2, ceil_mode=True)[0])


def doubled(*fields: Tensor, like: Tensor) -> list[Tensor]:
    """Back at the size of ``like``."""
    return [
        F.interpolate(field[None, None], like.shape, mode="bilinear", align_corners=False)[0, 0]
        for field in fields
    ]


def wrapped(channels: Tensor) -> Tensor:
    """``[1, C, H + 1, W + 1]``: what sampling between the last texel and the first needs."""
    return F.pad(channels[None], (0, 1, 0, 1), mode="circular").contiguous()


def round_distance(axis: Tensor, at: float) -> Tensor:
    distance = (axis - at).abs()
    return torch.minimum(distance, SIZE_PX - distance)


def _noise(seed: int, *, first: int, octaves: int, falloff: float, size_px: int = SIZE_PX) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(size_px, size_px)
    for octave in range(octaves):
        side = first * 2**octave
        lattice = torch.randn(1, 1, side, side, generator=generator)
        total += falloff**octave * _stretch(lattice, size_px)
    total -= total.mean()
    return total / total.std()


def _stretch(lattice: Tensor, size_px: int) -> Tensor:
    """A periodic lattice drawn large, smoothly (cubic) and without a seam."""
    side = lattice.shape[-1]
    cell = size_px // side
    padded = F.pad(lattice, (2, 2, 2, 2), mode="circular")
    large = F.interpolate(padded, scale_factor=cell, mode="bicubic", align_corners=False)
    inner = slice(2 * cell, (2 + side) * cell)
    return large[0, 0, inner, inner]


def _cells(count: int, seed: int) -> Tensor:
    """Worley cells on a jittered grid; the lead is zero on the walls.

    Drawn at twice the size, so that steps at walls stay smooth, as ``[row, y, column, x]``.
    """
    generator = torch.Generator().manual_seed(seed)
    jitter = 0.5 + 0.8 * (torch.rand(2, count, count, generator=generator) - 0.5)
    number = torch.rand(count, count, generator=generator)
    inner = 2 * _CELLS_PX // count
    at = (torch.arange(inner) + 0.5) / inner
    near = torch.full((count, inner, count, inner), 9.0)
    second, own, slant = near.clone(), torch.zeros_like(near), torch.zeros_like(near)
    for down, right in itertools.product(range(-2, 3), repeat=2):
        seed_x, seed_y, of_seed = (
            part.roll((-down, -right), (0, 1))[:, None, :, None] for part in (*jitter, number)
        )
        off_x, off_y = right + seed_x - at, down + seed_y - at[:, None, None]
        distance = torch.hypot(off_x, off_y)
        tilt = off_x * torch.cos(40.0 * of_seed) + off_y * torch.sin(40.0 * of_seed)
        closer = distance < near
        second = torch.where(closer, near, torch.minimum(second, distance))
        own, slant = torch.where(closer, of_seed, own), torch.where(closer, tilt, slant)
        near = torch.minimum(near, distance)
    tile = torch.stack([near, second - near, own, slant])
    return F.avg_pool2d(tile.reshape(4, count * inner, count * inner), 2)
