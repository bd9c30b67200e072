"""From one latent to one picture: fields drawn large, forms laid over each other, light, haze, grading."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import Tensor

from backend.engine.content import cubic_spline
from backend.engine.forms import FORMS, Layer, Scene
from backend.engine.noise_tiles import sample, soft_tile
from backend.engine.oklab import linear_from_oklab, srgb_from_linear
from backend.engine.painting import LATENT_SCALE, Window
from backend.engine.style import Style, split

TONE_SLOPE = 0.8
"""tone = tanh(TONE_SLOPE * first channel); the encoder turns it round."""
HUE_RANGE = 0.12
"""Oklab a and b per unit of the second and third channel at full spread."""
REACH_PX = 80
"""How far a pixel sees: two blurs of 24 px at an eighth of the size, and their interpolation."""
_DITHER_PX = 1024


def paint(latent: Tensor, window: Window | None = None) -> Tensor:
    """uint8 ``[8h, 8w, 3]`` of one latent ``[4, h, w]``, or what the window shows of it.

    A window is painted as it is in the whole picture: everything is drawn by its position, and what looks
    at its surroundings (light on slopes, glow) finds them within ``REACH_PX`` around the window.
    """
    content, style = split(latent)
    whole = Window(0, LATENT_SCALE * latent.shape[1], 0, LATENT_SCALE * latent.shape[2])
    window = window or whole
    near = window.grown(REACH_PX, whole)
    scene = _scene(enlarge(content, near), style, whole, near)
    layer = _layered(scene, style)
    lab = _grade(scene, layer, style)
    lab[0].sub_(_vignette(whole, near), alpha=0.10 * (1.0 - 0.6 * float(style.colour("mid")[0])))
    inner = window.seen_from(near)
    rgb = srgb_from_linear(linear_from_oklab(lab[:, inner.rows, inner.columns]))
    dithered = rgb.mul_(255.0).add_(_dither(window))
    return dithered.clamp_(0.0, 255.0).to(torch.uint8).permute(1, 2, 0).contiguous()


def enlarge(content: Tensor, window: Window) -> Tensor:
    """``[4, rows, columns]`` by cubic B-splines: no cell of the latent shows, not even in the slopes."""
    down, across = _splines(content.shape[1])[window.rows], _splines(content.shape[2])[window.columns]
    return down @ content @ across.T


@lru_cache(maxsize=8)
def _splines(cells: int) -> Tensor:
    """Weights ``[8 * cells, cells]``; what lies outside counts as the cell at the edge."""
    at = (torch.arange(LATENT_SCALE * cells) + 0.5) / LATENT_SCALE + 1.5
    weights = cubic_spline(at, cells + 4)
    weights[:, 2] += weights[:, :2].sum(1)
    weights[:, -3] += weights[:, -2:].sum(1)
    return weights[:, 2:-2].contiguous()


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


def _scene(fields: Tensor, style: Style, whole: Window, near: Window) -> Scene:
    across, down = _positions(whole, near)
    zoom = 2.0 ** (-0.8 * style.dial("scale"))
    bend = 0.19 * 2.0 ** style.dial("warp")
    lean = 0.6 * style.dial("lean")
    _, u1, u2, u3 = fields
    x = (across + lean * 0.3 * down) * zoom + bend * (0.7 * u1 + 0.5 * u3)
    y = down * zoom + bend * (0.7 * u2 - 0.5 * u3)
    soft = sample(soft_tile(), 0.33 * x, 0.33 * y)
    still_x, still_y = across * zoom + 0.065 * u1, down * zoom + 0.065 * u2
    unit, glow = zoom / min(whole.bottom, whole.right), 1.0 + 0.8 * style.dial("glow")
    return Scene(fields, x, y, still_x, still_y, soft, unit, glow, key_of(style))


def _layered(scene: Scene, style: Style) -> Layer:
    body = body_of(style)
    tone = (body * TONE_SLOPE) * scene.fields[0] if body > 0.01 else torch.zeros_like(scene.x)
    height, glow = torch.zeros_like(tone), torch.zeros_like(tone)
    for name, weight in style.forms().items():
        layer = FORMS[name](scene)
        share = weight * (1.0 - body) * 1.25
        tone = torch.add(tone, layer.tone, alpha=share)
        if layer.height is not None:
            height.add_(layer.height, alpha=share)
        if layer.glow is not None:
            glow.add_(layer.glow, alpha=1.4 * share)
    return Layer(tone, height, glow)


def _grade(scene: Scene, layer: Layer, style: Style) -> Tensor:
    assert layer.height is not None and layer.glow is not None  # noqa: PT018, S101 - _layered fills both
    contrast = 1.0 + 0.35 * style.dial("contrast")
    bias = 0.22 * (1.0 - body_of(style)) * (1.0 - 1.3 * scene.key)
    tone = torch.tanh((layer.tone - bias) * contrast)
    lab = _palette(tone, style)
    spread = spread_of(style) * HUE_RANGE
    lab[1].add_(scene.fields[1].clamp(-2.5, 2.5), alpha=spread)
    lab[2].add_(scene.fields[2].clamp(-2.5, 2.5), alpha=spread)
    lab[0].add_(_sidelight(layer.height, scene.unit), alpha=0.07 * contrast)
    _haze(lab, scene, style)
    _shine(lab, layer.glow, style)
    return lab


def _palette(tone: Tensor, style: Style) -> Tensor:
    """Oklab ``[3, H, W]`` along shadow, mid, light for tone -1, 0, 1: a parabola through the three."""
    shadow, mid, light = (style.colour(name) for name in ("shadow", "mid", "light"))
    slope, bend = (light - shadow) / 2, (light + shadow) / 2 - mid
    bend[0] = bend[0].clamp(-0.45 * float(slope[0].abs()), 0.45 * float(slope[0].abs()))
    square = tone * tone
    return torch.stack(
        [torch.add(s * tone + m, square, alpha=float(b)) for s, b, m in zip(slope, bend, mid, strict=True)]
    )


def _sidelight(height: Tensor, unit: float) -> Tensor:
    """-1 to 1: how much a slope faces the light, which comes from the upper left."""
    small = F.avg_pool2d(height[None, None], 4)[0, 0]
    padded = F.pad(small[None], (1, 1, 1, 1), mode="replicate")[0]
    across = padded[1:-1, 2:] - padded[1:-1, :-2]
    down = padded[2:, 1:-1] - padded[:-2, 1:-1]
    light = across.mul_(0.6).add_(down, alpha=0.8).mul_(-0.02 / unit).tanh_()
    return F.interpolate(light[None, None], height.shape, mode="bilinear", align_corners=False)[0, 0]


def _haze(lab: Tensor, scene: Scene, style: Style) -> None:
    """What is far fades toward the colour of the air."""
    amount = 0.30 + 0.30 * style.dial("haze")
    air = 0.65 * style.colour("mid") + 0.35 * style.colour("light")
    depth = torch.sigmoid(1.5 * scene.fields[2] - 0.8 * scene.fields[3] - 0.6).mul_(amount)
    for channel, value in zip(lab, air.tolist(), strict=True):
        channel.add_(depth * (value - channel))


def _shine(lab: Tensor, glow: Tensor, style: Style) -> None:
    """Lays the accent where things glow, and lets it bleed softly into its surroundings."""
    accent = style.colour("accent").tolist()
    small = F.avg_pool2d(glow[None, None], 8)
    for _ in range(2):
        small = F.avg_pool2d(F.pad(small, (3, 3, 3, 3), mode="replicate"), 7, stride=1)
    bloom = F.interpolate(small, scale_factor=8.0, mode="bilinear", align_corners=False)[0, 0]
    share = 1.0 - torch.exp(-1.1 * glow - 0.55 * bloom * (1.0 + 0.5 * style.dial("glow")))
    for channel, value in zip(lab, accent, strict=True):
        channel.add_(share * (value - channel))
    lab[0].add_(share.pow(4), alpha=0.12 * (1.0 - key_of(style)))  # the hottest is nearly white


@lru_cache(maxsize=2)
def _positions(whole: Window, near: Window) -> tuple[Tensor, Tensor]:
    height, width = whole.bottom, whole.right
    side = min(height, width)
    x = ((torch.arange(width) + 0.5 - width / 2) / side)[near.columns]
    y = ((torch.arange(height) + 0.5 - height / 2) / side + 0.5)[near.rows]
    size = (len(y), len(x))
    return x.expand(size).contiguous(), y[:, None].expand(size).contiguous()


@lru_cache(maxsize=2)
def _vignette(whole: Window, near: Window) -> Tensor:
    x = torch.linspace(-1.0, 1.0, whole.right)[near.columns]
    y = torch.linspace(-1.0, 1.0, whole.bottom)[near.rows]
    return (x[None].square() + y[:, None].square()).mul(0.5).square()


@lru_cache(maxsize=2)
def _dither(window: Window) -> Tensor:
    """Triangular noise of one step, plus the half that makes truncation round."""
    rows = torch.arange(window.top, window.bottom) % _DITHER_PX
    columns = torch.arange(window.left, window.right) % _DITHER_PX
    return _dither_tile()[None, rows[:, None], columns]


@lru_cache(maxsize=1)
def _dither_tile() -> Tensor:
    generator = torch.Generator().manual_seed(61)
    two = torch.rand(2, _DITHER_PX, _DITHER_PX, generator=generator)
    return two[0] + two[1] - 0.5
