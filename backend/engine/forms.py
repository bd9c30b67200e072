"""The forms a picture is made of: filaments, veils, cells, facets, strata, dust, smoke.

Each takes the scene and gives a Layer. None of them knows colours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from backend.engine.noise_tiles import cell_tile, fine_tile, sample, soft_tile, star_tile


@dataclass(frozen=True)
class Scene:
    """What the forms are drawn from; fields are ``[H, W]``.

    Attributes:
        fields: ``[4, H, W]`` the latent's content, drawn large.
        x: Position across, in picture heights (shorter sides), with the walk's displacement in it.
        y: Position down, likewise.
        still_x: Position across, only gently displaced: for points that a strong walk would smear.
        still_y: Position down, likewise.
        soft: ``[3, H, W]`` smooth noise at these positions.
        unit: One pixel in the unit of x and y.
        glow: 0 to 2, how far lights spread.
        key: 0 for pictures made of darkness, 1 for pictures made of light.
    """

    fields: Tensor
    x: Tensor
    y: Tensor
    still_x: Tensor
    still_y: Tensor
    soft: Tensor
    unit: float
    glow: float
    key: float


@dataclass(frozen=True)
class Layer:
    """What one form adds.

    Attributes:
        tone: About -1 (shadow) to 1 (light), ``[H, W]``.
        height: Relief for the light from the side, in arbitrary units; None for none.
        glow: 0 to about 1, where the accent colour shines; None for nowhere.
    """

    tone: Tensor
    height: Tensor | None = None
    glow: Tensor | None = None


def filament(scene: Scene) -> Layer:
    """Threads along the zero lines of slow fields, bright in places; farther sets behind, out of focus."""
    u0, u1, u2, u3 = scene.fields
    near = _thread(0.8 * u3 + 0.5 * scene.soft[0], scene.unit, 0.0030 * scene.glow)
    middle = _thread(0.7 * u2 + 0.45 * u3 - 0.6 * scene.soft[2] - 0.35, scene.unit, 0.0045 * scene.glow)
    far = _thread(0.7 * u1 - 0.6 * scene.soft[1] + 0.2, scene.unit, 0.014 * scene.glow)
    lit = torch.sigmoid(2.4 * u0 + 1.3 * scene.soft[2] - 0.2)
    glow = near * (0.12 + 1.4 * lit) + 0.5 * middle * (1.0 - lit) * lit * 2.0 + 0.28 * far * (1.0 - 0.6 * lit)
    return Layer(0.45 * u0 - 0.8 + 0.3 * scene.soft[1], 0.15 * u3 + 0.1 * scene.soft[0], glow)


def veil(scene: Scene) -> Layer:
    """Curtains: sharp along a lower hem, fading upward in rays."""
    u0, _, u2, u3 = scene.fields
    fold = scene.x + 0.16 * u2 + 0.05 * scene.soft[1]
    rays, fine = sample(soft_tile(), 0.9 * fold, 0.05 * scene.y + 0.03 * u3)[:2]
    hairs = sample(fine_tile(), 1.1 * fold, 0.04 * scene.y)[0]
    strands = (0.55 + 0.22 * rays + 0.16 * hairs).clamp_min(0.04)
    first = _curtain(0.9 * u3 + 0.28 * scene.soft[0] + 0.8 * (0.5 - scene.y), 0.5 + 0.2 * rays)
    second = _curtain(0.8 * u2 - 0.4 * u0 + 0.25 * scene.soft[1] - 0.3, 0.7 + 0.2 * fine)
    light = first * strands * 1.35 + 0.6 * second * (0.6 + 0.2 * fine + 0.1 * hairs)
    return Layer(
        0.45 * u0 - 0.75 + 1.15 * light, 0.25 * light, 0.5 * light * light * torch.sigmoid(1.6 * u0 + 0.8)
    )


def cell(scene: Scene) -> Layer:
    """Rounded bodies with thin walls and a soft lamp inside; larger ones behind, out of focus."""
    u0, _, u2, u3 = scene.fields
    zoom = 0.62 * (1.0 + 0.06 * u2.clamp(-2.0, 2.0))
    x, y = zoom * scene.still_x + 0.03 * scene.soft[0], zoom * scene.still_y + 0.03 * scene.soft[1]
    inside, wall, own, _ = sample(cell_tile(), x, y)
    here = torch.sigmoid(2.6 * u3 + 0.8 * scene.soft[2] + 0.3)
    dome = (1.0 - 1.25 * inside * inside).clamp_min(-0.6)
    rim = torch.exp(-((wall * 5.0) ** 2)) * (0.12 + 0.88 * here)
    lamp = (
        torch.exp(-((inside * 3.0) ** 2))
        * torch.sigmoid(9.0 * (own - 0.55) + 1.2 * u0)
        * (0.25 + 0.75 * here)
    )
    behind = sample(cell_tile(), 0.45 * x + 0.37, 0.45 * y + 0.21)[0]
    haze = torch.exp(-3.0 * behind * behind) * (1.0 - 0.6 * here)
    tone = 0.5 * u0 - 0.95 + (0.2 + 0.55 * here) * dome + 0.3 * rim + 0.4 * (own - 0.5) * here + 0.35 * haze
    return Layer(tone, 0.42 * dome * here, 0.34 * rim * torch.sigmoid(1.8 * u0) + 0.75 * lamp)


def facet(scene: Scene) -> Layer:
    """Panes with their own light and slant: dark leads in the dark, pale fractures in the light."""
    u0, u1, u2, u3 = scene.fields
    zoom = 0.5 * (1.0 + 0.05 * u2.clamp(-2.0, 2.0))
    x, y = zoom * scene.still_x + 0.012 * scene.soft[0], zoom * scene.still_y + 0.01 * u1
    inside, wall, own, slant = sample(cell_tile(), x, y + 0.3)
    _, inner_wall, inner_own, inner_slant = sample(cell_tile(), 2.1 * x + 0.4, 2.1 * y)
    seam = torch.sigmoid(4.0 - 75.0 * wall)
    crack = torch.exp(-inner_wall * 30.0) * scene.key
    through = torch.sigmoid(1.7 * u0 + 3.2 * (own - 0.6) + 0.3 * u3 + 0.8 * slant)
    tone = (
        0.5 * u0 + 1.1 * (own - 0.5) + 0.9 * slant + 0.5 * scene.key * (inner_own - 0.5 + inner_slant) - 0.1
    )
    glow = through * through * (0.75 - 0.35 * inside) * (1.0 - 0.8 * scene.key)
    dark, pale = -2.4 * (1.0 - scene.key) ** 2, 0.9 * scene.key
    relief = 0.35 * slant + 0.12 * wall.clamp_max(0.3) + 0.15 * scene.key * inner_slant
    return Layer(tone + (dark + pale) * seam + 0.5 * crack, relief, glow * (1.0 - seam))


def strata(scene: Scene) -> Layer:
    """Layers laid down and bent: long dunes with one steep side, thin seams between."""
    u0, u1, _, u3 = scene.fields
    along = 2.1 * scene.y + 0.42 * u3 + 0.16 * u0 + 0.22 * scene.soft[0] + 0.25 * scene.x
    phase = 6.2832 * along
    crest = torch.sin(phase + 0.75 * torch.sin(phase) + 0.5 * u1)
    grain = sample(fine_tile(), 0.2 * scene.x + 0.05 * u1, 0.8 * along)[0]
    tone = 0.55 * u0 + 0.34 * crest + 0.26 * grain - 0.05
    return Layer(
        tone, 0.55 * crest + 0.16 * grain, 0.3 * torch.sigmoid(7.0 * (crest - 0.72)) * torch.sigmoid(1.6 * u0)
    )


def dust(scene: Scene) -> Layer:
    """Clouds of dust with dark lanes before them and few stars behind."""
    u0, _, u2, u3 = scene.fields
    bend_x, bend_y = 0.10 * scene.soft[0], 0.10 * scene.soft[1]
    rough, ridge = sample(fine_tile(), 0.40 * scene.x + bend_x, 0.40 * scene.y + bend_y)
    detail = sample(fine_tile(), 0.9 * scene.still_x + bend_y + 0.05 * rough, 0.9 * scene.still_y + bend_x)[0]
    cloud = torch.sigmoid(1.3 * u0 + 0.85 * rough + 0.28 * detail + 0.5 * scene.soft[2] - 0.5)
    lane = torch.sigmoid(1.8 * u3 + 8.0 * (ridge - 0.62) + 0.5 * detail) * 0.85
    stars = sample(star_tile(), 0.7 * scene.still_x, 0.7 * scene.still_y)[0] * (1.15 - cloud)
    core = cloud.pow(5) * torch.sigmoid(2.0 * u2 + 0.5) * (1.0 - lane)
    tone = 1.7 * cloud * (1.0 - lane) - 1.1
    return Layer(tone + 1.8 * stars, 0.3 * rough * cloud + 0.1 * detail * cloud, 0.9 * core + 0.6 * stars)


def smoke(scene: Scene) -> Layer:
    """Plumes that fold into themselves: noise bent by noise."""
    u0, u1, _, u3 = scene.fields
    bend_x = 0.20 * scene.soft[0] + 0.06 * u3
    bend_y = 0.20 * scene.soft[1] + 0.06 * u1
    rough, ridge = sample(fine_tile(), 0.28 * scene.x + bend_x, 0.28 * scene.y + bend_y)
    density = torch.sigmoid(1.8 * u0 + 1.1 * rough + 0.5 * scene.soft[2] - 0.3)
    edge = density * (1.0 - density) * 4.0
    tone = 1.6 * density - 0.95 + 0.9 * (ridge - 0.6) * (0.3 + edge)
    return Layer(tone, 0.4 * density + 0.3 * ridge, density.pow(6) * (0.1 + 0.5 * ridge * ridge))


FORMS: Mapping[str, Callable[[Scene], Layer]] = {
    form.__name__: form for form in (filament, veil, cell, facet, strata, dust, smoke)
}


def _thread(value: Tensor, unit: float, width: float) -> Tensor:
    """A line of even width where ``value`` crosses zero: a thin core in a wide glow.

    Dividing by the slope makes the width even; the floor under it turns flat places to broad light
    instead of speckle.
    """
    across = torch.diff(value, dim=1, append=value[:, -1:])
    down = torch.diff(value, dim=0, append=value[-1:])
    slope = (across * across + down * down).sqrt_().div_(unit).add_(1.2)
    distance = value / slope
    lorentz = width / (distance * distance + width * width * 4).sqrt()
    return lorentz * lorentz * 2.2 + 0.5 * lorentz


def _curtain(value: Tensor, reach: Tensor) -> Tensor:
    return torch.sigmoid(18.0 * value) * torch.exp(-value.clamp_min(0.0) / reach.clamp_min(0.2))
