"""Who must go so that a newcomer fits, and whether the newcomer is worth it.

Each row keeps its similarity to its nearest neighbour from when it was added; a neighbour that comes later
raises it. One that goes makes it stale, which is mended only when the row is about to be evicted for it. So
the order is an index of the database, and neither adding nor evicting looks at all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from backend.cache.matching import Identity, Vectors
from backend.cache.policy import MemoryLimits, Policy, Worth, redundancy_of
from backend.cache.store import NOBODY, MemoryStore, Near, Standing
from backend.cache.vector_index import VectorIndex

_MOST_AT_ONCE = 64


@dataclass(frozen=True)
class Neighbour:
    """A memory, and how similar it is to what was asked about."""

    key: int
    similarity: float


@dataclass(frozen=True)
class Newcomer:
    """What wishes to be remembered.

    Attributes:
        score: Beauty.
        bytes: That it takes.
        near: Its neighbours, the nearest first.
        stays: It may not be refused for being worth less (pinned).
    """

    score: float
    bytes: int
    near: tuple[Neighbour, ...]
    stays: bool

    def worth(self, gone: Sequence[Standing] = ()) -> Worth:
        return Worth(self.nearest(gone).redundancy, self.score)

    def nearest(self, gone: Sequence[Standing] = ()) -> Near:
        """Its nearest, once those have gone."""
        keys = {standing.key for standing in gone}
        for neighbour in self.near:
            if neighbour.key not in keys:
                return Near(redundancy_of(neighbour.similarity), neighbour.key)
        return NOBODY


@dataclass(frozen=True)
class Room:
    """The rows, their vectors, and how much of both there may be. Used under the store's lock."""

    store: MemoryStore
    index: VectorIndex
    identity: Identity
    limits: MemoryLimits
    policy: Policy

    def neighbours(self, vector: Vectors | None, *, but: int | None = None) -> tuple[Neighbour, ...]:
        """The nearest memories of a vector, the nearest first."""
        if vector is None or not len(self.index):
            return ()
        keys, similarities = self.index.nearest(vector, self.policy.neighbours + (but is not None))
        pairs = zip(keys.tolist(), similarities.tolist(), strict=True)
        return tuple(Neighbour(key, similarity) for key, similarity in pairs if key != but)

    def for_newcomer(self, newcomer: Newcomer) -> list[Standing] | None:
        """Who must go; None where the newcomer itself would be the first to go, or nobody may."""
        entries, size, _ = self.store.totals()
        if newcomer.bytes > self.limits.max_bytes:
            return None
        gone: list[Standing] = []
        while (
            entries + 1 - len(gone) > self.limits.max_entries
            or size + newcomer.bytes - sum(standing.bytes for standing in gone) > self.limits.max_bytes
        ):
            first = self._first_to_go(newcomer, gone)
            if first is None or len(gone) == _MOST_AT_ONCE:
                return None
            if not newcomer.stays and not first.worth.leaves_before(newcomer.worth(gone)):
                return None
            gone.append(first)
        return gone

    def too_many(self) -> list[Standing]:
        """Some of those that are more than the limits allow: call again until there are none."""
        entries, size, _ = self.store.totals()
        gone: list[Standing] = []
        if entries > self.limits.max_entries or size > self.limits.max_bytes:
            self._refresh()
        for standing in self.store.least_worth(_MOST_AT_ONCE):
            if entries <= self.limits.max_entries and size <= self.limits.max_bytes:
                break
            # Of a pair only one: what it leaves behind is not redundant any more.
            if not gone or not (standing.stale or standing.nearest_key in {one.key for one in gone}):
                gone.append(standing)
                entries, size = entries - 1, size - standing.bytes
        return gone

    def look_again(self, key: int, vector: Vectors | None) -> None:
        """Looks up how near the nearest of a row is now. Within a transaction."""
        near = self.neighbours(vector, but=key)
        self.store.set_near(key, Near(redundancy_of(near[0].similarity), near[0].key) if near else NOBODY)

    def tell(self, key: int, near: Sequence[Neighbour]) -> None:
        """Lets the neighbours of a new row know that it is near them. Within a transaction."""
        for neighbour in near:
            self.store.raise_near(neighbour.key, Near(redundancy_of(neighbour.similarity), key))

    def _first_to_go(self, newcomer: Newcomer, gone: Sequence[Standing]) -> Standing | None:
        self._refresh()
        keys = {standing.key for standing in gone}
        first: Standing | None = None
        for standing in [*self.store.least_worth(len(gone) + 1), *self._beside(newcomer)]:
            if standing.key not in keys and (first is None or standing.worth.leaves_before(first.worth)):
                first = standing
        return first

    def _beside(self, newcomer: Newcomer) -> list[Standing]:
        """The newcomer's neighbours, as redundant as it will make them."""
        found = []
        for neighbour in newcomer.near:
            standing = self.store.standing(neighbour.key)
            if standing is not None and not standing.pinned:
                redundancy = max(standing.worth.redundancy, redundancy_of(neighbour.similarity))
                found.append(replace(standing, worth=Worth(redundancy, standing.worth.score)))
        return found

    def _refresh(self) -> None:
        """Makes sure that the first to go is as redundant as it says."""
        for _ in range(self.policy.rechecks):
            first = next(iter(self.store.least_worth(1)), None)
            if first is None or not first.stale:
                return
            vector = self.store.vector_of(first.id, self.identity)
            if vector is None:  # another matcher's, who will know; until then what it said stands
                return
            with self.store.transaction():
                self.look_again(first.key, vector)


MakeIndex = Callable[[int], VectorIndex]
"""Opens an empty index of vectors of so many numbers."""
