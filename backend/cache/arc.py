"""The arc by which a memory enters the dream: how much of its latent each of the next keyframes takes."""

from __future__ import annotations

import itertools
import math

MAX_KEYFRAMES = 64
MAX_STRENGTH = 0.95
"""The dream itself moves on between two weights, so a weight of 1 would jump over what it moved."""

PACE = 6.0
"""How far an arc may turn the dream in one gap, in units of what it turns by itself. No more than a gap can
be made longer (`gap_length.LONGEST`): then the turn is shown no faster than the dream moves anyway."""


def arc_weights(strength: float, keyframes: int) -> tuple[float, ...]:
    """How much of a memory's latent is slerped into the start latent of each of the next keyframes.

    If nothing else moved, each keyframe would go an equal share of the way: its softness comes from the time
    that the gaps are given, not from keyframes that hardly turn.

    Args:
        strength: Share of the way to the memory that is gone in the end; clamped to 0 to `MAX_STRENGTH`.
        keyframes: Length of the arc; clamped to 1 to `MAX_KEYFRAMES`.

    Returns:
        One weight for each keyframe, 0 to 1.
    """
    goal = min(max(strength, 0.0), MAX_STRENGTH) if math.isfinite(strength) else 0.0
    count = min(max(keyframes, 1), MAX_KEYFRAMES)
    gone = [goal * place / count for place in range(count + 1)]
    return tuple((after - before) / (1.0 - before) for before, after in itertools.pairwise(gone))


def gentle(weight: float, angle: float, usual: float) -> float:
    """A weight of `arc_weights`, held back where it would turn the dream too far in one gap.

    Args:
        weight: Share of the way to the memory, 0 to 1.
        angle: Radians from the start latent to the memory's.
        usual: Radians from one keyframe's latent to the next, as the dream moves untouched; 0 where unknown.

    Returns:
        The weight, or the smaller one that turns by `PACE` times ``usual``.
    """
    if not (usual > 0.0 and angle > 0.0):
        return weight
    return min(weight, PACE * usual / angle)
