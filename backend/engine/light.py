"""Light and air over what the forms have laid: palette, relief, haze, focus, glow."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import Tensor

from backend.engine.scene import Layer, Scene
from backend.engine.style import Style

TONE_SLOPE = 0.8
"""tone = tanh(TONE_SLOPE * first channel); the encoder turns it round."""
HUE_RANGE = 0.12
"""Oklab a and b per unit of the second and third channel at full spread."""
_ENERGY = 2.65
"""Mean slope of lightness that pictures are drawn toward, per shorter side, the dither's own included."""
_EVENNESS = 1.3
"""How far they are drawn there, for each part that is forms and not plain field: photos stay as they are."""
_CLARITY = (-0.78, 3.6)
_SECANTS = 2
_EVERY = 3
"""Rows among which one is looked at to know a picture's wealth of detail."""


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


def graded(scene: Scene, layer: Layer, style: Style) -> Tensor:
    """Oklab ``[3, H, W]``."""
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
    return lab


def small(light: Tensor, cell_px: int) -> Tensor:
    """What of the lightness ``[H, W]`` is smaller than some twelve cells."""
    return light - _blurred(light[None], cell_px, 7)[0]


def clarity_for(light: Tensor, small: Tensor, style: Style) -> float:
    """How much of what is small to add to a picture (below 0: to take away) that has this lightness.

    Pictures of all themes, and all on the way between them, are drawn toward one wealth of detail: a walk
    does not lose its edges half-way, a soft theme is not mush, a busy one is calmed. What a clarity would
    give is known without painting, so that the wished one is found by a few secants.
    """
    if min(light.shape) < 2:
        return 0.0
    plain, finer, grain = _slopes(light), _slopes(small), _grain(light)
    low, high = _CLARITY
    before, now = 0.0, 1.0
    less, more = _wealth(plain, grain), _wealth(plain + finer, grain)
    busy = less / _ENERGY
    evenness = min(_EVENNESS * (1.0 - body_of(style)), 0.9 if busy > 1.0 else 0.8)
    wished = _ENERGY * busy ** (1.0 - evenness)
    for _ in range(_SECANTS):
        rise = max((more - less) / (now - before) if now != before else 0.0, 1e-3)
        before, now = now, min(max(now + (wished - more) / rise, low), high)
        less, more = more, _wealth(torch.add(plain, finer, alpha=now), grain)
    return now


def _slopes(light: Tensor) -> Tensor:
    """``[2, n]`` across and down, in every so many rows, per shorter side."""
    upper, lower = light[:-1:_EVERY], light[1::_EVERY]
    across, down = upper[:, 1:] - upper[:, :-1], (lower - upper)[:, :-1]
    return torch.stack([across.flatten(), down.flatten()]).mul_(min(light.shape))


def _grain(light: Tensor) -> Tensor:
    """Square of the mean slope that dithering will leave where nothing else is: more in the dark."""
    seen = light[:-1:_EVERY, :-1].flatten().clamp(0.06, 1.0)
    steps = torch.minimum(336.0 * seen.sqrt().sqrt_(), 9884.0 * seen * seen)
    return (0.886 * min(light.shape) / steps).square_()


def _wealth(slopes: Tensor, grain: Tensor) -> float:
    """Mean slope."""
    return max(float(slopes.square().sum(0).add_(grain).sqrt_().mean()), 1e-3)


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
    lab.lerp_(air[:, None, None], depth)


def _shine(lab: Tensor, glow: Tensor, style: Style) -> None:
    """Lays the accent where things glow, and lets it bleed softly into its surroundings."""
    bloom = _blurred(glow[None], 8, 7)[0]
    share = 1.0 - torch.exp(-1.1 * glow - 0.55 * bloom * (1.0 + 0.5 * style.dial("glow")))
    lab.lerp_(style.colour("accent")[:, None, None], share)
    lab[0].add_(share.square().square_(), alpha=0.12 * (1.0 - key_of(style)))  # the hottest is nearly white
