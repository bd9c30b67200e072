"""How far apart two neighbouring frames look, from thumbnails: what paces the walk for the eye.

No metric by which others judge the pace: a plain difference of colours, and one of edges. Their weighted
geometric mean heeds both what glows and what moves; it is as long for a step as for its halves together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Look: TypeAlias = NDArray[np.float32]
"""A thumbnail, ``[height, width, 3]``, 0 to 255."""

_WIDTH_PX = 128
# How much edges count beside colours: with less, motion is overlooked; with more, what glows slowly.
_EDGES = 0.62


def look_of(image: Image) -> Look:
    """A thumbnail of a picture; a millisecond."""
    factor = max(1, round(image.width / _WIDTH_PX))
    return np.asarray(image.convert("RGB").reduce(factor), np.float32)


@dataclass(frozen=True)
class Step:
    """How far apart two looks are, in levels of 255; infinite where their sizes differ.

    Attributes:
        motion: As colours and edges tell it together.
        colours: As colours alone do: a glow without any edge hardly counts as motion, and is seen.
    """

    motion: float
    colours: float


def difference(one: Look, other: Look) -> Step:
    """How far apart two looks are."""
    if one.shape != other.shape:
        return Step(float("inf"), float("inf"))
    apart = one - other
    colours = float(np.abs(apart).mean())
    edges = sum(float(np.abs(np.diff(apart, axis=axis)).mean()) for axis in (0, 1) if apart.shape[axis] > 1)
    return Step(float(colours ** (1.0 - _EDGES) * edges**_EDGES), colours)
