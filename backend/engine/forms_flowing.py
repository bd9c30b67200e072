"""Forms without edges of their own: filaments, veils, waves, strata, dust, smoke."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.engine.noise_tiles import fine_tile, sample, star_tile
from backend.engine.scene import Layer, Scene, bell, fade, gate

_TURN = 6.2832


def filament(scene: Scene) -> Layer:
    """Bundles of threads along the zero lines of slow fields; farther ones behind, out of focus."""
    u0, u1, u2, u3 = scene.fields
    lead = 0.8 * u3 + 0.5 * scene.soft[0]
    near = _threads(lead, scene.unit, 0.0026 * scene.glow, strands=2.2)
    middle = _threads(0.7 * u2 + 0.45 * u3 - 0.6 * scene.soft[2] - 0.35, scene.unit, 0.0035 * scene.glow)
    far = _threads(0.7 * u1 - 0.6 * scene.soft[1] + 0.2, scene.unit, 0.014 * scene.glow)
    lit = gate(2.4 * u0 + 1.3 * scene.soft[2] + 0.2)
    glow = near * (0.15 + 1.5 * lit) + 0.9 * middle * (0.1 + (1.0 - lit) * lit * 2.0) + 0.3 * far
    return Layer(0.4 * u0 - 0.55 + 0.3 * scene.soft[1], 0.15 * u3 + 0.1 * scene.soft[0], glow)


def veil(scene: Scene) -> Layer:
    """Curtains: sharp along a lower hem, fading upward in rays; one farther behind, a dim mirror below."""
    u0, u1, u2, u3 = scene.fields
    s2, s3 = scene.slow[2], scene.slow[3]
    fold = scene.still_x + 0.07 * u2 + 0.05 * s3
    rays, thin = sample(fine_tile(), 0.62 * fold, 0.035 * scene.y + 0.02 * u1)
    hem = 0.60 - scene.still_y + 0.13 * u3 + 0.05 * scene.soft[0] + 0.02 * rays
    first = _curtain(hem, 0.30 + 0.09 * rays) * gate(1.6 * u1 + 1.2)
    behind = 0.42 - scene.still_y - 0.15 * u0 + 0.05 * scene.soft[1]
    second = _curtain(behind, 0.5 + 0.1 * s2) * gate(0.8 - 1.6 * u1)
    strands = (0.50 + 0.26 * rays + 1.3 * (thin - 0.6)).clamp_min(0.03)
    mirrored = gate(-30.0 * hem) * fade((-2.6 * hem).clamp_min(0.0)) * gate(1.2 * u1 + 0.6)
    light = first * strands * 1.8 + second * (0.50 - 0.38 * strands) + 0.42 * mirrored * strands
    glow = 0.6 * light * light * gate(1.6 * u0 + 0.8)
    return Layer(0.35 * u0 - 0.85 + 0.10 * rays + 1.5 * light, 0.3 * light, glow, 0.5 * (s2 - light))


def wave(scene: Scene) -> Layer:
    """Folds of silk, swells of water: broad backs, one crisp crest each, finer folds across them."""
    u0, u1, u2, u3 = scene.fields
    along = 1.15 * scene.y + 0.42 * scene.x + 0.26 * u3 + 0.12 * u1
    phase = _TURN * along
    back = torch.sin(phase + 0.9 * torch.sin(phase + 0.4))
    cross = _TURN * (2.1 * scene.y - 0.9 * scene.x + 0.30 * u2 + 0.12 * scene.soft[0])
    fold = torch.sin(cross + 0.8 * torch.sin(cross) + 1.2 * back)
    silk = sample(fine_tile(), 0.12 * scene.x + 0.1 * u2, 0.9 * along + 0.10 * fold)[0]
    height = 0.62 * back + 0.26 * fold * (1.0 + 0.3 * u2) + 0.07 * silk
    crest = gate(9.0 * (height - 0.62))
    tone = 0.42 * u0 + 0.75 * height + 0.10 * silk
    return Layer(tone, 1.25 * height, 0.30 * crest * gate(1.6 * u0 + 0.4), 0.8 * fold * back)


def strata(scene: Scene) -> Layer:
    """Layers laid down and bent: long dunes with one steep side, thin seams between."""
    u0, u1, _, u3 = scene.fields
    along = 2.1 * scene.y + 0.42 * u3 + 0.16 * u0 + 0.22 * scene.soft[0] + 0.25 * scene.x
    phase = _TURN * along
    crest = torch.sin(phase + 0.85 * torch.sin(phase) + 0.5 * u1)
    grain, seam = sample(fine_tile(), 0.16 * scene.x + 0.05 * u1, 0.8 * along)
    tone = 0.5 * u0 + 0.45 * crest + 0.24 * grain + 0.5 * (seam - 0.6)
    ridge = gate(9.0 * (crest - 0.75))
    return Layer(tone, 0.62 * crest + 0.15 * grain, 0.34 * ridge * gate(1.6 * u0), 0.45 * grain)


def dust(scene: Scene) -> Layer:
    """Clouds of dust with lit rims and dark lanes before them, and few stars behind."""
    u0, _, u2, u3 = scene.fields
    bend_x, bend_y = 0.10 * scene.soft[0], 0.10 * scene.soft[1]
    rough, ridge = sample(fine_tile(), 0.40 * scene.x + bend_x, 0.40 * scene.y + bend_y)
    detail, wisp = sample(
        fine_tile(), 0.9 * scene.still_x + bend_y + 0.06 * rough, 0.9 * scene.still_y + bend_x
    )
    density = 1.2 * u0 + 0.95 * rough + 0.34 * detail + 0.5 * scene.soft[2] - 0.35
    cloud = gate(1.35 * density)
    lane = gate(2.2 * u3 + 9.0 * (ridge - 0.62) + 0.7 * detail - 0.3) * 0.9
    stars = sample(star_tile(), 0.62 * scene.sky_x, 0.62 * scene.sky_y)[0] * (1.15 - cloud)
    rim = bell(3.0 * (lane - 0.5)) * cloud * (0.4 + 1.6 * (wisp - 0.4))
    core = cloud.pow(4) * gate(2.0 * u2 + 0.3) * (1.0 - lane)
    tone = 1.7 * cloud * (1.0 - lane) + 0.45 * rim + 0.8 * (wisp - 0.6) * cloud - 1.05
    height = 0.45 * rough * cloud + 0.22 * detail * cloud - 0.4 * lane
    return Layer(tone + 1.8 * stars, height, 0.9 * core + 0.25 * rim + 0.7 * stars, 0.7 * u2 - 0.3 * rough)


def smoke(scene: Scene) -> Layer:
    """Plumes that fold into themselves: noise bent by noise."""
    u0, u1, _, u3 = scene.fields
    bend_x = 0.20 * scene.soft[0] + 0.06 * u3
    bend_y = 0.20 * scene.soft[1] + 0.06 * u1
    rough, ridge = sample(fine_tile(), 0.28 * scene.x + bend_x, 0.28 * scene.y + bend_y)
    density = gate(1.8 * u0 + 1.3 * rough + 0.5 * scene.soft[2] - 0.2)
    edge = density * (1.0 - density) * 4.0
    tone = 1.6 * density - 0.9 + 1.1 * (ridge - 0.6) * (0.3 + edge)
    return Layer(
        tone, 0.6 * density + 0.45 * ridge, density.pow(6) * (0.1 + 0.5 * ridge * ridge), 0.4 * rough
    )


def _threads(value: Tensor, unit: float, width: float, strands: float = 0.0) -> Tensor:
    """Lines of even width where ``value`` crosses zero: a thin core in a wide glow.

    Dividing by the slope makes the width even; the floor under it turns flat places to broad light
    instead of speckle. With ``strands`` fainter ones run beside the first, so many to a unit of ``value``.
    """
    across = torch.diff(value, dim=1, append=value[:, -1:])
    down = torch.diff(value, dim=0, append=value[-1:])
    slope = (across * across + down * down).sqrt_().div_(unit).add_(1.2)
    line = _line(value / slope, width)
    if strands == 0.0:
        return line
    beside = ((value * strands + 0.5).frac() + 1.0).frac().sub_(0.5).div_(strands)
    return line + 0.4 * _line(beside / slope, 0.7 * width) * bell(1.6 * value)


def _line(distance: Tensor, width: float) -> Tensor:
    lorentz = width / (distance * distance + width * width * 4).sqrt()
    return lorentz * lorentz * 2.2 + 0.5 * lorentz


def _curtain(above: Tensor, reach: Tensor) -> Tensor:
    return gate(55.0 * above) * fade(above.clamp_min(0.0) / reach.clamp_min(0.08))
