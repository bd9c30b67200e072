"""What is let in, and what goes first; as data, and pure functions over it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from backend.cache.memory_row import NewMemory, Origin, Refusal


@dataclass(frozen=True)
class MemoryLimits:
    """How much is remembered; the first limit that is reached counts.

    Attributes:
        max_entries: Pictures.
        max_bytes: Of pictures, latents and vectors together.
    """

    max_entries: int
    max_bytes: int

    def __post_init__(self) -> None:
        if self.max_entries < 1 or self.max_bytes < 1:
            raise ValueError(f"a memory of {self.max_entries} entries and {self.max_bytes} bytes")


@dataclass(frozen=True)
class Policy:
    """Who may enter and who must leave.

    Attributes:
        admit_below: Cosine similarity to the *nearest* memory from which on a picture adds nothing (the mean
            over all would let exact duplicates in).
        min_score: Beauty below which a dreamt picture is not remembered. Seeds are the user's own choice.
        redundancy_step: Similarities are told apart in steps of this; within a step, beauty decides.
        neighbours: How many memories around a new one learn that it is near them.
        rechecks: How many stale nearest similarities are looked up again to find one that must go.
    """

    admit_below: float = 0.95
    min_score: float = 0.0
    redundancy_step: float = 0.01
    neighbours: int = 8
    rechecks: int = 8

    def __post_init__(self) -> None:
        if not (0.0 < self.redundancy_step <= 1.0 and self.neighbours >= 1 and self.rechecks >= 1):
            raise ValueError(f"{self} cannot be followed")

    def refusal(self, new: NewMemory, similarity: float | None) -> Refusal | None:
        """Why it may not enter, whatever room there is; ``similarity`` is that to the nearest memory."""
        if new.pinned:
            return None
        if similarity is not None and similarity >= self.admit_below:
            return Refusal.TOO_SIMILAR
        if new.origin is not Origin.SEED and new.score < self.min_score:
            return Refusal.NOT_BEAUTIFUL
        return None

    def worth(self, nearest_similarity: float | None, score: float) -> Worth:
        """What a memory is worth keeping for; the least of all goes first."""
        similarity = -1.0 if nearest_similarity is None else nearest_similarity
        return Worth(-math.floor(similarity / self.redundancy_step + 1e-6), score)


@dataclass(frozen=True, order=True)
class Worth:
    """Compared first by how alone a memory is, then by how beautiful.

    Attributes:
        solitude: Steps of similarity to its nearest neighbour, negated: less is more redundant.
        score: Beauty.
    """

    solitude: int
    score: float
