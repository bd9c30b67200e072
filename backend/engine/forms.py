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
    """

    fields: Tensor
    x: Tensor
    y: Tensor
    still_x: Tensor
    still_y: Tensor
    soft: Tensor
    unit: float
    glow: float


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
    """Threads along the zero lines of a slow field, bright in places; a second, farther set behind."""
    u0, u1, _, u3 = scene.fields
    near = _thread(0.8 * u3 + 0.55 * scene.soft[0], scene.unit, 0.0032 * scene.glow)
    far = _thread(0.7 * u1 - 0.6 * scene.soft[1] + 0.2, scene.unit, 0.012 * scene.glow)
    lit = torch.sigmoid(2.2 * u0 + 1.2 * scene.soft[2] - 0.2)
    glow = 1.3 * near * lit + 0.3 * far * (1.0 - 0.6 * lit)
    return Layer(0.5 * u0 - 0.75 + 0.25 * scene.soft[1], 0.15 * u3, glow)


def veil(scene: Scene) -> Layer:
    """Curtains: sharp along a lower hem, fading upward in rays."""
    u0, _, u2, u3 = scene.fields
    rays = sample(soft_tile(), 1.3 * scene.x + 0.12 * u2, 0.09 * scene.y + 0.03 * u3)[0]
    first = _curtain(u3 + 0.30 * scene.soft[0] + 0.9 * (0.5 - scene.y), 0.55 + 0.2 * rays)
    second = _curtain(0.8 * u2 - 0.4 * u0 + 0.25 * scene.soft[1] - 0.3, 0.8 + 0.2 * rays)
    light = first * (0.72 + 0.24 * rays) + 0.5 * second * (0.75 + 0.2 * rays)
    return Layer(0.55 * u0 - 0.55 + 0.9 * light, None, 0.62 * light * torch.sigmoid(1.6 * u0 + 0.8))


def cell(scene: Scene) -> Layer:
    """Rounded bodies with thin walls and a soft lamp inside; small ones far away."""
    u0, _, u2, u3 = scene.fields
    bend_x, bend_y = 0.03 * scene.soft[0], 0.03 * scene.soft[1]
    inside, wall, own = sample(
        cell_tile(), 0.46 * scene.still_x + bend_x + 0.03 * u2, 0.46 * scene.still_y + bend_y
    )
    dome = (1.0 - 1.1 * inside * inside).clamp_min(-0.6)
    rim = torch.exp(-((wall * 5.5) ** 2)) * (0.5 + 0.5 * torch.sigmoid(2.0 * u3))
    lamp = torch.exp(-((inside * 3.2) ** 2)) * torch.sigmoid(7.0 * (own - 0.5) + 1.5 * u0)
    tone = 0.55 * u0 + 0.55 * dome - 0.7 + 0.35 * rim + 0.25 * (own - 0.5)
    return Layer(tone, 0.30 * dome, 0.42 * rim * torch.sigmoid(1.8 * u0) + 0.55 * lamp)


def facet(scene: Scene) -> Layer:
    """Panes between dark seams, each with its own light; brightest where light falls through."""
    u0, u1, u2, u3 = scene.fields
    bend = 0.012 * scene.soft[0]
    inside, wall, own = sample(
        cell_tile(), 0.52 * scene.still_x + bend, 0.52 * scene.still_y + 0.3 + 0.01 * u1
    )
    seam = torch.sigmoid(4.0 - 75.0 * wall)
    through = torch.sigmoid(1.5 * u0 + 2.4 * (own - 0.5) + 0.3 * u3)
    tone = 0.5 * u0 + 1.5 * (own - 0.5) + 0.16 * scene.soft[1] - 0.35 * inside + 0.1
    glow = through * through * (0.75 - 0.3 * inside + 0.1 * u2) * 0.8
    return Layer(tone - 2.2 * seam, 0.25 * own + 0.12 * wall.clamp_max(0.3), glow * (1.0 - seam))


def strata(scene: Scene) -> Layer:
    """Layers laid down and bent: long dunes with one steep side, thin seams between."""
    u0, u1, _, u3 = scene.fields
    along = 2.1 * scene.y + 0.42 * u3 + 0.16 * u0 + 0.22 * scene.soft[0] + 0.25 * scene.x
    phase = 6.2832 * along
    crest = torch.sin(phase + 0.75 * torch.sin(phase) + 0.5 * u1)
    grain = sample(fine_tile(), 0.16 * scene.x + 0.05 * u1, 0.8 * along)[0]
    tone = 0.55 * u0 + 0.34 * crest + 0.26 * grain - 0.05
    return Layer(
        tone, 0.55 * crest + 0.16 * grain, 0.3 * torch.sigmoid(7.0 * (crest - 0.72)) * torch.sigmoid(1.6 * u0)
    )


def dust(scene: Scene) -> Layer:
    """Clouds of dust with dark lanes before them and few stars behind."""
    u0, _, _, u3 = scene.fields
    bend_x, bend_y = 0.07 * scene.soft[0], 0.07 * scene.soft[1]
    rough, ridge = sample(fine_tile(), 0.45 * scene.x + bend_x, 0.45 * scene.y + bend_y)
    cloud = torch.sigmoid(1.5 * u0 + 0.75 * rough + 0.55 * scene.soft[2])
    lane = torch.sigmoid(2.0 * u3 + 7.0 * (ridge - 0.62)) * 0.75
    stars = sample(star_tile(), 0.7 * scene.still_x, 0.7 * scene.still_y)[0]
    tone = 1.75 * cloud * (1.0 - lane) - 1.05 + 1.3 * stars * (1.1 - cloud)
    return Layer(tone, 0.18 * rough * cloud, cloud.pow(3) * (1.0 - lane) * 0.75)


def smoke(scene: Scene) -> Layer:
    """Plumes that fold into themselves: noise bent by noise."""
    u0, u1, _, u3 = scene.fields
    bend_x = 0.20 * scene.soft[0] + 0.06 * u3
    bend_y = 0.20 * scene.soft[1] + 0.06 * u1
    rough, ridge = sample(fine_tile(), 0.28 * scene.x + bend_x, 0.28 * scene.y + bend_y)
    density = torch.sigmoid(1.9 * u0 + 0.95 * rough + 0.5 * scene.soft[2])
    tone = 1.7 * density - 0.95 + 0.5 * (ridge - 0.6) * density
    return Layer(tone, 0.35 * density + 0.22 * ridge, density.pow(4) * 0.45)


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
