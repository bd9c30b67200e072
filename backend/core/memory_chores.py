"""Work on the memory that has time: the user's own pictures, and what another matcher has embedded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backend.cache.matching import Matcher
from backend.errors import DreamloopError

log = logging.getLogger(__name__)

Embed = Callable[[Sequence[bytes]], tuple[NDArray[np.float32], NDArray[np.float32]]]

# So few at a time that a keyframe never waits long behind them.
_AT_ONCE = 4


class SeedsTold(Protocol):
    """What came of bringing pictures in."""

    @property
    def added(self) -> int: ...


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
        matcher: Gives the matcher that judges now.
        bring_seeds: Brings the user's own pictures in, once the size of the dream is known; False until then.
    """

    def __init__(
        self, memory: Workshop, matcher: Callable[[], Matcher], bring_seeds: Callable[[Embed], bool] | None
    ) -> None:
        self._memory = memory
        self._matcher = matcher
        self._bring_seeds = bring_seeds
        self._stuck = False

    def turn(self) -> bool:
        """Do one piece; False if there is nothing to do."""
        if not self._memory.ready:
            return False
        try:
            if self._bring_seeds is not None and self._bring_seeds(self._embed):
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

    def _embed(self, pictures: Sequence[bytes]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        matcher = self._matcher()
        vectors = matcher.embed(pictures)
        return vectors, matcher.scores(vectors, pictures)
