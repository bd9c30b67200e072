"""How a picture comes into the memory, files first, then one transaction; and how one leaves it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from backend.cache.eviction import Newcomer
from backend.cache.keeper import Keeper
from backend.cache.memory_row import Added, Memory, NewMemory, Origin, Refusal, Refused
from backend.cache.picture_files import (
    MAX_FILE_BYTES,
    MemoryFiles,
    PictureSize,
    id_of,
    latent_path,
    picture_path,
    size_of,
)
from backend.cache.row_codec import is_unit
from backend.cache.store import Sizes, Standing
from backend.cache.told import utc_now
from backend.errors import PictureRejected, StorageError


class Admission:
    """The door of one memory.

    Args:
        keeper: Its rows and vectors.
        files: Its files.
        clock: The time of day.
    """

    def __init__(self, keeper: Keeper, files: MemoryFiles, clock: Callable[[], datetime]) -> None:
        self._keeper = keeper
        self._files = files
        self._clock = clock

    def add(self, new: NewMemory) -> Added | Refused:
        """Lets a picture in, if it is worth it.

        Raises:
            StorageError: The disk said no. Nothing of it is remembered; all that was, is.
        """
        if new.origin is Origin.INJECTED:
            return Refused(Refusal.BLEND)
        try:
            size = fit_to_add(new)
        except PictureRejected as error:
            return Refused(Refusal.UNFIT, detail=str(error))
        memory_id = id_of(new.picture)
        with self._keeper.writing:
            whose = self._keeper.identity
            if new.identity not in (None, whose):
                return Refused(Refusal.UNFIT, detail=f"an embedding of {new.identity}, not of {whose}")
            return self._admit(memory_id, new, size)

    def _admit(self, memory_id: str, new: NewMemory, size: PictureSize) -> Added | Refused:
        store, room = self._keeper.store, self._keeper.room
        if store.key_of(memory_id) is not None:
            return Refused(Refusal.KNOWN, memory_id, 1.0)
        near = room.neighbours(new.embedding)
        similarity = near[0].similarity if near else None
        reason = self._keeper.policy.refusal(new, similarity)
        if new.claimed:
            new = replace(new, embedding=None, identity=None)
        vector_bytes = 0 if new.embedding is None else 4 * len(new.embedding)
        sizes = Sizes(len(new.picture), len(new.latent or b""), vector_bytes)
        newcomer = Newcomer(share(new.score), sizes.total, near, new.pinned)
        gone = None if reason else room.for_newcomer(newcomer)
        if reason or gone is None:
            nearest_id = store.ids_of([near[0].key]).get(near[0].key) if near else None
            return Refused(reason or Refusal.FULL, nearest_id, similarity)
        self._keep(self._row(memory_id, new, size), new, sizes, newcomer, gone)
        return Added(memory_id, tuple(standing.id for standing in gone), similarity)

    def _row(self, memory_id: str, new: NewMemory, size: PictureSize) -> Memory:
        now = utc_now(self._clock())
        return Memory(
            id=memory_id,
            added_at=min(new.added_at or now, now),  # the clock of wherever it was may have been wrong
            theme=new.theme,
            prompt=new.prompt,
            negative=new.negative,
            seed=new.seed,
            parents=new.parents,
            denoise=share(new.denoise),
            score=share(new.score),
            shows_prompt=new.shows_prompt,
            origin=new.origin,
            pinned=new.pinned,
            times_shown=new.times_shown,
            last_shown_at=None if new.last_shown_at is None else min(new.last_shown_at, now),
            picture=picture_path(memory_id, size.suffix),
            latent=None if new.latent is None else latent_path(memory_id, new.latent),
            width=size.width,
            height=size.height,
            identity=new.identity,
        )

    def _keep(
        self, memory: Memory, new: NewMemory, sizes: Sizes, newcomer: Newcomer, gone: Sequence[Standing]
    ) -> None:
        store, room = self._keeper.store, self._keeper.room
        near = [neighbour for neighbour in newcomer.near if neighbour.key not in {one.key for one in gone}]
        committing = False
        try:
            self._files.write(memory.picture, new.picture)
            if memory.latent is not None and new.latent is not None:
                self._files.write(memory.latent, new.latent)
            committing = True
            with store.transaction():
                key = store.insert(memory, sizes, new.embedding, newcomer.nearest(gone))
                if new.embedding is not None:
                    room.tell(key, near)
                for standing in gone:
                    store.delete(standing.key)
        except StorageError as error:
            # A commit that failed by a fault of the disk may come back with the next start: its files stay.
            if error.full or not committing:
                self._undo(memory)
            if error.full:
                store.shrink_log()
            raise
        self._keeper.let_go(gone)
        self._keeper.added(memory.id)
        if new.embedding is not None:
            self._keeper.index.add(key, new.embedding)
            if not self._keeper.ready.is_set():
                self._keeper.added_early(key)

    def _undo(self, memory: Memory) -> None:
        """Takes the files of a row back that did not come to be; where that is not sure, check() will."""
        with contextlib.suppress(StorageError):
            if self._keeper.store.key_of(memory.id) is None:
                for path in filter(None, (memory.picture, memory.latent)):
                    self._files.remove(path)


def share(value: float) -> float:
    """Whatever a number is, within 0 and 1."""
    return min(1.0, max(0.0, value))


def fit_to_add(new: NewMemory) -> PictureSize:
    """Looks at all that does not depend on what is remembered.

    Raises:
        PictureRejected: Some of it cannot be remembered.
    """
    if not all(map(math.isfinite, (new.score, new.denoise, new.shows_prompt or 0.0))):
        raise PictureRejected("unfit", f"score {new.score}, denoise {new.denoise}, {new.shows_prompt}")
    if (new.embedding is None) != (new.identity is None):
        raise PictureRejected("unfit", "an embedding without its maker, or the other way round")
    if new.embedding is not None and new.identity is not None:
        vector_fits = is_unit(new.embedding, new.identity.dimension)
        if not vector_fits:
            raise PictureRejected("unfit", f"its embedding is no unit vector of {new.identity}")
    if new.latent is not None and not 0 < len(new.latent) <= MAX_FILE_BYTES:
        raise PictureRejected("unfit", f"a latent of {len(new.latent):,} bytes")
    return size_of(new.picture)
