"""A form that grows: fronds, which are ferns, feathers or veined leaves."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from backend.engine.noise_tiles import SIZE_PX, doubled, half, sample, wrapped
from backend.engine.scene import Layer, Scene, bell, gate

_BRANCHES = 15.0
"""Side branches along one frond."""


def frond(scene: Scene) -> Layer:
    """Curved ribs with side branches that branch again; near ones sharp, far ones shapes in the haze."""
    u0, u1, u2, u3 = scene.fields
    x, y = scene.still_x + 0.02 * scene.soft[0], scene.still_y + 0.02 * scene.soft[1]
    near = _fronds(0.34 * x + 0.1, 0.34 * y + 0.2, u1, scene.slow[3], 0.34 * scene.unit, blur=0.0)
    middle = _fronds(0.52 * x + 0.63, 0.52 * y + 0.4, u2, -scene.slow[3], 0.52 * scene.unit, blur=0.10)
    small_x, small_y, small_u = half(x, y, u3)
    far = _fronds(0.80 * small_x + 0.2, 0.80 * small_y + 0.7, small_u, -small_u, 1.6 * scene.unit, blur=0.35)
    far_body, far_shade = doubled(far.body, far.shade, like=x)
    behind = 1.0 - near.body
    light = gate(1.5 * u0 + 0.8)
    tone = 0.5 * u0 - 0.75 + (0.5 + 0.3 * far_shade) * far_body
    tone = torch.lerp(tone, 0.35 * u0 - 0.30 + 0.85 * middle.shade, middle.body)
    tone = torch.lerp(tone, 0.30 * u0 - 0.10 + 1.5 * near.shade, near.body)
    veins = near.vein * near.body + 0.4 * middle.vein * middle.body * behind
    glow = veins * light * 0.5 * (1.0 - 0.6 * scene.key)
    height = 0.16 * near.dome * near.body + 0.08 * middle.dome * middle.body * behind
    tint = 0.9 * near.body * near.own + 0.5 * middle.body * behind * middle.own + 0.4 * u2
    return Layer(tone + 0.5 * veins, height, glow, tint)


class _Fronds:
    """One layer, everything ``[H, W]``: coverage, shade, veins, relief and number."""

    def __init__(self, body: Tensor, shade: Tensor, vein: Tensor, dome: Tensor, own: Tensor) -> None:
        self.body, self.shade, self.vein, self.dome, self.own = body, shade, vein, dome, own


def _fronds(x: Tensor, y: Tensor, open_: Tensor, growth: Tensor, texel: float, *, blur: float) -> _Fronds:
    """Fronds at positions in tiles; ``open_`` sets leaflets apart (fern) or joins them (leaf).

    They unroll and withdraw with ``growth``, each at its own time.
    """
    along, across, own, inside = sample(frond_tile(), x, y)
    reach = 0.85 + 0.55 * torch.tanh(1.2 * growth + 2.0 * own)
    unrolled = (2.2 * (reach - along)).clamp(0.0, 1.0)
    unrolled = unrolled * (2.0 - unrolled)
    side = across.abs() / (0.15 + 0.85 * unrolled)
    gap = 0.47 - 0.17 * gate(1.6 * open_ + 2.0 * own + 1.0)
    lean = _BRANCHES * along - 3.0 * side * (1.3 - along)
    place = (lean + 0.5 * gate(60.0 * across)).frac() - 0.5
    width = gap * (1.0 - side.clamp_max(1.4).pow(3))
    pixel = texel * _BRANCHES / _LENGTH
    soft = 0.03 + 1.2 * pixel + blur
    leaflet = gate((width - place.abs()) / soft * 1.6)
    rib = bell(side * _WIDTH / (0.0022 + 0.8 * texel + 0.02 * blur))
    ends = (inside / (0.15 + 0.5 * blur + texel)).clamp(0.0, 1.0)
    ends = ends * ends * (3.0 - 2.0 * ends) * unrolled
    body = torch.maximum(leaflet, rib) * ends
    midline = bell(place / (0.05 + 0.9 * pixel + blur)) * (1.0 - 0.6 * side)
    second = torch.sin(2.0 * math.pi * (9.0 * side - 2.2 * place.abs()))
    dome = (1.0 - (place / width.clamp_min(0.08)).square()).clamp_min(0.0)
    shade = 0.25 + 0.35 * own + 0.5 * place * torch.sign(across) + 0.3 * along + 0.10 * second * dome
    vein = (0.55 * midline + 0.9 * rib) * ends
    return _Fronds(body, shade, vein, dome * (1.0 + 0.12 * second), own)


_COUNT = 8
_LENGTH = 0.62
_WIDTH = 0.10
"""A frond's length and half its width, in tiles."""


