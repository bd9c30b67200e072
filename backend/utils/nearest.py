"""The name that a person most likely meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_CHARS = 200
"""Longer names are compared by their beginning: the comparison's cost grows with the square of the length."""

_CUTOFF = 0.5


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like ``name``, or None where none does.

    A name that differs only in case, or only in the folder before it, wins over one with other letters.

    Args:
        name: What was written.
        known: What there is. Asked for once, in order.
    """
    by_low = {_low(one): one for one in known}
    low = _low(name)
    if low in by_low:
        return by_low[low]
    for other, one in by_low.items():
        if other.rpartition("/")[2] == low.rpartition("/")[2]:
            return one
    close = difflib.get_close_matches(low, by_low, n=1, cutoff=_CUTOFF)
    return by_low[close[0]] if close else None


def _low(name: str) -> str:
    return name[:MAX_CHARS].lower().replace("\\", "/")
