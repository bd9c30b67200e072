"""The painter's encoder: which latent would give something like this picture?"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import Tensor

from backend.engine.content import cubic_spline
from backend.engine.light import HUE_RANGE, TONE_SLOPE
from backend.engine.oklab import linear_from_srgb, oklab_from_linear
from backend.engine.painting import LATENT_SCALE
from backend.engine.style import Style, join

_BAND_PX = 256
_DIALS = {"body": 1.0, "spread": 1.0, "haze": -0.87, "warp": -0.5}
"""Nothing but the plain field, in clear air: what the photo does not show is not painted."""
_LIMIT = 0.96
"""Tones beyond are drawn in: the curve is too flat there to be turned round."""
_BEND = 0.45
"""As far as the canvas bends the lights of a palette."""


def latent_of(picture: Tensor) -> Tensor:
    """``[4, h, w]`` of a uint8 picture ``[8h, 8w, 3]``.

    Lights become the first channel through the inverse of the tone curve, hues that the palette lacks
    the next two, local contrast the last; the palette is read from the picture's shadows, mids and lights.
    """
    lab = _small(picture)
    style = _style(lab)
    tone = _tone(lab[0], style)
    first = torch.atanh(tone) / TONE_SLOPE
    rest = (lab[1:] - _along(style, tone)) / HUE_RANGE
    wide = F.avg_pool2d(F.pad(lab[:1][None], (4, 4, 4, 4), mode="replicate"), 9, stride=1)[0, 0]
    local = (lab[0] - wide) * 8.0
    seen = _sharp(torch.cat([first[None], rest.clamp(-2.5, 2.5)]))
    return join(torch.cat([seen, local[None].clamp(-2.5, 2.5)]), style)


def _small(picture: Tensor) -> Tensor:
    """Oklab ``[3, h, w]``, in bands: a photo of many megapixels needs the memory of one band.

    Light is averaged as light: a lit window in a dark wall stays lit.
    """
    bands = (band.permute(2, 0, 1).float() / 255.0 for band in torch.split(picture, _BAND_PX))
    cells = [F.avg_pool2d(linear_from_srgb(band)[None], LATENT_SCALE)[0] for band in bands]
    return oklab_from_linear(torch.cat(cells, 1))


def _sharp(channels: Tensor) -> Tensor:
    """Knots of the splines that the canvas draws large, so that they come near the values at the cells."""
    down, across = (_knots(length) for length in channels.shape[1:])
    return down @ channels @ across.T


def _knots(cells: int) -> Tensor:
    """Half-way to splines that go through every value: those would bring out a grid."""
    at_cells = cubic_spline(torch.arange(cells) + 1.0, cells + 2)
    at_cells[:, 1] += at_cells[:, 0]
    at_cells[:, -2] += at_cells[:, -1]
    halfway: Tensor = 0.5 * (torch.linalg.inv(at_cells[:, 1:-1]) + torch.eye(cells))
    return halfway


def _style(lab: Tensor) -> Style:
    """The picture's palette; its lights span all but a few specks."""
    flat = lab.reshape(3, -1)
    order = flat[0].argsort()
    part, speck = max(len(order) // 8, 1), len(order) // 400
    groups = {"shadow": order[:part], "mid": order[3 * part : 5 * part], "light": order[-part:]}
    colours = {name: flat[:, at if len(at) else order].mean(1).tolist() for name, at in groups.items()}
    low, high = float(flat[0, order[speck]]) - 0.02, float(flat[0, order[-1 - speck]]) + 0.02
    middle, reach = (low + high) / 2, _BEND * (high - low) / 2
    colours["shadow"][0], colours["light"][0] = low, high
    colours["mid"][0] = min(max(colours["mid"][0], middle - reach), middle + reach)
    chroma = flat[1:].square().sum(0)
    colours["accent"] = flat[:, chroma.argsort()[-part:]].mean(1).tolist()
    return Style.build(colours, {"smoke": 1.0, "veil": 0.5}, _DIALS)


def _tone(lights: Tensor, style: Style) -> Tensor:
    """-1 to 1: where on the palette's parabola each lightness lies."""
    shadow, mid, light = (float(style.colour(name)[0]) for name in ("shadow", "mid", "light"))
    slope, bend = (light - shadow) / 2, (light + shadow) / 2 - mid
    over = lights - mid
    tone = 2.0 * over / (slope + (slope**2 + 4.0 * bend * over).clamp_min(0.0).sqrt())
    return tone.clamp(-_LIMIT, _LIMIT)


def _along(style: Style, tone: Tensor) -> Tensor:
    """The palette's a and b at each tone ``[2, h, w]``, as the canvas lays them."""
    shadow, mid, light = (style.colour(name)[1:].reshape(2, 1, 1) for name in ("shadow", "mid", "light"))
    return mid + (light - shadow) / 2 * tone + ((light + shadow) / 2 - mid) * tone * tone
