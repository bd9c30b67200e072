"""Light and air over what the forms have laid: palette, relief, haze, focus, glow."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import Tensor

from backend.engine.scene import Layer, Scene
from backend.engine.style import Style

TONE_SLOPE = 0.8
"""tone = tanh(TONE_SLOPE * first channel); the encoder turns it round."""
HUE_RANGE = 0.12
"""Oklab a and b per unit of the second and third channel at full spread."""
_ENERGY = 1.8
"""Mean slope of lightness that pictures are drawn toward, per shorter side."""
_EVENNESS = 0.96


def spread_of(style: Style) -> float:
    """How far local hues may leave the palette, 0 to 1."""
    dial = max(style.dial("spread"), 0.0)
    return 0.13 + 0.17 * dial + 0.70 * dial**16


def body_of(style: Style) -> float:
    """How much of the tone is the plain field, 0 to 1; the rest are the forms."""
    return 0.5 + 0.5 * style.dial("body")


def key_of(style: Style) -> float:
    """0 for pictures made of darkness, 1 for pictures made of light."""
    return min(max((float(style.colour("mid")[0]) - 0.45) / 0.3, 0.0), 1.0)


def graded(scene: Scene, layer: Layer, style: Style, clarity: float) -> Tensor:
    """Oklab ``[3, H, W]``; ``clarity`` strengthens (above 0) or calms (below 0) what is small."""
    body = body_of(style)
    contrast = 1.0 + 0.35 * style.dial("contrast")
    bias = 0.22 * (1.0 - body) * (1.0 - 1.3 * scene.key)
    plain = (body * TONE_SLOPE) * scene.fields[0]
    tone = torch.tanh((plain + 1.25 * (1.0 - body) * layer.tone - bias) * contrast)
    lab = _palette(tone, style)
    _hues(lab, scene, layer, style)
    far = _distance(scene)
    relief = _sidelight(layer.height, scene.unit).mul_(1.0 - 0.6 * far).mul_(0.35 + lab[0])
    lab[0].add_(relief, alpha=0.12 * contrast * (1.0 - body))
    _focus(lab[0], far, 1.0 - body)
    _haze(lab, far, style)
    _shine(lab, layer.glow * (1.4 * (1.0 - body)), style)
    if clarity != 0.0:
        lab[0].add_(lab[0] - _blurred(lab[:1], 8, 7)[0], alpha=clarity)
    return lab


def clarity_for(sketch: Tensor, cell_px: int) -> float:
    """How much clarity a picture wants whose small sketch has this lightness ``[h, w]``.

    Pictures of all themes, and all on the way between them, are drawn toward one wealth of detail: a walk
    does not lose its edges half-way, a soft theme is not mush, a busy one is calmed.
    """
    plain = _edges(sketch)
    gain = _edges(2.0 * sketch - _blurred(sketch[None], cell_px, 7)[0]) - plain
    wished = math.exp((1.0 - _EVENNESS) * math.log(plain) + _EVENNESS * math.log(_ENERGY))
    return min(max((wished - plain) / max(gain, 1e-3), -0.58), 3.4)


def _edges(light: Tensor) -> float:
    """Mean slope per shorter side."""
    across = torch.diff(light, dim=1)[:-1]
    down = torch.diff(light, dim=0)[:, :-1]
    if across.numel() == 0:
        return _ENERGY
    return max(float((across * across + down * down).sqrt_().mean()) * min(light.shape), 1e-3)


def _palette(tone: Tensor, style: Style) -> Tensor:
    """Oklab ``[3, H, W]`` along shadow, mid, light for tone -1, 0, 1: a parabola through the three."""
    shadow, mid, light = (style.colour(name) for name in ("shadow", "mid", "light"))
    slope, bend = (light - shadow) / 2, (light + shadow) / 2 - mid
    bend[0] = bend[0].clamp(-0.45 * float(slope[0].abs()), 0.45 * float(slope[0].abs()))
    square = tone * tone
    return torch.stack(
        [torch.add(s * tone + m, square, alpha=float(b)) for s, b, m in zip(slope, bend, mid, strict=True)]
    )


def _hues(lab: Tensor, scene: Scene, layer: Layer, style: Style) -> None:
    """Local hues: the latent's own, the forms' tints toward the accent, interference colours."""
    spread = spread_of(style) * HUE_RANGE
    lab[1].add_(scene.fields[1].clamp(-2.5, 2.5), alpha=spread)
    lab[2].add_(scene.fields[2].clamp(-2.5, 2.5), alpha=spread)
    share = 1.0 - body_of(style)
    if layer.tint is None or share < 0.05:
        return
    toward = style.colour("accent") - style.colour("mid")
    tint = layer.tint.clamp(-1.5, 1.5)
    lab[1].add_(tint, alpha=0.45 * share * float(toward[1]))
    lab[2].add_(tint, alpha=0.45 * share * float(toward[2]))
    film = style.dial("film")
    if film > 0.02:
        phase = 3.0 * layer.height + 2.0 * layer.tint + 1.2 * scene.slow[1]
        lab[1].add_(torch.cos(phase), alpha=0.034 * film)
        lab[2].add_(torch.sin(phase), alpha=0.034 * film)


def _distance(scene: Scene) -> Tensor:
    """0 near to 1 far."""
    return torch.sigmoid(1.7 * scene.slow[2] - 1.0 * scene.slow[3] - 0.7)


def _sidelight(height: Tensor, unit: float) -> Tensor:
    """-1 to 1: how much a slope faces the light, which comes from the upper left."""
    small = F.avg_pool2d(height[None, None], 2, ceil_mode=True)[0, 0]
    padded = F.pad(small[None], (1, 1, 1, 1), mode="replicate")[0]
    across = padded[1:-1, 2:] - padded[1:-1, :-2]
    down = padded[2:, 1:-1] - padded[:-2, 1:-1]
    light = across.mul_(0.6).add_(down, alpha=0.8).mul_(-0.05 / unit).tanh_()
    return F.interpolate(light[None, None], height.shape, mode="bilinear", align_corners=False)[0, 0]


def _focus(light: Tensor, far: Tensor, amount: float) -> None:
    """What is far is out of focus; its hues are smooth anyway."""
    share = ((far - 0.35) * 1.9).clamp_(0.0, 1.0).mul_(0.9 * amount)
    light.add_((_blurred(light[None], 4, 3)[0] - light).mul_(share))


def _blurred(channels: Tensor, cell: int, width: int) -> Tensor:
    """``[C, H, W]`` under a soft window of some ``2 * cell * width`` pixels."""
    small = F.avg_pool2d(channels[None], cell, ceil_mode=True)
    margin = width // 2
    for _ in range(2):
        small = F.avg_pool2d(F.pad(small, (margin,) * 4, mode="replicate"), width, stride=1)
    return F.interpolate(small, channels.shape[1:], mode="bilinear", align_corners=False)[0]


def _haze(lab: Tensor, far: Tensor, style: Style) -> None:
    """What is far fades toward the colour of the air."""
    depth = far * (0.26 + 0.30 * style.dial("haze"))
    air = 0.65 * style.colour("mid") + 0.35 * style.colour("light")
    for channel, value in zip(lab, air.tolist(), strict=True):
        channel.add_(depth * (value - channel))


def _shine(lab: Tensor, glow: Tensor, style: Style) -> None:
    """Lays the accent where things glow, and lets it bleed softly into its surroundings."""
    accent = style.colour("accent").tolist()
    bloom = _blurred(glow[None], 8, 7)[0]
    share = 1.0 - torch.exp(-1.1 * glow - 0.55 * bloom * (1.0 + 0.5 * style.dial("glow")))
    for channel, value in zip(lab, accent, strict=True):
        channel.add_(share * (value - channel))
    lab[0].add_(share.pow(4), alpha=0.12 * (1.0 - key_of(style)))  # the hottest is nearly white
