"""Directions on the sphere of latents: arcs, velocities and curves, for the walks of spherical_lerp.py.

Vectors are float32 of shape ``[B, n]``, numbers ``[B, 1]``: one row a sample, each by itself.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

# Below this sine the two directions are parallel or opposite as far as float32 can tell.
_MIN_SINE = 1e-6
# A cubic whose end rates exceed this many times its mean rate runs out and comes back (Fritsch and Carlson).
_MAX_RATE = 3.0
# Control points that are opposite to within this distance have no way between them.
_LOST = 1e-3
_TINY = 1e-20


@dataclass(frozen=True, eq=False)
class Arc:
    """The great circle from one latent to another; vectors are ``[B, n]``, numbers ``[B, 1]``.

    Attributes:
        u: Unit vector of the one.
        v: Unit vector of the other.
        across: Unit vector at a right angle to ``u``, toward ``v``.
        angle: Radians from ``u`` to ``v``.
    """

    u: Tensor
    v: Tensor
    across: Tensor
    angle: Tensor
    norm_u: Tensor
    norm_v: Tensor

    @classmethod
    def between(cls, a: Tensor, b: Tensor) -> Arc:
        norm_a, norm_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
        u, v = _direction(a, norm_a, b, norm_b), _direction(b, norm_b, a, norm_a)
        angle = _angle((u - v).norm(dim=1, keepdim=True), (u + v).norm(dim=1, keepdim=True))
        return cls(u, v, _perpendicular(u, v, angle), angle, norm_a, norm_b)


@dataclass(frozen=True, eq=False)
class Rate:
    """A velocity in two parts: how the direction turns, ``[B, n]``, and how the norm grows, ``[B, 1]``."""

    turn: Tensor
    growth: Tensor


@dataclass(frozen=True, eq=False)
class Cubic:
    """A spherical Bezier curve with a monotone norm.

    Attributes:
        corners: Its four control points, unit vectors ``[B, 4, n]``.
        gram: Their products, ``[B, 4, 4]``.
        ends: Norm and its growth at both ends, each ``[B, 1]``.
    """

    corners: Tensor
    gram: NDArray[np.float64]
    ends: tuple[Tensor, Tensor, Tensor, Tensor]

    @classmethod
    def between(cls, start: Tensor, end: Tensor, leaving: Tensor | None, arriving: Tensor | None) -> Cubic:
        import torch

        arc = Arc.between(flat(start), flat(end).to(start.device))
        grown = arc.norm_v - arc.norm_u
        chord = Rate(arc.angle * arc.across, grown)
        far = torch.cos(arc.angle) * arc.across - torch.sin(arc.angle) * arc.u
        out = _split(leaving, arc.u, arc.norm_u, chord)
        into = _split(arriving, arc.v, arc.norm_v, Rate(arc.angle * far, grown))
        most = _MAX_RATE * arc.angle
        second, third = _along(arc.u, _held(out.turn, most) / 3), _along(arc.v, -_held(into.turn, most) / 3)
        # Nothing leads from a point to its opposite: such a walk goes as a slerp would.
        lost = (second + third).norm(dim=1, keepdim=True) < _LOST
        second = torch.where(lost, _along(arc.u, chord.turn / 3), second)
        third = torch.where(lost, _along(arc.v, -arc.angle * far / 3), third)
        corners = torch.stack((arc.u, second, third, arc.v), dim=1)
        ends = (arc.norm_u, arc.norm_v, _monotone(out.growth, grown), _monotone(into.growth, grown))
        return cls(corners, _gram(corners), ends)

    def weights(self, step: Tensor) -> NDArray[np.float64]:
        """How the points at ``step`` (``[T, 1, 1]``) are made of the corners: ``[T, B, 4]``."""
        t = step.to(device="cpu").double().numpy()
        unit = np.eye(4).reshape(4, 1, 1, 4)
        points: list[NDArray[np.float64]] = list(np.broadcast_to(unit, (4, len(t), len(self.gram), 4)))
        while len(points) > 1:
            points = [self._between(one, other, t) for one, other in itertools.pairwise(points)]
        return points[0]

    def directions(self, step: Tensor) -> Tensor:
        """Unit vectors ``[T, B, n]``."""
        import torch

        weights = torch.from_numpy(self.weights(step)).to(device=self.corners.device, dtype=torch.float32)
        points = torch.einsum("tbk,bkn->tbn", weights, self.corners)
        unit: Tensor = points / points.norm(dim=2, keepdim=True).clamp_min(_TINY)
        return unit

    def norms(self, step: Tensor) -> Tensor:
        """``[T, B, 1]``, by Hermite's cubic."""
        first, last, rate, last_rate = self.ends
        left = 1.0 - step
        kept = (1.0 + 2.0 * step) * left * left
        rates = step * left * left * rate - step * step * left * last_rate
        return kept * first + (1.0 - kept) * last + rates

    def turned(self, step: Tensor) -> Tensor:
        """Radians since the first of ``step``: ``[T, B]``."""
        import torch

        weights = self.weights(step)
        angles = self._angle(weights[:-1], weights[1:])[..., 0]
        total = np.cumsum(np.concatenate((np.zeros_like(angles[:1]), angles)), axis=0)
        return torch.from_numpy(total).to(device=self.corners.device, dtype=torch.float32)

    def _between(
        self, one: NDArray[np.float64], other: NDArray[np.float64], t: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        angle = self._angle(one, other)
        sine = np.sin(angle)
        near = sine < _MIN_SINE
        sine = np.where(near, 1.0, sine)
        back = np.where(near, 1.0 - t, np.sin((1.0 - t) * angle) / sine)
        forth = np.where(near, t, np.sin(t * angle) / sine)
        return back * one + forth * other

    def _angle(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        """Radians between points ``[T, B, 4]``: ``[T, B, 1]``."""
        angle: NDArray[np.float64] = 2.0 * np.arctan2(self._length(one - other), self._length(one + other))
        return angle

    def _length(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        square = np.einsum("tbj,bjk,tbk->tb", weights, self.gram, weights)
        length: NDArray[np.float64] = np.sqrt(np.maximum(square, 0.0))[..., None]
        return length


def _gram(corners: Tensor) -> NDArray[np.float64]:
    """Products of unit vectors by their distances, which float32 knows well where they are near."""
    apart = (corners[:, :, None] - corners[:, None]).square().sum(dim=-1)
    gram: NDArray[np.float64] = 1.0 - apart.to(device="cpu").double().numpy() / 2.0
    return gram


def flat(latents: Tensor) -> Tensor:
    """Latents ``[B, ...]`` as vectors."""
    import torch

    return latents.to(torch.float32).flatten(1)


def column(t: Tensor, like: Tensor) -> Tensor:
    """Positions ``[T]`` as ``[T, 1, 1]``, where ``like`` is computed."""
    import torch

    return t.to(device=like.device, dtype=torch.float32).view(-1, 1, 1)


def _angle(apart: Tensor, together: Tensor) -> Tensor:
    """Radians between two vectors of one length, from the lengths of their difference and their sum."""
    import torch

    return 2.0 * torch.atan2(apart, together)


def rate_toward(at: Tensor, other: Tensor, seconds: float) -> Rate:
    """How a walk from ``at`` would leave for ``other``; with ``seconds`` below 0, how it comes from there."""
    arc = Arc.between(at, other)
    return Rate(arc.angle * arc.across / seconds, (arc.norm_v - arc.norm_u) / seconds)


def mean_turn(coming: Tensor, going: Tensor, before_s: float, after_s: float) -> Tensor:
    """How a direction turns where it comes by one turn and goes on by another; see ``velocity()``."""
    import torch

    slow, fast = coming.norm(dim=1, keepdim=True), going.norm(dim=1, keepdim=True)
    both = coming / slow.clamp_min(_TINY) + going / fast.clamp_min(_TINY)
    length = both.norm(dim=1, keepdim=True)  # twice the cosine of half the angle between them
    speed = _harmonic(slow, fast, before_s, after_s) * (length / math.sqrt(2.0)).clamp_max(1.0)
    turn: Tensor = both * torch.where(length > _MIN_SINE, speed / length.clamp_min(_TINY), 0.0)
    return turn


def mean_growth(coming: Tensor, going: Tensor, before_s: float, after_s: float) -> Tensor:
    """Nothing at a peak or in a trough, so that the norm never leaves what lies between its neighbours."""
    import torch

    speed = _harmonic(coming.abs(), going.abs(), before_s, after_s)
    return torch.where(coming * going > 0.0, speed * coming.sign(), 0.0)


def _harmonic(one: Tensor, other: Tensor, one_s: float, other_s: float) -> Tensor:
    first, second = one_s + 2.0 * other_s, 2.0 * one_s + other_s
    divisor = first * other + second * one
    return (first + second) * one * other / divisor.clamp_min(_TINY)


def _split(velocity: Tensor | None, direction: Tensor, norm: Tensor, chord: Rate) -> Rate:
    """A velocity of latents as turn and growth; ``chord`` where none is given, or a zero has no direction."""
    import torch

    if velocity is None:
        return chord
    moved = flat(velocity).to(direction.device)
    growth = (moved * direction).sum(dim=1, keepdim=True)
    turn = (moved - growth * direction) / norm.clamp_min(_TINY)
    there = norm > 0.0
    return Rate(torch.where(there, turn, chord.turn), torch.where(there, growth, chord.growth))


def _held(turn: Tensor, most: Tensor) -> Tensor:
    import torch

    length = turn.norm(dim=1, keepdim=True)
    held: Tensor = turn * torch.where(length > most, most / length.clamp_min(_TINY), 1.0)
    return held


def _monotone(growth: Tensor, grown: Tensor) -> Tensor:
    """A rate at which a cubic that grows by ``grown`` neither overshoots nor turns back."""
    import torch

    held: Tensor = growth.abs().minimum(_MAX_RATE * grown.abs()) * grown.sign()
    return torch.where(growth * grown > 0.0, held, 0.0)


def _along(point: Tensor, turn: Tensor) -> Tensor:
    """Where one arrives who leaves a unit vector by ``turn`` (radians, at a right angle to it)."""
    import torch

    angle = turn.norm(dim=1, keepdim=True)
    there: Tensor = torch.cos(angle) * point + torch.sin(angle) * turn / angle.clamp_min(_TINY)
    return there


def _direction(vector: Tensor, norm: Tensor, other: Tensor, other_norm: Tensor) -> Tensor:
    """Unit vectors ``[B, n]``; where a vector is zero, the direction of the other."""
    import torch

    tiny = torch.finfo(torch.float32).tiny
    return torch.where(norm > 0, vector / norm.clamp_min(tiny), other / other_norm.clamp_min(tiny))


def _perpendicular(u: Tensor, v: Tensor, angle: Tensor) -> Tensor:
    """The unit vector ``[B, n]`` that leads from ``u`` towards ``v``, at a right angle to ``u``.

    Parallel vectors need none (its weight is 0); opposite ones take a fixed pseudo-random one, so
    that the same two latents give the same walk each time.
    """
    import torch

    across = v - torch.cos(angle) * u
    length = across.norm(dim=1, keepdim=True)
    if bool((length > _MIN_SINE).all()):
        unit: Tensor = across / length
        return unit
    generator = torch.Generator().manual_seed(0)
    anywhere = torch.randn(u.shape[1], generator=generator).to(u.device).expand_as(u)
    anywhere = anywhere - (anywhere * u).sum(dim=1, keepdim=True) * u
    fallback = anywhere / anywhere.norm(dim=1, keepdim=True).clamp_min(_MIN_SINE)
    chosen: Tensor = torch.where(length > _MIN_SINE, across / length.clamp_min(_MIN_SINE), fallback)
    return chosen
