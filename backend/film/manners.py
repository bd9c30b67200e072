"""Manners at an engine that a dream, or other people, use at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable

from backend.errors import EngineError

_AHEAD = 2
"""Jobs of ours there at a time: one at work, one waiting; but only where nobody else waits."""

_SHARE = 3.0
"""Others go first, until we have waited for so many times what a job of ours takes."""

_LEAST_S, _MOST_S = 1.0, 30.0
_LOOK_S = 0.1


class PoliteManners:
    """Lets others go first, and gets about a quarter of an engine that never rests.

    Args:
        others_wait: Whether somebody else has jobs there; may raise EngineError.
        clock: Monotonic seconds.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        others_wait: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._others_wait = others_wait
        self._clock = clock
        self._sleep = sleep
        self._job_s = 0.0

    def may_send(self, under_way: int) -> bool:
        """With a job of ours there only where we are alone; else after the others, but not for ever."""
        if under_way >= _AHEAD:
            return False
        if under_way > 0:
            return not self._is_busy()
        until = self._clock() + min(_MOST_S, max(_LEAST_S, _SHARE * self._job_s))
        while self._is_busy() and self._clock() < until:
            self._sleep(_LOOK_S)
        return True

    def ended(self, seconds: float) -> None:
        """How long ours take is how long others may expect us to wait."""
        self._job_s = seconds

    def _is_busy(self) -> bool:
        try:
            return self._others_wait()
        except EngineError:  # sending will tell
            return False
