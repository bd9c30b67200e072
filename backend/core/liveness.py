"""Is the dream alive? Liveness means frames shown or a legitimate rest, never "the process exists"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Looks further apart (a suspended machine, a clock that was set) count as so much time and no more: what
# could not run meanwhile is not to blame.
_LONGEST_STEP_S = 1.0


@dataclass(frozen=True)
class Vital:
    """What one part has to show for itself.

    Attributes:
        name: As in "the playback stands still".
        beats: Grows with each step that it takes; how far it has come means nothing.
        limit_s: Without a step for so long, it hangs.
        rest: Why it may stand still now; empty where it may not.
    """

    name: str
    beats: int
    limit_s: float
    rest: str = ""


@dataclass
class _Seen:
    beats: int
    still_s: float = 0.0


class Liveness:
    """Looks at the vitals again and again; pure arithmetic on clock readings.

    A watchdog is to be told of life only while :attr:`stalled` is None.
    """

    def __init__(self) -> None:
        self.stalled: str | None = None
        """Who hangs, as a sentence; None while all is well."""
        self.stalled_s = 0.0
        """Seconds since somebody hangs, without a break."""
        self._seen: dict[str, _Seen] = {}
        self._looked_at: float | None = None

    def look(self, now: float, vitals: Iterable[Vital]) -> None:
        """Compare with the last look; to be called a few times a second.

        Args:
            now: Monotonic seconds.
            vitals: Of all parts that are to be alive; one that was not there before is given its time.
        """
        step_s = 0.0 if self._looked_at is None else min(max(0.0, now - self._looked_at), _LONGEST_STEP_S)
        self._looked_at = now
        stuck = [one.name for one in list(vitals) if self._still_s(one, step_s) >= one.limit_s]
        if stuck:
            self.stalled = f"{' and '.join(stuck)} stand{'' if len(stuck) > 1 else 's'} still"
            self.stalled_s += step_s
        else:
            self.stalled, self.stalled_s = None, 0.0

    def _still_s(self, vital: Vital, step_s: float) -> float:
        seen = self._seen.get(vital.name)
        if seen is None or vital.rest or seen.beats != vital.beats:
            seen = self._seen[vital.name] = _Seen(vital.beats)
        else:
            seen.still_s += step_s
        return seen.still_s
