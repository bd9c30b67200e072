"""The decoder that is wished for, as long as it can be used, and the one that always can."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TypeAlias

from backend.errors import DecoderUnfit, JobFailed
from backend.interpolation.decoder import Decoder, LatentBatch, PicturesJob
from backend.interpolation.picture_futures import UNFIT

log = logging.getLogger(__name__)

# What could not be decoded may be possible later: memory has become free, another model dreams.
_TRY_AGAIN_S = 600.0

_Kind: TypeAlias = tuple[int, int]


class DecoderChoice:
    """A `Decoder` that asks the wished one, and another where that one is unfit. Not thread-safe.

    Args:
        name: Of the wished decoder, for people.
        wished: Decodes what it can.
        other: Decodes the rest; it is the engine in the end.
        clock: Monotonic seconds.
        patience_s: A job of the wished one that has not ended by then never will.

    Attributes:
        problem: Why the wished one is not used, for people; None while it is.
    """

    def __init__(
        self,
        name: str,
        wished: Decoder,
        other: Decoder,
        clock: Callable[[], float],
        patience_s: float = math.inf,
    ) -> None:
        self.problem: str | None = None
        self._patience_s = patience_s
        self._name = name
        self._wished = wished
        self._other = other
        self._clock = clock
        self._unfit_until: dict[_Kind, float] = {}

    @property
    def used(self) -> str:
        """Who decodes, for people."""
        if self.problem is None:
            return self._name
        return self._other.used if isinstance(self._other, DecoderChoice) else "engine"

    @property
    def told_problem(self) -> str | None:
        """The problem, and that of the other one where that is a choice, too."""
        if self.problem is None or not isinstance(self._other, DecoderChoice):
            return self.problem
        return "; ".join(filter(None, (self.problem, self._other.told_problem)))

    def decode(self, batch: LatentBatch) -> PicturesJob:
        """See `Decoder.decode`."""
        kind = (int(batch.latents.shape[1]), batch.latents.dim())
        if self._clock() >= self._unfit_until.get(kind, float("-inf")):
            try:
                until = self._clock() + self._patience_s
                return _Watched(self._wished.decode(batch), self, kind, lambda: self._clock() > until)
            except DecoderUnfit as error:
                self.is_unfit(kind, str(error))
        return self._other.decode(batch)

    def is_unfit(self, kind: _Kind, why: str) -> None:
        """The wished one cannot decode latents of this kind: leave it in peace for a while."""
        self._unfit_until = {kind: self._clock() + _TRY_AGAIN_S}
        sentence = f"{self._name} is not used for in-betweens: {why}"
        if sentence != self.problem:
            log.warning("%s; the engine decodes them instead", sentence)
        self.problem = sentence

    def worked(self) -> None:
        """The wished one has decoded something."""
        if self.problem is not None:
            log.info("%s decodes in-betweens again", self._name)
        self.problem = None


def decoder_told(decoder: Decoder | None) -> tuple[str, str | None]:
    """Who decodes, and why it is not who was wished for, for people."""
    if not isinstance(decoder, DecoderChoice):
        return "engine", None
    return decoder.used, decoder.told_problem


class _Watched:
    """A job of the wished decoder, from which the choice learns."""

    def __init__(
        self, job: PicturesJob, choice: DecoderChoice, kind: _Kind, overdue: Callable[[], bool]
    ) -> None:
        self._job = job
        self._choice = choice
        self._kind = kind
        self._overdue = overdue

    def done(self) -> bool:
        return self._job.done() or self._overdue()

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        self._job.add_done_callback(callback)

    def arrived(self) -> tuple[tuple[int, bytes], ...]:
        return self._job.arrived()

    def add_arrival_callback(self, callback: Callable[[], None]) -> None:
        self._job.add_arrival_callback(callback)

    def pictures(self) -> tuple[bytes, ...]:
        try:
            if not self._job.done():
                raise JobFailed(UNFIT, "it hangs")
            pictures = self._job.pictures()
        except JobFailed as error:
            if error.kind == UNFIT:
                self._choice.is_unfit(self._kind, str(error).removeprefix(f"{UNFIT}: "))
            raise
        self._choice.worked()
        return pictures
