"""What a picture looks like, as a few numbers, and how they ride in a latent.

A decoder sees the latent and nothing else, so palette and forms must be in it. They ride as tones: faint
patterns of the finest spatial frequencies, to which the picture's content (which is smooth) is blind. A
walk between two latents mixes the tones as it mixes the rest, so palettes and forms morph with it. One
more tone, the pilot, is always 1; whatever is read is divided by it, so that a walk on the sphere (whose
two weights sum to more than 1) does not exaggerate colours in the middle.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

FORMS = (
    "filament", "veil", "wave", "cell", "facet", "crystal", "strata", "dust", "smoke", "ink", "drop", "rain",
    "frond",
)  # fmt: skip
DIALS = ("scale", "glow", "haze", "contrast", "spread", "body", "lean", "warp", "film")
COLOURS = ("shadow", "mid", "light", "accent")
SIZE = 3 * len(COLOURS) + len(FORMS) + len(DIALS)

_FORMS_AT = 3 * len(COLOURS)
_DIALS_AT = _FORMS_AT + len(FORMS)
_TONE = 0.2
_PILOT = 0.3
_DOUBT = 0.02
"""Squared pilot at which a reading is trusted by half."""


class Style:
    """Names for the numbers of one style vector (a float32 tensor ``[SIZE]``)."""

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes

    @classmethod
    def build(
        cls, colours: Mapping[str, list[float]], forms: Mapping[str, float], dials: Mapping[str, float]
    ) -> Style:
        """From Oklab colours, weights of forms (any scale) and dials (-1 to 1)."""
        lab = torch.tensor([colours[name] for name in COLOURS])
        weights = torch.tensor([max(forms.get(name, 0.0), 0.0) for name in FORMS])
        weights = weights / weights.sum().clamp_min(1e-6)
        turned = torch.tensor([dials.get(name, 0.0) for name in DIALS])
        return cls(torch.cat([((lab - _CENTRE) / _RANGE).flatten(), weights, turned]))

    def colour(self, name: str) -> Tensor:
        """Oklab ``[3]``."""
        at = 3 * COLOURS.index(name)
        return self.codes[at : at + 3].clamp(-1.2, 1.2) * _RANGE + _CENTRE

    def forms(self) -> dict[str, float]:
        """Weights that sum to 1; faint ones fade to nothing so that they cost nothing."""
        weights = (self.codes[_FORMS_AT:_DIALS_AT] - 0.10).clamp_min(0.0)
        total = float(weights.sum())
        if total < 1e-4:
            return {"smoke": 1.0}
        return {name: float(w) / total for name, w in zip(FORMS, weights, strict=True) if w > 0}

    def dial(self, name: str) -> float:
        """-1 to 1."""
        return float(self.codes[_DIALS_AT + DIALS.index(name)].clamp(-1.0, 1.0))


_CENTRE = torch.tensor([0.5, 0.0, 0.0])
_RANGE = torch.tensor([0.5, 0.25, 0.25])

PLAIN = Style.build(
    {
        "shadow": [0.16, 0.0, -0.02],
        "mid": [0.42, 0.0, -0.02],
        "light": [0.85, 0.0, 0.01],
        "accent": [0.8, 0.0, 0.02],
    },
    {"smoke": 1.0, "veil": 0.6},
    {},
)
"""Read from latents that no painter made."""


def split(latent: Tensor) -> tuple[Tensor, Style]:
    """Content ``[4, h, w]`` without tones, and the style, of one latent ``[4, h, w]``."""
    patterns, solve = _patterns(latent.shape[1], latent.shape[2])
    found = solve @ latent.reshape(4, -1).T
    content = latent - (found.T @ patterns).reshape(latent.shape)
    codes = found.flatten()
    pilot = codes[0] / _PILOT
    trust = pilot * pilot + _DOUBT
    read = (codes[1 : SIZE + 1] / _TONE * pilot + _DOUBT * PLAIN.codes) / trust
    return content, Style(read.clamp(-1.5, 1.5))


def join(content: Tensor, style: Style) -> Tensor:
    """The latent ``[4, h, w]`` that carries both."""
    patterns, solve = _patterns(content.shape[1], content.shape[2])
    flat = content.reshape(4, -1)
    flat = flat - (solve @ flat.T).T @ patterns
    codes = torch.zeros(4 * len(patterns))
    codes[0] = _PILOT
    codes[1 : SIZE + 1] = style.codes * _TONE
    tones = codes.reshape(-1, 4).T @ patterns
    return (flat + tones).reshape(content.shape)


@lru_cache(maxsize=4)
def _patterns(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Nine patterns ``[9, h * w]`` and the weighted least-squares reader of their amounts.

    Each carries four numbers, one in each channel: the pilot and up to 35 of a style.
    """
    y = torch.arange(height).reshape(-1, 1).expand(height, width)
    x = torch.arange(width).expand(height, width)
    across, down = 1.0 - 2.0 * (x % 2), 1.0 - 2.0 * (y % 2)
    slow_x, slow_y = 1.0 - 2.0 * (x // 2 % 2), 1.0 - 2.0 * (y // 2 % 2)
    patterns = [
        across * down,
        across,
        down,
        across * slow_y,
        slow_x * down,
        across * slow_y * down,
        slow_x * down * across,
        slow_x * slow_y,
        slow_x * slow_y * across * down,
    ]
    rows = torch.stack([pattern.flatten() for pattern in patterns]).double()
    weighted = rows * (_window(height)[:, None] * _window(width)).flatten()
    solve = torch.linalg.pinv(weighted @ rows.T, rcond=1e-6) @ weighted
    return rows.float(), solve.float()


def _window(length: int) -> Tensor:
    """Fades to the edges: without it the edges of smooth content would sound like tones."""
    return torch.sin(torch.pi * (torch.arange(length).double() + 0.5) / length).square()
