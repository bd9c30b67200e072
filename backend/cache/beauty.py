"""A score of beauty without weights: four plain measures of a thumbnail, no taste.

What they can tell is whether a picture has the makings: light and shade, colours that belong together, forms
that are neither flat nor noise, lights and depths not blown out. What it shows, and whether that is moving,
they cannot tell; CLIP can, a little. The score is their geometric mean: one that fails is not made good by
the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.cache.thumbnail import SIDE_PX, Lab, pooled

Floats = NDArray[np.float32]

_FLOOR = 0.02
"""Of each measure: the geometric mean still tells two bad pictures apart."""


@dataclass(frozen=True)
class Measures:
    """Each 0 (bad) to 1 (as good as this measure can tell)."""

    contrast: float
    colour: float
    edges: float
    exposure: float

    @property
    def score(self) -> float:
        """Their geometric mean, 0 to 1."""
        values = np.maximum([self.contrast, self.colour, self.edges, self.exposure], _FLOOR)
        return float(np.exp(np.log(values).mean()))


def beauty(lab: Lab) -> float:
    """0 to 1."""
    return measures(lab).score


def measures(lab: Lab) -> Measures:
    """The four measures of a thumbnail."""
    light = lab[..., 0]
    return Measures(_contrast(light), _colour(lab), _edges(light), _exposure(light))


def _contrast(light: Floats) -> float:
    """Spread of lightness: 0.03 is fog, 0.16 light and shade, 0.45 black on white."""
    return _around(float(light.std()), 0.16, 0.8)


def _colour(lab: Lab) -> float:
    """Two parts richness (how much colour, how many), one part harmony (hues along one axis of the circle).

    Neighbouring hues and complementary ones lie on one axis; hues all over the circle do not
    (after Cohen-Or et al., "Color Harmonization", 2006, of whose templates this is the plainest). Ink on
    paper has no colour and is no failure: it has a quarter.
    """
    opponent = pooled(lab[..., 1:], SIDE_PX // 2).reshape(-1, 2)
    chroma = np.hypot(opponent[:, 0], opponent[:, 1])
    amount = _around(float(chroma.mean()), 0.09, 1.0)
    variety = _around(float(opponent.std(axis=0).sum()), 0.11, 1.0)
    doubled = 2.0 * np.arctan2(opponent[:, 1], opponent[:, 0])
    weight = chroma / max(float(chroma.sum()), 1e-6)
    harmony = float(np.hypot((weight * np.cos(doubled)).sum(), (weight * np.sin(doubled)).sum()))
    return 0.25 + 0.25 * (amount + variety + harmony * amount)


def _edges(light: Floats) -> float:
    """Energy of edges, neither flat nor a thicket, less what is noise.

    In a picture, edges go on over many pixels: at half the resolution neighbours differ twice as much. In
    noise, neighbours know nothing of each other: at half the resolution they differ half as much.
    """
    fine, coarse = _slope(light), _slope(pooled(light, SIDE_PX // 2))
    noise = (fine / max(coarse, 1e-6) - 0.9) / 0.9
    return _around(fine, 0.022, 1.0) * (1.0 - min(1.0, max(0.0, noise)))


def _slope(light: Floats) -> float:
    down, across = np.diff(light, axis=0)[:, 1:], np.diff(light, axis=1)[1:]
    slope = np.sqrt(down * down + across * across)
    return float(slope.mean())


def _exposure(light: Floats) -> float:
    """Neither drowned nor blown out: the median, and the share of pixels at either end."""
    middle = float(np.interp(np.median(light), (0.04, 0.30, 0.80, 1.0), (0.0, 1.0, 1.0, 0.3)))
    lost = float((light > 0.985).mean()) + 0.5 * float((light < 0.03).mean())
    return middle * max(0.0, 1.0 - 2.0 * lost)


def _around(value: float, ideal: float, width: float) -> float:
    """1 at the ideal, falling softly with the ratio to it: 0.6 at a factor of ``e ** width``."""
    return float(np.exp(-0.5 * (np.log(max(value, 1e-6) / ideal) / width) ** 2))
