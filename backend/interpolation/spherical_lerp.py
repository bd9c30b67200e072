"""Walks between latents: free functions of one signature, tensors in, tensors out.

Every path takes ``(start, end, t, leaving, arriving)`` and returns one latent per ``t`` and per sample. They
compute in float32 whatever comes in (half precision gives NaN near opposite vectors), treat each sample of
a batch by itself, and follow the device and dtype of their input. Only ``smooth`` heeds the velocities at
its ends; they come from ``velocity``, so that two walks that meet at a keyframe pass it as one.

torch is handed in by the caller's tensors and imported here only when a function runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

# Relative, since both modules are part of comfyui_nodes/, too, where there is no backend.
from .sphere import Arc, Cubic, Rate, column, flat, mean_growth, mean_turn, rate_toward

if TYPE_CHECKING:
    from torch import Tensor


class Path(Protocol):
    """A way from one latent to another."""

    def __call__(
        self,
        start: Tensor,
        end: Tensor,
        t: Tensor,
        leaving: Tensor | None = None,
        arriving: Tensor | None = None,
    ) -> Tensor:
        """Latents ``[T, B, ...]`` at the positions ``t`` (``[T]``, 0 to 1) between two of shape ``[B, ...]``.

        Args:
            start: Where t is 0.
            end: Where t is 1.
            t: Positions.
            leaving: Velocity at ``start``, latents for each 1 of t; None for that of a slerp.
            arriving: Velocity at ``end``.
        """
        ...


def slerp(
    start: Tensor, end: Tensor, t: Tensor, leaving: Tensor | None = None, arriving: Tensor | None = None
) -> Tensor:
    """Walk along the great circle from ``start`` to ``end``, interpolating the norm linearly.

    Latents of a diffusion model lie near a sphere; a straight line leaves it and decodes to
    washed-out pictures. Source: K. Shoemake, "Animating rotation with quaternion curves" (1985);
    the angle by W. Kahan's ``2 atan2(|u - v|, |u + v|)``, accurate at both ends.

    Args:
        start: Latents of shape ``[B, ...]``.
        end: Latents of the same shape.
        t: Positions of shape ``[T]``; 0 is ``start``, 1 is ``end``, exactly.
        leaving: Not heeded.
        arriving: Not heeded.

    Returns:
        Latents of shape ``[T, B, ...]``, with the device and dtype of ``start``. Opposite vectors
        walk over a fixed perpendicular; a zero vector has no direction and borrows the other's.

    Raises:
        ValueError: If the shapes differ, ``t`` is not one-dimensional, or a position lies outside 0 to 1.
    """
    import torch

    _check(start, end, t)
    arc = Arc.between(flat(start), flat(end).to(start.device))
    step = column(t, arc.u)
    direction = torch.cos(step * arc.angle) * arc.u + torch.sin(step * arc.angle) * arc.across
    walked = direction * (arc.norm_u + step * (arc.norm_v - arc.norm_u))
    return _exact_at_ends(walked, start, end, step)


def lerp(
    start: Tensor, end: Tensor, t: Tensor, leaving: Tensor | None = None, arriving: Tensor | None = None
) -> Tensor:
    """Walk along the straight line; the norm sinks on the way, kept for comparison.

    Args, shapes and errors are those of :func:`slerp`.
    """
    _check(start, end, t)
    a, step = flat(start), column(t, start)
    walked = a + step * (flat(end).to(start.device) - a)
    return _exact_at_ends(walked, start, end, step)


def smooth(
    start: Tensor, end: Tensor, t: Tensor, leaving: Tensor | None = None, arriving: Tensor | None = None
) -> Tensor:
    """Walk along a cubic on the sphere that leaves and arrives with given velocities.

    The direction follows a spherical Bezier curve by de Casteljau's scheme of slerps, whose velocity at
    the ends is three times the first and the last side of its control polygon; the norm follows a
    monotone cubic. So two walks with the same velocity at the keyframe between them pass it without a kink.
    Sources: K. Shoemake, "Animating rotation with quaternion curves" (1985); F. Fritsch and R. Carlson,
    "Monotone piecewise cubic interpolation" (1980) for the norm and for how fast an end may be.

    Args, shapes, degenerate inputs and errors are those of :func:`slerp`, which it equals where neither
    velocity is given. An end that is faster than three times the walk's mean is slowed down, so that no walk
    runs far out and comes back.
    """
    _check(start, end, t, leaving, arriving)
    cubic = Cubic.between(start, end, leaving, arriving)
    step = column(t, start)
    return _exact_at_ends(cubic.directions(step) * cubic.norms(step), start, end, step)


def smooth_arc(
    start: Tensor, end: Tensor, t: Tensor, leaving: Tensor | None = None, arriving: Tensor | None = None
) -> Tensor:
    """Radians that :func:`smooth` has turned from the first of the positions ``t`` on; shape ``[T, B]``.

    As cheap for large latents as for small ones: the curve is a sum of four vectors, so angles between its
    points follow from those between the four.
    """
    _check(start, end, t, leaving, arriving)
    return Cubic.between(start, end, leaving, arriving).turned(column(t, start))


def velocity(
    before: Tensor | None, at: Tensor, after: Tensor | None, before_s: float = 1.0, after_s: float = 1.0
) -> Tensor | None:
    """How fast, and whereto, a smooth walk passes a keyframe, from its neighbours on both sides.

    It leads midway between the direction from the one and that to the other; the speed is the harmonic mean
    of both, weighted by the time they take, as long as the walk turns by no more than a right angle, and
    falls to nothing where it goes straight back: a walk that turned round at full speed would overshoot.
    With one neighbour it leads straight on.
    Source: F. Fritsch and J. Butland, "A method for constructing local monotone piecewise cubic
    interpolants" (1984), here on the sphere.

    Args:
        before: The keyframe before, shape ``[B, ...]``; None where there is none.
        at: The keyframe that is passed.
        after: The one after; None where it is not known.
        before_s: Seconds from ``before`` to ``at``.
        after_s: Seconds from ``at`` to ``after``.

    Returns:
        Latents a second, shape ``[B, ...]`` in float32; None where there is no neighbour.

    Raises:
        ValueError: If shapes differ, or a time is not above 0.
    """
    import torch

    for other in (before, after):
        if other is not None and other.shape != at.shape:
            raise ValueError(_cannot_walk(other, at))
    if not (before_s > 0.0 and after_s > 0.0):
        raise ValueError(f"a walk takes time, not {before_s} and {after_s} s")
    here = flat(at)
    coming = None if before is None else rate_toward(here, flat(before), -before_s)
    going = None if after is None else rate_toward(here, flat(after), after_s)
    if coming is None or going is None:
        only = going if coming is None else coming
        # Whether the norm will go on to grow is not known; standing still, it meets whatever comes.
        rate = None if only is None else Rate(only.turn, 0.0 * only.growth)
    else:
        rate = Rate(
            mean_turn(coming.turn, going.turn, before_s, after_s),
            mean_growth(coming.growth, going.growth, before_s, after_s),
        )
    if rate is None:
        return None
    norm = here.norm(dim=1, keepdim=True)
    direction = here / norm.clamp_min(torch.finfo(torch.float32).tiny)
    moved: Tensor = (rate.turn * norm + rate.growth * direction).view(at.shape)
    return moved


PATHS: Mapping[str, Path] = MappingProxyType({"smooth": smooth, "slerp": slerp, "lerp": lerp})
"""By the names that config.yaml knows."""


def angle_between(one: Tensor, other: Tensor) -> float:
    """Radians between two latents of one shape, as directions; 0 where one of them has none."""
    a, b = one.flatten().double(), other.flatten().double()
    length = float(a.norm() * b.norm())
    return math.acos(min(1.0, max(-1.0, float(a @ b) / length))) if length > 0.0 else 0.0


def _check(start: Tensor, end: Tensor, t: Tensor, *velocities: Tensor | None) -> None:
    for other in (end, *velocities):
        if other is not None and other.shape != start.shape:
            raise ValueError(_cannot_walk(start, other))
    if t.dim() != 1:
        raise ValueError(f"t must have one dimension, not shape {tuple(t.shape)}")
    if len(t) and not (float(t.min()) >= 0.0 and float(t.max()) <= 1.0):
        raise ValueError(f"t must lie between 0 and 1, not {float(t.min()):g} to {float(t.max()):g}")


def _cannot_walk(one: Tensor, other: Tensor) -> str:
    return f"latents of shape {tuple(one.shape)} and {tuple(other.shape)} cannot be walked between"


def _exact_at_ends(walked: Tensor, start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    """``[T, B, n]`` with the keyframes themselves at 0 and 1, in the shape and dtype of ``start``."""
    import torch

    first, last = flat(start), flat(end).to(start.device)
    walked = torch.where(step == 0.0, first, torch.where(step == 1.0, last, walked))
    return walked.view(len(step), *start.shape).to(start.dtype)
