"""A walk among latents that is computed piece by piece, only when its frames are wanted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .spherical_lerp import PATHS, velocity

if TYPE_CHECKING:
    from torch import Tensor

MOST_FRAMES = 4096

_AT_ONCE = 32


@dataclass(frozen=True)
class Knot:
    """An end of a walk: the latent there, and those around it that its velocity there follows from.

    Attributes:
        at: A number of the batch, like ``before`` and ``after``, which may be None.
        before_s: Seconds from ``before`` to here.
        after_s: Seconds from here to ``after``.
    """

    at: int
    before: int | None = None
    after: int | None = None
    before_s: float = 1.0
    after_s: float = 1.0


@dataclass(frozen=True, eq=False)
class Walk:
    """Where a walk leads, and where on it frames are wanted.

    Attributes:
        latents: The batch that its knots speak of, shape ``[K, C, h, w]`` or ``[K, C, 1, h, w]``.
        path: A key of PATHS.
        seconds: From its start to its end.
        places: Where frames are wanted, 0 to 1.
    """

    latents: Tensor
    path: str
    start: Knot
    end: Knot
    seconds: float
    places: tuple[float, ...]

    @classmethod
    def read(cls, latents: Tensor, course: str, places: tuple[float, ...]) -> Walk:
        """A walk from its course, ``{"path", "seconds", "start": {"at", ...}, "end": {"at", ...}}`` in JSON.

        Raises:
            ValueError: It is no course, or not one for these latents.
        """
        import torch

        try:
            told = json.loads(course)
        except ValueError as error:
            raise ValueError(f"the course is no JSON: {error}") from None
        except RecursionError:
            raise ValueError("the course is no JSON that can be read: it is nested too deeply") from None
        if not isinstance(told, dict) or told.get("path") not in list(PATHS):
            raise ValueError(f"the course names no path out of {', '.join(PATHS)}")
        if len(places) > MOST_FRAMES:
            raise ValueError(f"{len(places)} frames are more than {MOST_FRAMES}")
        if not bool(torch.isfinite(latents).all()):
            raise ValueError("a latent of the walk holds values that are not finite")
        start, end = (_knot(told, name, len(latents)) for name in ("start", "end"))
        return cls(latents, told["path"], start, end, _seconds(told, "seconds"), places)

    def __len__(self) -> int:
        return len(self.places)

    def at(self, frames: Sequence[int]) -> Tensor:
        """The latents of some of its frames, shape ``[n, C, h, w]`` or ``[n, C, 1, h, w]``."""
        import torch

        t = torch.tensor([self.places[frame] for frame in frames], dtype=torch.float32)
        return PATHS[self.path](self._latent(self.start.at), self._latent(self.end.at), t, *self._rates)[:, 0]

    @cached_property
    def _rates(self) -> tuple[Tensor | None, Tensor | None]:
        """The velocities at both ends, latents for each 1 of t."""
        if self.path != "smooth":
            return None, None
        leaving, arriving = (self._velocity(knot) for knot in (self.start, self.end))
        return (
            None if leaving is None else leaving * self.seconds,
            None if arriving is None else arriving * self.seconds,
        )

    def _velocity(self, knot: Knot) -> Tensor | None:
        before, after = (None if one is None else self._latent(one) for one in (knot.before, knot.after))
        return velocity(before, self._latent(knot.at), after, knot.before_s, knot.after_s)

    def _latent(self, number: int) -> Tensor:
        return self.latents[number : number + 1]


class Ahead:
    """The latents of frames in their order, some of them computed ahead.

    A walk costs much the same for one frame as for many, and as many as these take little memory.
    """

    def __init__(self, walk: Walk, frames: Sequence[int]) -> None:
        self._walk = walk
        self._frames = frames
        self._computed = walk.at(())
        self._next = 0

    def take(self, count: int) -> Tensor:
        """The latents of the next ``count`` frames."""
        import torch

        lacking = count - len(self._computed)
        if lacking > 0:
            more = self._frames[self._next : self._next + max(lacking, _AT_ONCE)]
            self._next += len(more)
            self._computed = torch.cat([self._computed, self._walk.at(more)])
        taken, self._computed = self._computed[:count], self._computed[count:]
        return taken


def places_of(text: str) -> tuple[float, ...]:
    """The places in ``"0.25, 0.5"``.

    Raises:
        ValueError: One of them is not between 0 and 1.
    """
    found = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        try:
            place = float(part)
        except ValueError:
            raise ValueError(f"place {part!r} is no number") from None
        if not 0.0 <= place <= 1.0:
            raise ValueError(f"place {part!r} is not between 0 and 1")
        found.append(place)
    return tuple(found)


def _knot(course: Mapping[str, Any], name: str, count: int) -> Knot:
    told = course.get(name)
    if not isinstance(told, dict) or told.get("at") is None:
        raise ValueError(f"the course does not say where its {name} is")
    at, before, after = (_number(told, f"{name}.{key}", key, count) for key in ("at", "before", "after"))
    assert at is not None  # noqa: S101 - for the type checker: it was looked at
    return Knot(at, before, after, _seconds(told, "before_s"), _seconds(told, "after_s"))


def _number(told: Mapping[str, Any], name: str, key: str, count: int) -> int | None:
    value = told.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count:
        raise ValueError(f"{name} {value!r} is none of the {count} latents")
    return value


def _seconds(told: Mapping[str, Any], key: str) -> float:
    value = told.get(key, 1.0)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0.0 < value < math.inf:
        raise ValueError(f"{key} {value!r} is no time above 0")
    return float(value)
