"""A walk between two keyframes as a description: who carries it out may be here, or at the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backend.errors import LatentRejected
from backend.interpolation.latent_size import resized
from backend.interpolation.spherical_lerp import PATHS, smooth_arc, velocity

if TYPE_CHECKING:
    from torch import Tensor


# Points at which it is looked up how far a walk has turned.
_TABLE = 257


@dataclass(frozen=True, eq=False)  # latents have no equality to speak of
class Waypoint:
    """A keyframe that a walk passes or heeds.

    Attributes:
        latent: Shape ``[1, C, h, w]``, or ``[1, C, 1, h, w]``.
        name: Its latent on the server, as LoadLatent takes it; None where it lies here alone.
    """

    latent: Tensor
    name: str | None = None

    def like(self, latent: Tensor) -> Waypoint:
        """In the size of another latent; raises LatentRejected if more than the size differs."""
        scaled = resized(self.latent, latent)
        return self if scaled is self.latent else Waypoint(scaled)


@dataclass(frozen=True, eq=False)
class Knot:
    """An end of a walk, and the keyframes around it as they were known when its velocity was settled.

    The walk that ends here and the one that begins here have the same knot: so they meet without a kink.

    Attributes:
        before_s: Seconds of dream from ``before`` to here.
        after_s: Seconds of dream from here to ``after``.
    """

    at: Waypoint
    before: Waypoint | None = None
    after: Waypoint | None = None
    before_s: float = 1.0
    after_s: float = 1.0

    def like(self, latent: Tensor) -> Knot:
        """In the size of another latent.

        Raises:
            LatentRejected: If it is of another model; neighbours that are so are left out.
        """
        at = self.at.like(latent)
        before, after = (_like_or_none(point, latent) for point in (self.before, self.after))
        same = at is self.at and before is self.before and after is self.after
        return self if same else replace(self, at=at, before=before, after=after)

    def velocity(self) -> Tensor | None:
        """Latents a second, shape of the latent; None where no keyframe is around."""
        before, after = (None if point is None else point.latent for point in (self.before, self.after))
        return velocity(before, self.at.latent, after, self.before_s, self.after_s)


@dataclass(frozen=True, eq=False)
class Walk:
    """From one keyframe to the next; all latents of it have one shape.

    Attributes:
        path: A key of PATHS.
        seconds: Of dream, from the one to the other.
    """

    path: str
    start: Knot
    end: Knot
    seconds: float

    @classmethod
    def between(cls, path: str, start: Knot, end: Knot, seconds: float) -> Walk:
        """A walk in the size that it leads to; raises LatentRejected where there is none."""
        latent = end.at.latent
        return cls(path, start.like(latent), end.like(latent), seconds)

    def latents(self, t: Tensor) -> Tensor:
        """The latents at the positions ``t`` (0 to 1), shape ``[N, C, h, w]`` or ``[N, C, 1, h, w]``."""
        leaving, arriving = self._velocities()
        walked = PATHS[self.path](self.start.at.latent, self.end.at.latent, t, leaving, arriving)
        return walked[:, 0]

    def at(self, shares: Sequence[float], *, by_turn: bool) -> Tensor:
        """Positions ``t``, shape ``[N]``.

        Args:
            shares: 0 to 1, rising.
            by_turn: Where the walk has turned by these shares of all that it turns; else t itself.
        """
        import torch

        wanted = torch.tensor(shares, dtype=torch.float32)
        if not by_turn or self.path != "smooth":
            return wanted
        t = torch.linspace(0.0, 1.0, _TABLE)
        arc = smooth_arc(self.start.at.latent, self.end.at.latent, t, *self._velocities())[:, 0].cpu()
        if not float(arc[-1]) > 0.0:
            return wanted
        turned = arc / arc[-1]
        after = torch.searchsorted(turned, wanted).clamp(1, _TABLE - 1)
        low, high = turned[after - 1], turned[after]
        between = ((wanted - low) / (high - low).clamp_min(1e-9)).clamp(0.0, 1.0)
        return t[after - 1] + between * (t[after] - t[after - 1])

    def _velocities(self) -> tuple[Tensor | None, Tensor | None]:
        """Latents for each 1 of t, as paths take them."""
        if self.path != "smooth":
            return None, None
        leaving, arriving = self.start.velocity(), self.end.velocity()
        return (
            None if leaving is None else leaving * self.seconds,
            None if arriving is None else arriving * self.seconds,
        )


def _like_or_none(point: Waypoint | None, latent: Tensor) -> Waypoint | None:
    if point is None:
        return None
    try:
        return point.like(latent)
    except LatentRejected:
        return None
