"""Work on the memory that has time: the user's own pictures, and what another matcher has embedded."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Protocol

from backend.cache.manager import Embed
from backend.errors import DreamloopError, StorageError

log = logging.getLogger(__name__)

# So few at a time that a keyframe never waits long behind them.
_AT_ONCE = 4

_LOOK_EVERY_S = 60.0


class Workshop(Protocol):
    """The memory, as far as there is work on it."""

    @property
    def ready(self) -> bool: ...

    def needs_embedding(self, limit: int) -> list[str]: ...

    def rebuild(self, embed: Embed, *, limit: int | None = None) -> int: ...


class Seeds(Protocol):
    """Pictures on their way into the memory."""

    def turn(self) -> bool: ...


class SeedFolder:
    """The user's own pictures, brought in one at a time, once the size of the dream is known.

    Args:
        begin: Looks into the folder, for pictures of that width and height; raises StorageError.
        size: Of the dream; (0, 0) while it is not known.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        begin: Callable[[tuple[int, int]], Seeds],
        size: Callable[[], tuple[int, int]],
        clock: Callable[[], float],
    ) -> None:
        self._begin = begin
        self._size = size
        self._clock = clock
        self._seeds: Seeds | None = None
        self._look_at_s = -math.inf
        self._problem = ""

    def turn(self) -> bool:
        """Bring one in; False if there is none, or not yet."""
        if self._seeds is None and not self._look():
            return False
        return self._seeds is not None and self._seeds.turn()

    def _look(self) -> bool:
        """A folder that is not there may be there later: a disk that is not mounted yet."""
        if self._size() == (0, 0) or self._clock() < self._look_at_s:
            return False
        try:
            self._seeds = self._begin(self._size())
        except StorageError as error:
            self._look_at_s = self._clock() + _LOOK_EVERY_S
            if str(error) != self._problem:
                self._problem = str(error)
                log.warning("your own pictures cannot be had: %s", error)
        return self._seeds is not None


class Chores:
    """One piece of work at a time.

    Args:
        memory: To be worked on.
        embed: Judges pictures for it.
        bring_seeds: Brings in one of the user's own pictures; False if there is none, or not yet.
        settled: Whether who judges now is who will. Until then nothing is embedded again: what the matcher
            that is still being loaded has embedded before is waiting for it.
    """

    def __init__(
        self,
        memory: Workshop,
        embed: Embed,
        bring_seeds: Callable[[], bool] | None,
        settled: Callable[[], bool],
    ) -> None:
        self._settled = settled
        self._memory = memory
        self._embed = embed
        self._bring_seeds = bring_seeds
        self._stuck = False
        self._put_off = ""

    def turn(self) -> bool:
        """Do one piece; False if there is nothing to do."""
        settled = self._settled()  # which may bring another matcher, and so another index to load
        if not self._memory.ready:
            return False
        try:
            return (self._bring_seeds is not None and self._bring_seeds()) or (settled and self._embed_some())
        except DreamloopError as error:
            if str(error) != self._put_off:
                self._put_off = str(error)
                log.warning("work on the memory is put off: %s", error)
            return False

    def _embed_some(self) -> bool:
        waiting = self._memory.needs_embedding(1)
        if not waiting or self._stuck:
            self._stuck = self._stuck and bool(waiting)
            return False
        # One that cannot be embedded now would be tried for ever.
        self._stuck = self._memory.rebuild(self._embed, limit=_AT_ONCE) == 0
        return not self._stuck
