"""Forms with bodies and edges: cells, panes of glass, crystals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.engine.noise_tiles import cell_tile, doubled, half, sample
from backend.engine.scene import Layer, Scene, bell, fade, gate


def cell(scene: Scene) -> Layer:
    """Round bodies with thin walls and a soft lamp inside; each at its own depth, and as sharp as that."""
    u0, u1, u2, _ = scene.fields
    x, y = scene.still_x + 0.012 * scene.soft[0], scene.still_y + 0.012 * scene.soft[1]
    near = 0.55 + 0.45 * torch.tanh(1.2 * scene.slow[3])
    far_shade, far_lamp, far_dome = _far_bodies(x, y, near, u1)
    front = _bodies(0.46 * x, 0.46 * y, 0.30 - 0.24 * near, u2 - 0.2)
    show = front.body * (0.25 + 0.75 * near)
    hidden = 1.0 - show
    tone = 0.4 * u0 - 0.75 + 0.75 * far_shade * (1.0 - 0.8 * show) + show * (0.35 + 0.85 * front.shade)
    lit = gate(1.8 * u0 + 0.6)
    glow = front.rim * (0.10 + 0.38 * lit) * near + (front.lamp * lit * 0.8 + 0.3 * far_lamp * hidden) * (
        1.0 - 0.75 * scene.key
    )
    height = 0.40 * front.dome * near + 0.12 * far_dome * hidden
    return Layer(tone, height, glow, front.number * show)


def _far_bodies(x: Tensor, y: Tensor, near: Tensor, swell: Tensor) -> list[Tensor]:
    """Shade, lamp and dome of smaller bodies behind; never sharp, so half the size will do."""
    small_x, small_y, small_near, small_swell = half(1.15 * x + 0.37, 1.15 * y + 0.21, near, swell)
    far = _bodies(small_x, small_y, 0.25 + 0.2 * small_near, small_swell)
    return doubled(far.shade, far.lamp, far.dome, like=x)


@dataclass(frozen=True)
class _Bodies:
    """One layer of cells: coverage, relief, wall, lamp, shade and number, each ``[H, W]``."""

    body: Tensor
    dome: Tensor
    rim: Tensor
    lamp: Tensor
    shade: Tensor
    number: Tensor


def _bodies(x: Tensor, y: Tensor, blur: Tensor, swell: Tensor) -> _Bodies:
    """Bodies that touch but never overlap: round where there is room, flat where a neighbour presses."""
    inside, wall, own, slant = sample(cell_tile(), x, y)
    radius = 0.40 + 0.16 * own + 0.05 * swell.clamp(-2.0, 2.0)
    depth = _least(radius - inside, 0.75 * wall - 0.02)
    soft = 0.02 + blur * (0.25 + 0.9 * (own * 7.0).frac())
    body = gate(1.6 * depth / soft)
    dome = (depth.clamp_min(0.0) / radius).clamp_max(1.0)
    dome = (dome * (2.0 - dome)).sqrt() * body
    rim = bell(depth / (0.012 + 0.5 * soft)) * 0.03 / (0.012 + 0.5 * soft)
    lamp = bell(inside * 3.2) * gate(14.0 * (own - 0.62)) * body
    sealed = (wall * 10.0).clamp_max(1.0)  # what jumps from body to body must not be seen to jump
    shade = body * (0.25 + 0.5 * rim.clamp_max(1.0) + sealed * (0.5 * (own - 0.4) + 0.5 * slant))
    return _Bodies(body, dome, rim.clamp_max(1.2), lamp * sealed, shade, (2.0 * own - 1.0) * sealed)


def _least(one: Tensor, other: Tensor) -> Tensor:
    """The lesser of two, its corner rounded."""
    gap = (one - other).abs()
    return torch.minimum(one, other) - (0.08 - gap).clamp_min(0.0).square() / 0.32


def facet(scene: Scene) -> Layer:
    """Panes of glass in dark leads, each with its own light and colour; some are leaded once more."""
    u0, u1, u2, u3 = scene.fields
    x, y = 0.40 * scene.still_x + 0.008 * scene.soft[0], 0.40 * scene.still_y + 0.006 * u1
    inside, wall, own, slant = sample(cell_tile(), x, y + 0.3)
    inner_wall, inner_own, inner_slant = sample(cell_tile()[:, 1:], 1.8 * x + 0.4, 1.8 * y)
    split = gate(30.0 * (own - 0.66))
    own = torch.lerp(own, inner_own, 0.8 * split)
    seam = gate(4.0 - 75.0 * wall)
    seam = torch.maximum(seam, gate(3.0 - 60.0 * inner_wall) * split)
    through = gate(1.5 * u0 + 3.6 * (own - 0.5) + 0.3 * u3 + 0.8 * slant)
    ripple = scene.soft[1] * 0.10 + 0.5 * inner_slant * (1.0 - split)
    tone = 0.5 * u0 + 1.1 * (own - 0.5) + 0.7 * slant + ripple
    glow = through * through * (0.8 - 0.5 * inside) * (1.0 - 0.8 * scene.key)
    relief = 0.35 * slant + 0.14 * wall.clamp_max(0.2)
    dark = -1.9 * (1.0 - 0.7 * scene.key)
    return Layer(tone + dark * seam, relief, glow * (1.0 - seam), 2.6 * (inner_own - 0.5) + 0.5 * u2)


def crystal(scene: Scene) -> Layer:
    """Long shards that cross each other: flat faces with one light each, bright thin edges, depth within."""
    u0, u1, _, u3 = scene.fields
    x, y = scene.still_x, scene.still_y
    wall, own, slant = sample(cell_tile()[:, 1:], 0.20 * x + 0.34 * y, 0.62 * y - 0.36 * x)
    refract = 0.05 * slant + 0.03 * own
    a, b = x + refract, y - refract
    deep_wall, deep_own, deep_slant = sample(
        cell_tile()[:, 1:], 0.95 * b + 0.40 * a + 0.4, 0.42 * a - 0.30 * b
    )
    edge = fade(wall * 42.0) + 0.30 * fade(wall * 9.0)
    vein = fade(deep_wall * 30.0)
    near = gate(1.6 * scene.slow[3] + 0.8)
    face = 1.5 * (own - 0.5) + 1.5 * slant
    within = 0.9 * (deep_own - 0.5) + 1.0 * deep_slant + 0.25 * vein
    tone = 0.45 * u0 + near * face + (1.0 - 0.45 * near) * within - 0.1 + near * 0.75 * edge
    glow = near * edge * (0.16 + 0.3 * gate(2.0 * u0 + u3)) * (1.0 - 0.6 * scene.key)
    return Layer(
        tone, (0.55 * slant + 0.25 * own) * near + 0.2 * deep_slant, glow, 1.4 * (own - 0.5) + 0.4 * u1
    )
