"""Work on the memory that has time: the user's own pictures, and what another matcher has embedded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from backend.cache.manager import Embed
from backend.errors import DreamloopError

log = logging.getLogger(__name__)

# So few at a time that a keyframe never waits long behind them.
_AT_ONCE = 4


class Workshop(Protocol):
    """The memory, as far as there is work on it."""

    @property
    def ready(self) -> bool: ...

    def needs_embedding(self, limit: int) -> list[str]: ...

    def rebuild(self, embed: Embed, *, limit: int | None = None) -> int: ...


class Chores:
    """One piece of work at a time.

    Args:
        memory: To be worked on.
        embed: Judges pictures for it.
        bring_seeds: Brings the user's own pictures in, once the size of the dream is known; False until then.
    """

    def __init__(self, memory: Workshop, embed: Embed, bring_seeds: Callable[[], bool] | None) -> None:
        self._memory = memory
        self._embed = embed
        self._bring_seeds = bring_seeds
        self._stuck = False

    def turn(self) -> bool:
        """Do one piece; False if there is nothing to do."""
        if not self._memory.ready:
            return False
        try:
            if self._bring_seeds is not None and self._bring_seeds():
                self._bring_seeds = None
                return True
            return self._embed_some()
        except DreamloopError as error:
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
