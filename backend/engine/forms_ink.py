"""Ink let into water: plumes that sink, roll up at their fronts and trail threads."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from backend.engine.noise_tiles import SIZE_PX, doubled, fine_tile, half, sample, wrapped
from backend.engine.scene import Layer, Scene, bell, gate


def ink(scene: Scene) -> Layer:
    """A cloud that unfolds, and plumes that sink from it at three depths; clear water around."""
    u0, u1, u2, u3 = scene.fields
    cloud, eddy_x, eddy_y = _cloud(scene)
    x = scene.still_x + 0.03 * u3 + 0.035 * scene.soft[0] + 0.019 * eddy_x
    y = scene.still_y + 0.03 * u1 + 0.035 * scene.soft[1] + 0.019 * eddy_y
    amount = 0.9 * scene.slow[3] - 0.6 * scene.slow[1]
    near = _plumes(0.29 * x + 0.12, 0.29 * y + 0.08, amount, 0.29 * scene.unit, 0.0)
    small_x, small_y, small_amount, small_slow = half(x, y, amount, scene.slow[2])
    middle = _plumes(0.47 * small_x + 0.55, 0.47 * small_y + 0.3, 0.2 - small_amount, 0.9 * scene.unit, 0.05)
    far = _plumes(0.66 * small_x + 0.8, 0.66 * small_y, small_slow, 1.3 * scene.unit, 0.3)
    middle, far = doubled(middle, far, like=x)
    dark = 1.0 - (1.0 - 0.95 * near) * (1.0 - 0.66 * middle) * (1.0 - 0.32 * far) * (1.0 - 0.85 * cloud)
    tone = 1.5 - 0.20 * u0 - 2.9 * dark
    rim = bell(4.0 * (dark - 0.30)) * 0.10
    return Layer(tone, 0.08 * dark, rim * gate(1.5 * u3), 1.2 * dark * torch.tanh(u2 + 0.3) - 0.2 * u3)


def _cloud(scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """0 to 1: a crisp front that curls, sheets seen on edge inside, a trail; and two noises for eddies."""
    u0, u1, _, u3 = scene.fields
    bend_x, bend_y = 0.16 * scene.soft[0] + 0.04 * u3, 0.16 * scene.soft[1] + 0.04 * u1
    x, y = 0.5 * (scene.x + scene.still_x), 0.5 * (scene.y + scene.still_y)
    rough, ridge = sample(fine_tile(), 0.24 * x + bend_x, 0.20 * y + bend_y)
    curl, sheet = sample(fine_tile(), 0.31 * x + 0.10 * rough + bend_y, 0.27 * y + 0.10 * ridge - bend_x)
    deep = -1.0 * u0 - 0.70 * rough - 0.30 * curl - 1.15 - 0.9 * (scene.still_y - 0.45)
    front = gate(6.0 * deep)
    trail = gate(2.0 * deep + 0.6) * (0.22 + 0.9 * (sheet - 0.45))
    dark = front * (0.52 + 0.25 * torch.tanh(deep) + 1.1 * (0.62 - sheet)) + 0.5 * trail
    return torch.clamp(dark, 0.0, 1.0), rough, curl


def _plumes(x: Tensor, y: Tensor, amount: Tensor, texel: float, blur: float) -> Tensor:
    """0 to 1, how much ink is seen at positions in tiles."""
    across, along, own, margin = sample(plume_tile(), x, y)
    rough, ridge = sample(fine_tile(), 0.16 * across + 0.37 * own, 0.035 * along + 0.61 * own)
    full = torch.tanh(amount + 0.9 * own)
    width = 0.09 + (0.50 + 0.12 * full) * gate(2.6 * (along + 0.75)) + 0.05 * rough
    deep = _least(width - across.abs(), 0.50 - along)
    soft = 0.05 + blur + 6.0 * texel
    body = gate(2.2 * deep / soft)
    skin = bell(deep / (0.13 + blur))
    fading = gate(1.5 * (along + 3.6)) * gate(16.0 * margin - 5.5) * gate(2.6 * (full + 0.35))
    trail = gate((deep + 0.26) / 0.10) * (0.08 + 0.5 * (ridge - 0.5).clamp_min(0.0))
    density = body * (0.46 + 0.40 * skin + 1.5 * (ridge - 0.6)) + trail
    return torch.clamp(density * fading, 0.0, 1.0)


def _least(one: Tensor, other: Tensor) -> Tensor:
    """The lesser of two, its corner rounded."""
    gap = (one - other).abs()
    return torch.minimum(one, other) - (0.3 - gap).clamp_min(0.0).square() / 1.2


@lru_cache(maxsize=1)
def plume_tile() -> Tensor:
    """``[1, 4, ...]``: where the water at each place was before it was stirred, in its plume's own frame.

    Across the stem and along it (in radii of the plume's head), the plume's number (-1 to 1), and the
    distance to where another plume's frame begins. What is drawn as a plain stem in this frame appears
    rolled up as a pair of vortices rolls up the water that falls between them.
    """
    generator = torch.Generator().manual_seed(91)
    columns, rows = 4, 2
    wide, high = SIZE_PX // columns, SIZE_PX // rows
    tile = torch.zeros(4, SIZE_PX, SIZE_PX)
    for column in range(columns):
        for row in range(rows):
            at_x, at_y, size, own = torch.rand(4, generator=generator).tolist()
            radius = wide * (0.20 + 0.13 * size)
            right = (torch.arange(wide) + 0.5 - wide * (0.5 + 0.12 * (at_x - 0.5))) / radius
            down = (torch.arange(high) + 0.5 - high * (0.70 + 0.12 * (at_y - 0.5))) / radius
            place = torch.stack([right.expand(high, wide), down[:, None].expand(high, wide)])
            across, along = _unstirred(place, generator)
            margin = torch.minimum(*_to_the_edge(wide, high))
            part = torch.stack([across, along, torch.full_like(across, 2.0 * own - 1.0), margin])
            shift = (column % 2) * high // 2
            rows_at = (torch.arange(high) + row * high + shift) % SIZE_PX
            tile[:, rows_at, column * wide : (column + 1) * wide] = part
    return wrapped(tile)


def _to_the_edge(wide: int, high: int) -> tuple[Tensor, Tensor]:
    """0 at the frame's edge, 1 in its middle."""
    across = 1.0 - ((torch.arange(wide) + 0.5) / wide * 2.0 - 1.0).abs()
    down = 1.0 - ((torch.arange(high) + 0.5) / high * 2.0 - 1.0).abs()
    return across.expand(high, wide), 2.0 * down[:, None].expand(high, wide)


def _unstirred(place: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turns the two vortices of the head back, and before them those that were shed higher up."""
    for height, reach, turns in ((0.0, 0.66, 0.70), (-1.7, 0.45, 0.40), (-3.0, 0.40, 0.3)):
        for side in (-1.0, 1.0):
            luck, off = (torch.rand(2, generator=generator) - 0.5).tolist()
            middle = torch.tensor([side * (0.62 if height == 0.0 else 0.40), height + 0.25 * off])
            angle = side * math.tau * turns * (1.0 + 0.4 * luck)
            place = _turned(place, middle.reshape(2, 1, 1), angle, reach)
    return place[0], place[1]


def _turned(place: Tensor, middle: Tensor, angle: float, reach: float) -> Tensor:
    """Rotated about ``middle``, less and less away from it."""
    right, down = place - middle
    turn = angle * torch.exp(-(right * right + down * down) / reach**2)
    cos, sin = torch.cos(turn), torch.sin(turn)
    return torch.stack([right * cos - down * sin, right * sin + down * cos]) + middle
