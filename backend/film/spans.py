"""Which part of a dream is asked for: ``10m``, or from one time to another."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from backend.errors import ExportRefused

T = TypeVar("T")

_LENGTH = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")
_MAX_S = 1000 * 3600.0
_CLOSE = 1e-6


@dataclass(frozen=True)
class Span:
    """A part of the dream.

    Attributes:
        last_s: So many seconds of dream, back from its end, or from ``until``.
        since: Nothing from before; seconds since 1970.
        until: Nothing from after.
    """

    last_s: float | None = None
    since: float | None = None
    until: float | None = None


def parsed_length(text: str) -> float:
    """``90s``, ``10m``, ``1h30m`` or ``90`` in seconds; raises ValueError where it is something else."""
    found = _LENGTH.fullmatch(text.strip().lower()) if text.strip() else None
    if found is None:
        raise ValueError(f"{text!r} is no length of time, like 90s, 10m, 2h or 1h30m")
    hours, minutes, seconds = (float(part) if part else 0.0 for part in found.groups())
    length_s = hours * 3600 + minutes * 60 + seconds
    if not 0 < length_s <= _MAX_S:
        raise ValueError(f"{text!r}: a length of time from more than nothing to 1000h")
    return length_s


def parsed_moment(text: str, now: datetime) -> datetime:
    """``21:30``, ``21:30:15`` (the last time it was that late) or ``2026-01-31T21:30``, local time.

    Args:
        text: What a person wrote.
        now: Local time.

    Raises:
        ValueError: It is something else.
    """
    written = text.strip()
    for pattern in ("%H:%M", "%H:%M:%S"):
        try:
            clock = datetime.strptime(written, pattern)
        except ValueError:
            continue
        moment = datetime.combine(now.date(), clock.time(), tzinfo=now.tzinfo)
        return moment if moment <= now else moment - timedelta(days=1)
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise ValueError(f"{text!r} is no time, like 21:30 or 2026-01-31T21:30") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=now.tzinfo)


def chosen(
    items: Sequence[T], span: Span, at: Callable[[T], float], seconds: Callable[[T], float]
) -> Sequence[T]:
    """The items of a span, in their order.

    Args:
        items: Oldest first.
        span: What is asked for.
        at: When an item was, seconds since 1970.
        seconds: How long an item lasts; ``last_s`` is counted in these, so that a night in which nothing
            was dreamt is no part of it.

    Raises:
        ExportRefused: The span has no sense.
    """
    if span.since is not None and span.until is not None and span.since >= span.until:
        raise ExportRefused("--from must be earlier than --to")
    fitting = [
        item
        for item in items
        if (span.since is None or at(item) >= span.since) and (span.until is None or at(item) <= span.until)
    ]
    if span.last_s is None:
        return fitting
    left_s, first = span.last_s, len(fitting)
    while first > 0 and left_s > _CLOSE:
        first -= 1
        left_s -= seconds(fitting[first])
    return fitting[first:]
