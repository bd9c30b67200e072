"""The steps of a node at work, by the progress that it reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Steps:
    """What the running node has shown of its steps.

    Attributes:
        since: When it began, or when the newest step ended.
        under_way: It has done some of them, but not all.
        slowest_s: The first includes what came before it, loading for example: a bound from above.
        done: The newest progress, of whatever unit.
    """

    since: float
    under_way: bool = False
    slowest_s: float = 0.0
    done: float = 0.0

    def step(self, value: float, maximum: float, now: float) -> float | None:
        """Takes in a progress of the node; the seconds since the step before, if there was one."""
        if value <= self.done:
            return None
        took_s, first = now - self.since, self.done == 0.0
        self.since, self.done, self.under_way = now, value, value < maximum
        self.slowest_s = max(self.slowest_s, took_s)
        return None if first else took_s
