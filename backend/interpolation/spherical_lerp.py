"""Walks between latents: free functions of one signature, tensors in, tensors out.

Every path takes ``(start, end, t)`` and returns one latent per sample and per ``t``. They compute in
float32 whatever comes in (half precision gives NaN near opposite vectors), treat each sample of a
batch by itself, and follow the device and dtype of their input.

torch is handed in by the caller's tensors and imported here only when a function runs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Below this sine the two directions are parallel or opposite as far as float32 can tell.
_MIN_SINE = 1e-6


def slerp(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    """Walk along the great circle from ``start`` to ``end``, interpolating the norm linearly.

    Latents of a diffusion model lie near a sphere; a straight line leaves it and decodes to
    washed-out pictures. Source: K. Shoemake, "Animating rotation with quaternion curves" (1985);
    the angle by W. Kahan's ``2 atan2(|u - v|, |u + v|)``, accurate at both ends.

    Args:
        start: Latents of shape ``[B, ...]``.
        end: Latents of the same shape.
        t: Positions of shape ``[T]``; 0 is ``start``, 1 is ``end``, exactly.

    Returns:
        Latents of shape ``[T, B, ...]``, with the device and dtype of ``start``. Opposite vectors
        walk over a fixed perpendicular; a zero vector has no direction and borrows the other's.

    Raises:
        ValueError: If the shapes differ, or ``t`` is not one-dimensional.
    """
    import torch

    _check(start, end, t)
    a = start.to(torch.float32).flatten(1)
    b = end.to(device=start.device, dtype=torch.float32).flatten(1)
    norm_a, norm_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    u, v = _direction(a, norm_a, b, norm_b), _direction(b, norm_b, a, norm_a)

    angle = 2.0 * torch.atan2((u - v).norm(dim=1, keepdim=True), (u + v).norm(dim=1, keepdim=True))
    across = _perpendicular(u, v, angle)
    step = t.to(device=a.device, dtype=torch.float32).view(-1, 1, 1)
    direction = torch.cos(step * angle) * u + torch.sin(step * angle) * across
    walked = direction * (norm_a + step * (norm_b - norm_a))

    walked = torch.where(step == 0.0, a, torch.where(step == 1.0, b, walked))
    return walked.view(len(t), *start.shape).to(start.dtype)


def lerp(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    """Walk along the straight line; the norm sinks on the way, kept for comparison.

    Args, shapes and errors are those of :func:`slerp`.
    """
    import torch

    _check(start, end, t)
    a = start.to(torch.float32)
    b = end.to(device=start.device, dtype=torch.float32)
    step = t.to(device=a.device, dtype=torch.float32).view(-1, *[1] * start.dim())
    walked = torch.where(step == 1.0, b, a + step * (b - a))
    return walked.to(start.dtype)


def angle_between(one: Tensor, other: Tensor) -> float:
    """Radians between two latents of one shape, as directions; 0 where one of them has none."""
    a, b = one.flatten().double(), other.flatten().double()
    length = float(a.norm() * b.norm())
    return math.acos(min(1.0, max(-1.0, float(a @ b) / length))) if length > 0.0 else 0.0


def _check(start: Tensor, end: Tensor, t: Tensor) -> None:
    if start.shape != end.shape:
        raise ValueError(
            f"latents of shape {tuple(start.shape)} and {tuple(end.shape)} cannot be walked between"
        )
    if t.dim() != 1:
        raise ValueError(f"t must have one dimension, not shape {tuple(t.shape)}")


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
