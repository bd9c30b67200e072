"""Keyframes that came to nothing: how many, how many in a row, and what that says of latent and engine."""

from __future__ import annotations

from backend.core.jobs import FailureKind
from backend.core.resuming import Counts
from backend.errors import DreamloopError, EngineError, GraphRejected, JobFailed

# After so many bad keyframes from one latent the next is dreamt fresh: the latent may be the fault.
_FRESH_AFTER = 3
# The engine's own troubles, for which no latent is to blame.
_NOT_THE_LATENT = {
    kind.value
    for kind in (
        FailureKind.OUT_OF_MEMORY,
        FailureKind.DEVICE,
        FailureKind.DEADLINE,
        FailureKind.WAITED,
    )
}
# So many keyframes in a row that came to nothing are an engine that is away, for the display.
_AWAY_AFTER = 3


class Setbacks:
    """Counts them, for the dream loop and by its thread alone.

    Attributes:
        rejected: Pictures and latents that were no good, since the dream began.
        failed_jobs: Keyframe jobs that failed, since the dream began.
        retries: Keyframes asked for again, since the dream began.
    """

    def __init__(self, before: Counts) -> None:
        self.rejected = before.rejected
        self.failed_jobs = before.failed_jobs
        self.retries = before.retries
        self._bad_in_a_row = 0
        self._refused_in_a_row = 0

    @property
    def latent_is_suspect(self) -> bool:
        """Whether the next keyframe had better not go on from the one before."""
        return self._bad_in_a_row >= _FRESH_AFTER

    @property
    def nothing_comes(self) -> bool:
        """Whether an engine that answers is as good as away."""
        return self._refused_in_a_row >= _AWAY_AFTER

    def refused(self, error: DreamloopError) -> None:
        """A keyframe was no good, or its job failed: another is asked for."""
        if isinstance(error, JobFailed):
            self.failed_jobs += 1
        else:
            self.rejected += 1
        self._bad_in_a_row += not (isinstance(error, JobFailed) and error.kind in _NOT_THE_LATENT)
        self._refused_in_a_row += 1
        self.retries += 1

    def lost(self) -> None:
        """A job went with its engine, which says nothing of either."""
        self.failed_jobs += 1

    def not_sent(self, error: EngineError) -> None:
        """A keyframe could not even be asked for."""
        self._bad_in_a_row += isinstance(error, GraphRejected)

    def over(self) -> None:
        """A good keyframe has come."""
        self._bad_in_a_row = self._refused_in_a_row = 0
