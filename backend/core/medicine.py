"""What may be folded into the dream: memories, the user's own pictures, and one that was dreamt afresh."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from backend.cache.injection import Candidate, Source
from backend.cache.matching import Identity, Judgement, Vectors
from backend.cache.memory_row import Memory, Origin
from backend.core.generator import Keyframe
from backend.errors import LatentRejected
from backend.interpolation.latent_encoder import read_latents

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

# Candidates are looked for in bands: of a large memory the nearest alone would be too like the present.
_BANDS = ((0.0, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.95))
_OF_EACH_BAND = 16


class Cabinet(Protocol):
    """The memory, as far as something of it may be folded in."""

    def get(self, memory_id: str) -> Memory | None: ...

    def band(self, vector: Vectors, low: float, high: float, k: int) -> list[tuple[str, float]]: ...

    def latent(self, memory_id: str) -> bytes | None: ...

    def refuse_latent(self, memory_id: str) -> None: ...

    def picture(self, memory_id: str) -> bytes: ...


@dataclass(frozen=True, eq=False)
class FreshPicture:
    """A picture that was dreamt beside the loop, and waits to be folded in.

    Attributes:
        id: Of its memory, or the same sort of name where it is not remembered.
    """

    id: str
    latent: Tensor
    judgement: Judgement
    theme: str

    @classmethod
    def of(
        cls, keyframe: Keyframe, latent: Tensor, judgement: Judgement, memory_id: str | None
    ) -> FreshPicture:
        """One that was just judged, under the id of its memory if it has one."""
        name = memory_id or hashlib.sha256(keyframe.picture).hexdigest()
        return cls(name, latent, judgement, keyframe.prompt.theme)


class Medicine:
    """Looks for candidates, and gives the latent of the one that was chosen.

    Args:
        encode: Picture to latent, by the engine; for seed pictures, which have none. May take its time.
        wall: Now, with a zone.
    """

    def __init__(
        self, memory: Cabinet, encode: Callable[[bytes], Tensor], wall: Callable[[], datetime]
    ) -> None:
        self.fresh: FreshPicture | None = None
        """The newest that was dreamt beside the loop and not yet folded in."""
        self.shape: tuple[int, ...] | None = None
        """Of the dream's latents: those of another model have nothing to do with them."""
        self._memory = memory
        self._encode = encode
        self._wall = wall

    def candidates(self, judgement: Judgement, theme: str, present: Container[str]) -> list[Candidate]:
        """What might be folded into a dream that looks like this.

        Args:
            judgement: Of the newest keyframe.
            theme: Its theme: a fresh picture of another theme is none of this dream.
            present: Ids of memories that are part of the present.
        """
        at = judgement.embedding
        found = [near for low, high in _BANDS for near in self._memory.band(at, low, high, _OF_EACH_BAND)]
        told = [one for one in (self._candidate(*near) for near in found if near[0] not in present) if one]
        fresh = self._fresh_candidate(at, judgement.identity, theme)
        if fresh is None:
            return told
        return [*(one for one in told if one.id != fresh.id), fresh]

    def latent_of(self, chosen_id: str) -> Tensor:
        """A candidate's latent; a seed picture has none, so the engine makes it when it is needed. So it does
        where the latent is no good, or another model's.

        Raises:
            DreamloopError: It is gone, or the engine cannot encode it.
        """
        if self.fresh is not None and self.fresh.id == chosen_id:
            latent, self.fresh = self.fresh.latent, None
            return latent
        stored = self._stored_latent(chosen_id)
        return self._encode(self._memory.picture(chosen_id)) if stored is None else stored

    def _stored_latent(self, memory_id: str) -> Tensor | None:
        """None where there is none that fits: then its picture is as good."""
        data = self._memory.latent(memory_id)
        if data is None:
            return None
        try:
            latent = read_latents(data)
        except LatentRejected as error:
            log.warning("the latent of memory %s is set aside: %s", memory_id[:12], error)
            self._memory.refuse_latent(memory_id)
            return None
        return latent if self.shape is None or latent.shape[:2] == self.shape[:2] else None

    def _fresh_candidate(self, at: Vectors, identity: Identity, theme: str) -> Candidate | None:
        fresh = self.fresh
        if fresh is None or fresh.theme != theme or fresh.judgement.identity != identity:
            return None
        similarity = float(fresh.judgement.embedding @ at)
        return Candidate(fresh.id, similarity, fresh.judgement.score, math.inf, Source.FRESH)

    def _candidate(self, memory_id: str, similarity: float) -> Candidate | None:
        memory = self._memory.get(memory_id)
        if memory is None or (memory.latent is None and memory.origin is not Origin.SEED):
            return None
        source = Source.SEED if memory.origin is Origin.SEED else Source.MEMORY
        return Candidate(memory_id, similarity, memory.score, self._seconds_since(memory), source)

    def _seconds_since(self, memory: Memory) -> float:
        """Since it was in the dream last: as itself, or folded in.

        A time that is yet to come tells nothing: the clock was wrong then, or is now. If it counted as just
        now, a clock that was put back would take all medicine away until it has caught up.
        """
        try:
            last = datetime.fromisoformat(memory.last_shown_at or memory.added_at)
            seconds = (self._wall() - last).total_seconds()
        except (ValueError, TypeError):
            return math.inf
        return seconds if seconds >= 0.0 else math.inf
