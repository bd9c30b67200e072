"""Several prompts in one: what ConditioningCombine, ConditioningAverage and LoRAs come down to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from backend.engine.lexicon import Reading
from backend.engine.palette import style_of
from backend.engine.style import Style

_MOST_PARTS = 8
"""Of longer lists the heaviest: the rest could hardly be seen, and all pairs with the negative are read."""


@dataclass(frozen=True)
class Blend:
    """Readings with their weights, which sum to 1; a weight below 0 pushes away."""

    parts: tuple[tuple[Reading, float], ...]


def blended(parts: Sequence[tuple[Blend, float]]) -> Blend:
    """One blend of several, by weights that sum to 1."""
    flat = [(reading, weight * share) for blend, share in parts for reading, weight in blend.parts]
    kept = sorted((part for part in flat if part[1] != 0.0), key=lambda part: -abs(part[1]))[:_MOST_PARTS]
    total = sum(weight for _, weight in kept) or 1.0
    return Blend(tuple((reading, weight / total) for reading, weight in kept))


def style_of_blend(positive: Blend, negative: Blend, cfg: float) -> Style:
    """The mean style, as in the middle of a walk: it moves evenly with the weights."""
    codes = [
        mine * other * style_of(wished, unwished, cfg).codes
        for wished, mine in positive.parts
        for unwished, other in negative.parts
    ]
    return Style(torch.stack(codes).sum(0))