@lru_cache(maxsize=1)
def frond_tile() -> Tensor:
    """``[1, 4, ...]``: how far along the nearest frond (0 to 1), how far across (-1 to 1), number, margin."""
    best = torch.full((SIZE_PX, SIZE_PX), -9.0)
    second = best.clone()
    tile = torch.zeros(3, SIZE_PX, SIZE_PX)
    for index, arc in enumerate(_spread_out()):
        along, across, inside = _laid(arc, SIZE_PX)
        closer = inside > best
        second = torch.where(closer, best, torch.maximum(second, inside))
        best = torch.where(closer, inside, best)
        values = (along, across.clamp(-3, 3), torch.tensor(math.cos(2.4 * index)))
        tile = torch.stack([torch.where(closer, v, kept) for v, kept in zip(values, tile, strict=True)])
    margin = torch.minimum(best, best - second - 0.04)  # where two meet, both end
    return wrapped(torch.cat([tile, margin[None]]))


def _spread_out() -> list[list[float]]:
    """Fronds that hardly touch: each is the best of many tries. (x, y, bend, heading)."""
    generator = torch.Generator().manual_seed(81)
    taken = torch.full((48, 48), -1.0)
    found = []
    for index in range(_COUNT):
        tries = []
        for _ in range(20):
            x, y, bend, turn = torch.rand(4, generator=generator).tolist()
            bend = (1.0 if index % 2 else -1.0) * (0.7 + 1.4 * bend)
            arc = [x, y, bend / _LENGTH, -0.5 * math.pi - 0.3 * bend + 1.6 * (turn - 0.5)]
            inside = _laid(arc, 48)[2]
            tries.append((float(torch.minimum(inside, taken).add(0.3).clamp_min(0.0).mean()), arc, inside))
        _, arc, inside = min(tries, key=lambda one: one[0])
        taken = torch.maximum(taken, inside)
        found.append(arc)
    return found


def _laid(arc: list[float], size_px: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of one frond on a tile: how far along, how far across, how deep inside (-1 to about 1)."""
    x, y, curvature, heading = arc
    axis = torch.arange(size_px, dtype=torch.float32) / size_px
    right, down = (axis - x + 0.5).remainder(1.0) - 0.5, ((axis - y + 0.5).remainder(1.0) - 0.5)[:, None]
    along, across = _along_arc(right, down, heading, curvature)
    along = along / _LENGTH + 0.5
    short = along.clamp(0.0, 1.0)
    across = across / (_WIDTH * 1.55 * (short + 0.03).pow(0.5) * (1.03 - short).pow(0.8))
    inside = torch.minimum(1.15 - across.abs(), 6.0 * torch.minimum(along, 1.0 - along))
    return along, across, inside.clamp_min(-1.0)


def _along_arc(right: Tensor, down: Tensor, heading: float, curvature: float) -> tuple[Tensor, Tensor]:
    """Length along and distance across an arc through the origin, which starts toward ``heading``."""
    forward = right * math.cos(heading) + down * math.sin(heading)
    aside = -right * math.sin(heading) + down * math.cos(heading)
    radius = 1.0 / curvature
    from_centre = (aside - radius) * -math.copysign(1.0, radius)
    angle = torch.atan2(forward, from_centre)
    across = abs(radius) - torch.hypot(forward, aside - radius)
    return angle * abs(radius), across
