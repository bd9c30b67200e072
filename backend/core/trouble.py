"""What went wrong lately, how long to wait before the next try, and how to say it."""

from __future__ import annotations

import logging
import random
from collections import OrderedDict

from backend.core.jobs import FailureKind
from backend.errors import (
    EngineAnswerError,
    EngineStarting,
    EngineUnreachable,
    GraphRejected,
    JobFailed,
    ModelMissing,
    PictureRejected,
)
from backend.utils.backoff import Backoff
from backend.utils.status_schema import Reason, ReasonCode

log = logging.getLogger(__name__)

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 20.0
"""With connecting and a keyframe on top, a dream goes on within half a minute of its engine's return."""
# The same complaint is logged no more often; of so many different ones it is remembered when they were.
_LOG_EVERY_S = 60.0
_LOGGED_KEPT = 16

_CODES: tuple[tuple[type[Exception], ReasonCode, str], ...] = (
    (EngineUnreachable, ReasonCode.ENGINE_UNREACHABLE, "is ComfyUI running there?"),
    (EngineAnswerError, ReasonCode.ENGINE_ERROR, "is comfyui.url the address of a ComfyUI?"),
    (
        ModelMissing,
        ReasonCode.MODEL_MISSING,
        "put the model into ComfyUI's models folder, or change comfyui.checkpoint",
    ),
    (GraphRejected, ReasonCode.GRAPH_REJECTED, "change what it names in config.yaml, or update ComfyUI"),
    (JobFailed, ReasonCode.ENGINE_ERROR, "trying again with another seed"),
    (
        PictureRejected,
        ReasonCode.BAD_PICTURES,
        "trying another seed; if it stays so, ComfyUI may need --fp32-vae",
    ),
)


_JOB_WISHES = {
    FailureKind.OUT_OF_MEMORY.value: "trying again with memory freed, and smaller if it stays so",
    FailureKind.DEVICE.value: "trying once more",
    FailureKind.DEADLINE.value: "trying once more",
    FailureKind.WAITED.value: "waiting for its turn again",
}


class Trouble:
    """Failures in a row; over() when something has worked."""

    def __init__(self, rng: random.Random) -> None:
        self.last_error: str | None = None
        self._backoff = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S, rng)
        self._reason: Reason | None = None
        self._until = float("-inf")
        self._logged_at: OrderedDict[str, float] = OrderedDict()

    @property
    def failures(self) -> int:
        """How many in a row."""
        return self._backoff.failures

    @property
    def reason(self) -> Reason | None:
        """What to tell whoever watches; None while all is well."""
        return self._reason

    def waiting(self, now: float) -> bool:
        """Whether it is too early for the next try."""
        return now < self._until

    def happened(self, error: Exception, now: float) -> None:
        """Count a failure; the next try waits longer each time."""
        if self._is_known(error):
            return
        wait_s = self._backoff.next_s()
        self._until = now + wait_s
        self.last_error = str(error)
        code, wish = next(
            ((code, wish) for kind, code, wish in _CODES if isinstance(error, kind)),
            (ReasonCode.ENGINE_ERROR, "the log has the details"),
        )
        if isinstance(error, EngineUnreachable) and error.own:
            wish = "it is started again by itself"
        if isinstance(error, EngineStarting):
            wish = "it is waited for"
        if isinstance(error, PictureRejected) and error.reason == "broken":
            wish = "trying another seed"
        if isinstance(error, JobFailed):
            wish = _JOB_WISHES.get(error.kind, wish)
        self._reason = Reason(code=code, sentence=f"{error}; {wish}")
        if self._is_news(str(error), now):
            log.warning("%s; %s (next try in %.1f s)", error, wish, wait_s)

    def _is_known(self, error: Exception) -> bool:
        """Whether it is a job that an engine which is away took with it: that is one trouble, not two."""
        is_away = self._reason is not None and self._reason.code is ReasonCode.ENGINE_UNREACHABLE
        return is_away and isinstance(error, JobFailed) and error.kind == FailureKind.UNREACHABLE.value

    def _is_news(self, message: str, now: float) -> bool:
        logged_at = self._logged_at.get(message)
        if logged_at is not None and now - logged_at < _LOG_EVERY_S:
            return False
        self._logged_at[message] = now
        self._logged_at.move_to_end(message)
        while len(self._logged_at) > _LOGGED_KEPT:
            self._logged_at.popitem(last=False)
        return True

    def over(self) -> None:
        """Something has worked."""
        if self._backoff.failures:
            log.info("recovered after %d failures", self._backoff.failures)
        self._backoff.reset()
        self._reason = None
        self.last_error = None
        self._until = float("-inf")
