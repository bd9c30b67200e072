"""From one latent to one picture: fields drawn large, forms laid over each other, light, haze, grading."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from backend.engine import light
from backend.engine.content import cubic_spline, large
from backend.engine.forms import laid
from backend.engine.noise_tiles import doubled, half, sample, soft_tile
from backend.engine.oklab import linear_from_oklab, srgb_from_linear
from backend.engine.painting import LATENT_SCALE, Window
from backend.engine.scene import Scene
from backend.engine.style import Style, split

REACH_PX = 128
"""How far a pixel sees: four blurs of 24 px at an eighth of the size, and their interpolation."""
_DITHER_PX = 1024
_SKETCHED_PX = 2**20
"""Pixels above which a picture's wealth of detail is read from a sketch instead of from itself."""
_SKETCH_PX = 432
_SLOW = 1.6
"""Brings the large forms alone back to about unit variance."""


def paint(latent: Tensor, window: Window | None = None) -> Tensor:
    """uint8 ``[8h, 8w, 3]`` of one latent ``[4, h, w]``, or what the window shows of it.

    A window is painted as it is in the whole picture: everything is drawn by its position, and what looks
    at its surroundings (light on slopes, glow) finds them within ``REACH_PX`` around the window.
    """
    content, style = split(latent)
    whole = Window(0, LATENT_SCALE * latent.shape[1], 0, LATENT_SCALE * latent.shape[2])
    window = window or whole
    near = window.grown(REACH_PX, whole)
    lab = _drawn(content, style, near, whole)
    itself = near == whole and not _too_large(whole)
    small = light.small(lab[0], LATENT_SCALE)
    lab[0].add_(small, alpha=light.clarity_for(lab[0], small, style) if itself else _clarity(latent))
    lab[0].sub_(_vignette(whole, near), alpha=0.10 * (1.0 - 0.6 * float(style.colour("mid")[0])))
    inner = window.seen_from(near)
    rgb = srgb_from_linear(linear_from_oklab(lab[:, inner.rows, inner.columns]))
    dithered = rgb.mul_(255.0).add_(_dither(window))
    return dithered.clamp_(0.0, 255.0).to(torch.uint8).permute(1, 2, 0).contiguous()


def _clarity(latent: Tensor) -> float:
    """What the whole picture asks for, for those who paint a part of it: the same for all parts."""
    return _clarity_of(latent.contiguous().numpy().tobytes(), latent.shape[1], latent.shape[2])


@lru_cache(maxsize=2)
def _clarity_of(latent: bytes, height: int, width: int) -> float:
    content, style = split(torch.frombuffer(bytearray(latent), dtype=torch.float32).view(4, height, width))
    scale = LATENT_SCALE
    if _too_large(Window(0, scale * height, 0, scale * width)):
        scale = max(_SKETCH_PX // min(height, width), 1)
    whole = Window(0, scale * height, 0, scale * width)
    lightness = _drawn(content, style, whole, whole)[0]
    return light.clarity_for(lightness, light.small(lightness, scale), style)


def _too_large(whole: Window) -> bool:
    return whole.bottom * whole.right > _SKETCHED_PX


def _drawn(content: Tensor, style: Style, near: Window, whole: Window) -> Tensor:
    """Oklab ``[3, rows, columns]`` of ``near``, which is part of ``whole``."""
    scale = whole.bottom // content.shape[1]
    fields, slow = (enlarge(one, near, scale) for one in (content, _SLOW * large(content, 0.16)))
    scene = _scene(fields, slow, style, whole, near)
    return light.graded(scene, laid(scene, style.forms()), style)


def enlarge(content: Tensor, window: Window, scale: int = LATENT_SCALE) -> Tensor:
    """``[4, rows, columns]`` by cubic B-splines: no cell of the latent shows, not even in the slopes."""
    down = _splines(content.shape[1], scale)[window.rows]
    across = _splines(content.shape[2], scale)[window.columns]
    return down @ (content @ across.T)


@lru_cache(maxsize=8)
def _splines(cells: int, scale: int) -> Tensor:
    """Weights ``[scale * cells, cells]``; what lies outside counts as the cell at the edge."""
    at = (torch.arange(scale * cells) + 0.5) / scale + 1.5
    weights = cubic_spline(at, cells + 4)
    weights[:, 2] += weights[:, :2].sum(1)
    weights[:, -3] += weights[:, -2:].sum(1)
    return weights[:, 2:-2].contiguous()


def _scene(fields: Tensor, slow: Tensor, style: Style, whole: Window, near: Window) -> Scene:
    across, down = _positions(whole, near)
    zoom = 2.0 ** (-0.8 * style.dial("scale"))
    bend = 0.19 * 2.0 ** style.dial("warp")
    lean = 0.6 * style.dial("lean")
    _, u1, u2, u3 = fields
    x = (across + lean * 0.3 * down) * zoom + bend * (0.7 * u1 + 0.5 * u3)
    y = down * zoom + bend * (0.7 * u2 - 0.5 * u3)
    soft = torch.stack(doubled(*sample(soft_tile(), *half(0.33 * x, 0.33 * y)), like=x))
    sky_x, sky_y = (
        torch.add(at, shift, alpha=0.03) for at, shift in zip((across, down), slow[1:3], strict=True)
    )
    still_x = across * zoom + 0.09 * slow[1] + 0.05 * slow[3]
    still_y = down * zoom + 0.09 * slow[2] - 0.05 * slow[3]
    unit, glow = zoom / min(whole.bottom, whole.right), 1.0 + 0.8 * style.dial("glow")
    return Scene(fields, slow, x, y, still_x, still_y, sky_x, sky_y, soft, unit, glow, light.key_of(style))


@lru_cache(maxsize=4)
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
