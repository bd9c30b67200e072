"""How long a running job may show nothing before it counts as hung.

A machine that is slow is no machine that hangs: steps are given four times what the slowest was seen to
take, and whoever was given up for nothing gets twice the time at the next try.
"""

from __future__ import annotations

from collections import deque

from backend.core.job_actions import Patience
from backend.core.steps import Steps

# So many steps are remembered: a few jobs' worth, so that one freak (a suspended machine) is forgotten.
_STEPS = 64
_STEPS_TO_WAIT = 4.0
_MOST_DOUBLINGS = 10


class Silence:
    """The silence that jobs are allowed on one server, by what was seen of it. Not thread-safe."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._newest_steps_s: deque[float] = deque(maxlen=_STEPS)
        self._doublings = 0

    def took(self, step_s: float) -> None:
        """A step took so long."""
        self._newest_steps_s.append(step_s)

    def given_up(self) -> None:
        """A job was silent for too long: the next ones may be silent for twice as long."""
        self._doublings = min(self._doublings + 1, _MOST_DOUBLINGS)

    def ended_well(self) -> None:
        """A job ended well: no more allowances."""
        self._doublings = 0

    def allowed_s(self, steps: Steps) -> float:
        """Seconds for which a job at these steps may be silent."""
        slowest_s = max([steps.slowest_s, *self._newest_steps_s])
        step_s = max(self._patience.step_s, _STEPS_TO_WAIT * slowest_s)
        # Loading is silent, and so is the first step after it.
        wait_s = step_s if steps.under_way else max(self._patience.load_s, step_s)
        return float(wait_s * 2**self._doublings)

    @property
    def stop_s(self) -> float:
        """Seconds that a job may take to stop once it was told to."""
        return float(self._patience.stop_s * 2 ** max(0, self._doublings - 1))
