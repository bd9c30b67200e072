"""The painter's encoder: which latent would give something like this picture?"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import Tensor

from backend.engine.light import HUE_RANGE, TONE_SLOPE
from backend.engine.oklab import oklab_from_srgb
from backend.engine.painting import LATENT_SCALE
from backend.engine.style import Style, join

_BAND_PX = 256
_DIALS = {"body": 0.8, "spread": 1.0, "haze": -1.0, "warp": -0.5}


def latent_of(picture: Tensor) -> Tensor:
    """``[4, h, w]`` of a uint8 picture ``[8h, 8w, 3]``.

    Lights become the first channel through the inverse of the tone curve, hues that the palette lacks
    the next two, local contrast the last; the palette is read from the picture's shadows, mids and lights.
    """
    lab = _small(picture)
    style, low, high = _style(lab)
    tone = ((lab[0] - low) / max(high - low, 0.05) * 2.0 - 1.0).clamp(-0.93, 0.93)
    first = torch.atanh(tone) / (TONE_SLOPE * 0.9)
    rest = (lab[1:] - _along(style, tone)) / HUE_RANGE
    wide = F.avg_pool2d(F.pad(lab[:1][None], (4, 4, 4, 4), mode="replicate"), 9, stride=1)[0, 0]
    local = (lab[0] - wide) * 8.0
    return join(torch.cat([first[None], rest.clamp(-2.5, 2.5), local[None].clamp(-2.5, 2.5)]), style)


def _small(picture: Tensor) -> Tensor:
    """Oklab ``[3, h, w]``, in bands: a photo of many megapixels needs the memory of one band."""
    bands = (band.permute(2, 0, 1).float() / 255.0 for band in torch.split(picture, _BAND_PX))
    return torch.cat([F.avg_pool2d(oklab_from_srgb(band)[None], LATENT_SCALE)[0] for band in bands], 1)


def _style(lab: Tensor) -> tuple[Style, float, float]:
    """The picture's palette, and the lightness of its shadow and its light."""
    flat = lab.reshape(3, -1)
    order = flat[0].argsort()
    part = max(len(order) // 8, 1)
    groups = {"shadow": order[:part], "mid": order[3 * part : 5 * part], "light": order[-part:]}
    colours = {name: flat[:, at if len(at) else order].mean(1).tolist() for name, at in groups.items()}
    low, high = colours["shadow"][0] - 0.03, colours["light"][0] + 0.03
    colours["shadow"][0], colours["light"][0] = low, high
    colours["mid"][0] = (low + high) / 2
    chroma = flat[1:].square().sum(0)
    colours["accent"] = flat[:, chroma.argsort()[-part:]].mean(1).tolist()
    return Style.build(colours, {"smoke": 1.0, "veil": 0.5}, _DIALS), low, high


def _along(style: Style, tone: Tensor) -> Tensor:
    """The palette's a and b at each tone ``[2, h, w]``, as the canvas lays them."""
    shadow, mid, light = (style.colour(name)[1:].reshape(2, 1, 1) for name in ("shadow", "mid", "light"))
    return mid + (light - shadow) / 2 * tone + ((light + shadow) / 2 - mid) * tone * tone
