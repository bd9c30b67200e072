"""How long a gap looks beside the others of late: what gives it its time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from statistics import median

from backend.interpolation.looks import Step

# Gaps from which the usual length is told: many, so that the speed hardly changes from gap to gap ...
_GAPS = 60
# ... unless so many in a row are all longer, or all shorter, by this factor: then the dream is another one.
# After a turn the dream moves on from it in fewer than that.
CHANGED_GAPS, _CHANGED_BY = 12, 1.5
# Masses of light may move so many times as fast as usual in a gap before it takes longer than its motion asks
# for; and in a part of it before that part does. Where the dream has turned, neither goes faster than usual.
_MASSES, _MASSES_AT_ONCE = 1.2, 2.0


class UsualLength:
    """The median of what was measured; of lengths that are measured in one way."""

    def __init__(self) -> None:
        self._lengths: deque[float] = deque(maxlen=_GAPS)

    def usual(self, length: float, *, learn: bool = True) -> float:
        """Take a length in, and tell what is usual by now.

        Args:
            length: Of a gap.
            learn: False for one that is known to be unlike others: it counts where there is no other.
        """
        if not learn and self._lengths:
            return median(self._lengths)
        self._lengths.append(length)
        newest = list(self._lengths)[-CHANGED_GAPS:]
        usual = median(self._lengths)
        if min(newest) > _CHANGED_BY * usual or max(newest) < usual / _CHANGED_BY:
            self._lengths = deque(newest, maxlen=_GAPS)
            usual = median(newest)
        return usual


class UsualPace:
    """How long steps should take, so that neither motion nor masses of light go much faster than usual."""

    def __init__(self) -> None:
        self._motion, self._masses, self._both = UsualLength(), UsualLength(), UsualLength()

    def shares(
        self, steps: Sequence[Step], *, learn: bool = True, gently: bool = False
    ) -> list[float] | None:
        """Take the steps of a gap in, and tell each as a share of a usual gap.

        Args:
            steps: From keyframe to keyframe.
            learn: False for a turn: some of them in a row do not make the dream another one.
            gently: Whether the masses of light may go no faster than usual.

        Returns:
            One for each step; together 1 for a gap like most others. None where they cannot be compared.
        """
        if not steps or not all(math.isfinite(step.motion) for step in steps):
            return None
        usual_motion = self._motion.usual(sum(step.motion for step in steps), learn=learn)
        usual_masses = self._masses.usual(sum(step.masses for step in steps), learn=learn)
        in_a_gap, at_once = (1.0, 1.0) if gently else (_MASSES, _MASSES_AT_ONCE)
        masses = [_ratio(step.masses, usual_masses) for step in steps]
        lengths = [
            max(_ratio(step.motion, usual_motion), share / at_once)
            for step, share in zip(steps, masses, strict=True)
        ]
        length = max(sum(lengths), sum(masses) / in_a_gap)
        usual = self._both.usual(length, learn=learn)
        if usual <= 0.0:
            return [1.0 / len(steps)] * len(steps)
        return [_ratio(one, sum(lengths)) * length / usual for one in lengths]


def _ratio(length: float, usual: float) -> float:
    return length / usual if usual > 0.0 else 0.0
