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
# Squares from left to right, in which masses of light are told.
_SQUARES = 16


def look_of(image: Image) -> Look:
    """A thumbnail of a picture; a millisecond."""
    factor = max(1, round(image.width / _WIDTH_PX))
    return np.asarray(image.convert("RGB").reduce(factor), np.float32)


@dataclass(frozen=True)
class Step:
    """How far apart two looks are, in levels of 255; infinite where their sizes differ.

    Attributes:
        motion: As colours and edges tell it together.
        masses: As the masses of light do, whose glow hardly counts as motion: averages over squares.
    """

    motion: float
    masses: float


def difference(one: Look, other: Look) -> Step:
    """How far apart two looks are."""
    if one.shape != other.shape:
        return Step(float("inf"), float("inf"))
    apart = one - other
    colours = float(np.abs(apart).mean())
    edges = sum(float(np.abs(np.diff(apart, axis=axis)).mean()) for axis in (0, 1) if apart.shape[axis] > 1)
    return Step(float(colours ** (1.0 - _EDGES) * edges**_EDGES), _of_squares(apart))


def _of_squares(apart: Look) -> float:
    """Root mean square of the averages over squares."""
    height, width, _ = apart.shape
    side = max(1, min(height, round(width / _SQUARES)))
    rows, columns = height // side, width // side
    squares = apart[: rows * side, : columns * side].reshape(rows, side, columns, side, 3).mean((1, 3))
    return float(np.sqrt(np.square(squares).mean()))
