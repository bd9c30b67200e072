"""A picture that is dreamt beside the loop, from words alone: medicine for a dream that repeats itself."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from backend.core.generator import Keyframe, KeyframeJob
from backend.errors import EngineError, LatentRejected, PictureRejected
from backend.utils.prompt_manager import Prompt

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

# One that turns out not to do is not followed by another at once: an hour of that would be 120 jobs.
_APART_S = 30.0
_FIRST_PAUSE_S = 60.0
_LONGEST_PAUSE_S = 3600.0


class PictureDreamer(Protocol):
    """The generator, as far as pictures beside the loop need it."""

    @property
    def leans(self) -> bool:
        """Whether the dream can lean toward another latent at all."""
        ...

    def request(self, prompt: Prompt, previous: Keyframe | None) -> KeyframeJob: ...

    def collect(self, pending: KeyframeJob) -> Keyframe: ...

    def fetched(self, keyframe: Keyframe) -> Tensor: ...

    def retire(self, keyframe: Keyframe) -> None: ...


class Aside:
    """One picture at a time. Ordered by any thread; sent and taken over by the dream loop, which never waits.

    A picture that does not come is no trouble of the loop's: it is told of, and the next may be ordered after
    a while, longer each time in a row.

    Args:
        words: What to dream of.
        clock: Monotonic seconds.
        wake: Called, from any thread, when there is something for the loop to do.

    Attributes:
        dreamt: Pictures that came.
        failed: Pictures that did not.
        seconds: What the engine needed for them.
        on_dreamt: Told of each, with its latent; must not wait.
    """

    def __init__(
        self,
        generator: PictureDreamer,
        words: Callable[[], Prompt],
        *,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self.dreamt = 0
        self.failed = 0
        self.seconds = 0.0
        self.on_dreamt: Callable[[Keyframe, Tensor], None] = lambda *_: None
        self._generator = generator
        self._words = words
        self._clock = clock
        self._wake = wake
        self._lock = threading.Lock()
        self._ordered = False
        self._job: KeyframeJob | None = None
        self._not_before_s = -math.inf
        self._failed_in_a_row = 0

    def order(self) -> bool:
        """Have a picture dreamt; True if one is on its way, False if none can be had for now."""
        with self._lock:
            if self._ordered or self._job is not None:
                return True
            if not self._generator.leans or self._clock() < self._not_before_s:
                return False
            self._ordered = True
        self._wake()
        return True

    def send(self) -> bool:
        """Give the engine what was ordered, when nothing is more urgent; False if nothing was."""
        with self._lock:
            if not self._ordered:
                return False
            self._ordered = False
        try:
            job = self._generator.request(self._words(), None)
        except EngineError as error:
            self._fail(error)
            return True
        with self._lock:
            self._job = job
            self._not_before_s = self._clock() + _APART_S
        job.job.add_done_callback(lambda _: self._wake())
        return True

    def collect(self) -> bool:
        """Take over a picture that is done; False if none is."""
        job = self._job
        if job is None or not job.job.done():
            return False
        try:
            keyframe, latent = self._taken(job)
        except (EngineError, PictureRejected, LatentRejected) as error:
            self._fail(error)
            return True
        self.dreamt += 1
        self.seconds += keyframe.seconds
        self._failed_in_a_row = 0
        self.on_dreamt(keyframe, latent)
        with self._lock:
            self._job = None
        return True

    def _taken(self, job: KeyframeJob) -> tuple[Keyframe, Tensor]:
        keyframe = self._generator.collect(job)
        try:
            return keyframe, self._generator.fetched(keyframe)
        finally:
            self._generator.retire(keyframe)

    def _fail(self, error: Exception) -> None:
        self.failed += 1
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._failed_in_a_row, 8))
        self._failed_in_a_row += 1
        log.warning("no fresh picture for a dream that repeats itself: %s", error)
        with self._lock:
            self._job = None
            self._not_before_s = self._clock() + pause_s
