"""Waiting longer after each failure in a row."""

from __future__ import annotations

import random


class Backoff:
    """Doubling waits with jitter, so that many clients do not come back at the same instant.

    Args:
        first_s: The first wait.
        longest_s: No wait is longer.
        rng: Draws the jitter: each wait is 50 to 100 % of its nominal length.
    """

    def __init__(self, first_s: float, longest_s: float, rng: random.Random) -> None:
        self.failures = 0
        self._first_s = first_s
        self._longest_s = longest_s
        self._rng = rng

    def next_s(self) -> float:
        """Count one more failure and say how long to wait before the next try."""
        nominal_s = min(self._longest_s, self._first_s * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return nominal_s * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It worked: the next failure is the first."""
        self.failures = 0
