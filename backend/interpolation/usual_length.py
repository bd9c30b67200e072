"""How long a gap looks beside the others of late: what gives it its time."""

from __future__ import annotations

from collections import deque
from statistics import median

# Gaps from which the usual length is told: many, so that the speed hardly changes from gap to gap ...
_GAPS = 60
# ... unless so many in a row are all longer, or all shorter, by this factor: then the dream is another one.
_CHANGED_GAPS, _CHANGED_BY = 5, 1.5


class UsualLength:
    """The median of what was measured; of lengths that are measured in one way."""

    def __init__(self) -> None:
        self._lengths: deque[float] = deque(maxlen=_GAPS)

    def share(self, length: float) -> float:
        """Take a length in, and tell it as a share of the usual one."""
        self._lengths.append(length)
        newest = list(self._lengths)[-_CHANGED_GAPS:]
        usual = median(self._lengths)
        if min(newest) > _CHANGED_BY * usual or max(newest) < usual / _CHANGED_BY:
            self._lengths = deque(newest, maxlen=_GAPS)
            usual = median(newest)
        return length / usual if usual > 0.0 else 1.0
