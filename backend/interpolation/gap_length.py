"""How long a walk takes: one that turns farther than usual gets the time to do so at the usual speed."""

from __future__ import annotations

import math

USUAL_SPREAD = 1.25
"""By so much a dream's own turns exceed their median; up to there a gap is as long as it is set."""

FAR = 2.0
"""Times the median from which on a walk is shown at the median's speed; in between, the gap grows evenly."""

LONGEST = 6.0
"""Times the usual gap that a walk is expected to take at the most, however far it turns ..."""

LONGEST_SEEN = 10.0
"""... and that it takes at the most, however much was seen to happen in it."""


def stretch(angle: float, usual: float) -> float:
    """How many times the usual gap a walk should take, so that no turn is shown faster than the dream moves.

    Args:
        angle: Radians that the walk turns.
        usual: Radians that the dream turns in a gap by itself, as a median; 0 where unknown.

    Returns:
        1, or more for a walk that turns farther than ``USUAL_SPREAD`` times ``usual``; at most ``LONGEST``.
    """
    if not (usual > 0.0 and math.isfinite(angle)):
        return 1.0
    times = angle / usual
    if times < FAR:
        times = 1.0 + (times - USUAL_SPREAD) * (FAR - 1.0) / (FAR - USUAL_SPREAD)
    return min(max(times, 1.0), LONGEST)
