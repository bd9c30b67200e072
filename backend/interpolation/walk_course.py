"""A walk as text, for a server that carries it out by itself (comfyui_nodes/walk.py reads it)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backend.interpolation.walk import Knot, Walk, Waypoint

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Course:
    """What a server needs to know of a walk.

    Attributes:
        text: JSON: ``{"path", "seconds", "start": {"at", "before", "after", "before_s", "after_s"}, "end":
            {...}}``, in which keyframes are numbers of the batch, or null where there is none.
        points: The keyframes, each once.
    """

    text: str
    points: tuple[Waypoint, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Where the server has their latents; empty where it lacks one."""
        names = tuple(point.name for point in self.points if point.name is not None)
        return names if len(names) == len(self.points) else ()

    @property
    def latents(self) -> Tensor:
        """The batch, shape ``[K, C, h, w]`` or ``[K, C, 1, h, w]``."""
        import torch

        return torch.cat([point.latent for point in self.points])


def course_of(walk: Walk) -> Course:
    """The course of a walk; keyframes that its path does not heed are left out."""
    batch = _Batch()
    heeds_more = walk.path == "smooth"
    start, end = (_knot(knot, batch, heeds_more) for knot in (walk.start, walk.end))
    told = {"path": walk.path, "seconds": walk.seconds, "start": start, "end": end}
    return Course(json.dumps(told), tuple(batch.points))


@dataclass
class _Batch:
    points: list[Waypoint] = field(default_factory=list)

    def number(self, point: Waypoint | None) -> int | None:
        """The place of a keyframe, which is taken up if it is not there yet."""
        if point is None:
            return None
        for number, known in enumerate(self.points):
            if known.latent is point.latent:
                return number
        self.points.append(point)
        return len(self.points) - 1


def _knot(knot: Knot, batch: _Batch, heeds_more: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"at": batch.number(knot.at)}
    if heeds_more:
        told |= {"before": batch.number(knot.before), "after": batch.number(knot.after)}
        told |= {"before_s": knot.before_s, "after_s": knot.after_s}
    return told
