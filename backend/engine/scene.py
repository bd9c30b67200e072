"""What forms are drawn from, and what they add to a picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scene:
    """What the forms are drawn from; fields are ``[H, W]``.

    Attributes:
        fields: ``[4, H, W]`` the latent's content, drawn large.
        slow: ``[4, H, W]`` its large forms alone: they move things far without smearing them.
        x: Position across, in picture heights (shorter sides), with the walk's displacement in it.
        y: Position down, likewise.
        still_x: Position across, displaced by ``slow`` alone: for what has straight edges or is round.
        still_y: Position down, likewise.
        sky_x: Position across, all but undisplaced.
        sky_y: Position down, likewise.
        soft: ``[3, H, W]`` smooth noise at the displaced positions.
        unit: One pixel in the unit of x and y.
        glow: 0 to 2, how far lights spread.
        key: 0 for pictures made of darkness, 1 for pictures made of light.
    """

    fields: Tensor
    slow: Tensor
    x: Tensor
    y: Tensor
    still_x: Tensor
    still_y: Tensor
    sky_x: Tensor
    sky_y: Tensor
    soft: Tensor
    unit: float
    glow: float
    key: float


@dataclass(frozen=True)
class Layer:
    """What one form adds; everything is ``[H, W]``.

    Attributes:
        tone: About -1 (shadow) to 1 (light).
        height: Relief for the light from the side, in arbitrary units.
        glow: 0 to about 1, where the accent colour shines.
        tint: -1 to 1, toward the accent's hue without its light; None for nowhere.
    """

    tone: Tensor
    height: Tensor
    glow: Tensor
    tint: Tensor | None = None


def gate(value: Tensor) -> Tensor:
    """0 to 1, softly.

    Like the two below it stops where nothing more is seen: beyond lie denormal numbers, a hundred times
    slower to multiply than others.
    """
    return torch.sigmoid(value.clamp(-25.0, 25.0))


def bell(value: Tensor) -> Tensor:
    """1 at zero, falling to both sides."""
    return torch.exp((value * value).clamp_max_(25.0).neg_())


def fade(value: Tensor) -> Tensor:
    """1 at zero, falling as ``value`` grows."""
    return torch.exp(value.clamp(-25.0, 25.0).neg_())
