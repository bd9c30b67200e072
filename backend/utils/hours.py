"""Hours of the week in which something may be: ``mon-fri 08:00-20:00``, ``fri 22:00-02:00``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(
    r"(?:(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))? )?(?P<start>\d{1,2}:\d\d) ?- ?(?P<end>\d{1,2}:\d\d)"
)
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True)
class Span:
    """A time of day on some days.

    Attributes:
        days: 0 for Monday to 6.
        start: Minutes after midnight.
        end: The same, not included; at or before ``start`` it is of the next day.
    """

    days: frozenset[int]
    start: int
    end: int

    @classmethod
    def read(cls, text: str) -> Span:
        """Reads one.

        Raises:
            ValueError: With what would be right.
        """
        wish = f'{text[:40]!r}: hours like "mon-fri 08:00-20:00" or "22:00-02:00"; days are {", ".join(DAYS)}'
        found = _SPAN.fullmatch(" ".join(text.lower().split()))
        if found is None:
            raise ValueError(wish)
        start, end = _minutes(found["start"]), _minutes(found["end"])
        names = [name for name in (found["first"], found["last"]) if name is not None]
        if start is None or end is None or any(name not in DAYS for name in names):
            raise ValueError(wish)
        return cls(_days(names), start, end)

    def holds(self, wall: datetime) -> bool:
        """Whether a local time lies in it."""
        minute = wall.hour * 60 + wall.minute
        if self.start < self.end:
            return wall.weekday() in self.days and self.start <= minute < self.end
        yesterday = (wall.weekday() - 1) % 7
        return (wall.weekday() in self.days and minute >= self.start) or (
            yesterday in self.days and minute < self.end
        )


def within(hours: Iterable[str], wall: datetime) -> bool:
    """Whether a local time lies in one of them; always where there are none."""
    spans = [Span.read(text) for text in hours]
    return not spans or any(span.holds(wall) for span in spans)


def _days(names: list[str]) -> frozenset[int]:
    if not names:
        return frozenset(range(7))
    first, last = DAYS.index(names[0]), DAYS.index(names[-1])
    return frozenset((first + step) % 7 for step in range((last - first) % 7 + 1))


def _minutes(text: str) -> int | None:
    hour, minute = (int(part) for part in text.split(":"))
    total = hour * 60 + minute
    return total if minute < 60 and total <= _DAY_MINUTES else None
