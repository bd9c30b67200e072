"""What is let in, and what goes first; as data, and pure functions over it."""

from __future__ import annotations

from dataclasses import dataclass

from backend.cache.memory_row import NewMemory, Origin, Refusal

ALONE = -1.0
"""The redundancy of a memory that was compared with none."""


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
        neighbours: How many memories around a new one learn that it is near them.
        rechecks: How many stale nearest similarities are looked up again to find one that must go.
    """

    admit_below: float = 0.95
    min_score: float = 0.0
    neighbours: int = 8
    rechecks: int = 8

    def __post_init__(self) -> None:
        if self.neighbours < 1 or self.rechecks < 1:
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


@dataclass(frozen=True)
class Worth:
    """Why a memory is kept.

    Attributes:
        redundancy: Cosine similarity to its nearest neighbour, see :func:`redundancy_of`.
        score: Beauty.
    """

    redundancy: float
    score: float

    def leaves_before(self, other: Worth) -> bool:
        """The more redundant goes first, and of two alike the less beautiful."""
        return (-self.redundancy, self.score) < (-other.redundancy, other.score)


def redundancy_of(similarity: float | None) -> float:
    """A similarity in thousandths, so that the two of a pair tie, whichever was asked about the other."""
    return ALONE if similarity is None else round(similarity, 3)
