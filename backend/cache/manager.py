"""The memory: pictures worth keeping, found again by likeness.

A folder with a database (rows and vectors), the pictures and latents as files, and a lock: one process owns
it. A new memory's files are written first, then its row, with its vector and whoever had to go for it, in one
transaction. So at every instant each row has its files, and what was acknowledged stays.
"""

from __future__ import annotations

import builtins
import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.cache.admission import Admission, share
from backend.cache.check import CheckReport, check_memory
from backend.cache.database import DatabaseDamaged
from backend.cache.eviction import MakeIndex, Neighbour
from backend.cache.keeper import Keeper
from backend.cache.matching import Identity, Vectors
from backend.cache.memory_row import Added, Memory, NewMemory, Order, Refused
from backend.cache.picture_files import (
    MemoryFiles,
    is_whole,
)
from backend.cache.policy import MemoryLimits, Policy
from backend.cache.row_codec import is_unit
from backend.cache.seeds import SeedsReport, import_seeds
from backend.cache.store import Standing
from backend.cache.told import utc_now
from backend.cache.transfer import ImportReport, export_memory, import_memory
from backend.errors import AlreadyRunning, LatentRejected, MemoryInUse, PictureRejected
from backend.utils.lock import OutputLock

Embed = Callable[[Sequence[bytes]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Encoded pictures -> vectors ``[N, D]`` and scores ``[N]``; PictureRejected if it cannot decode one."""

_EMBED_BATCH = 16


def _now() -> datetime:
    return datetime.now(UTC)


class CacheManager:
    """One memory, open. Safe to use from several threads; questions do not wait for a disk being written.

    Open one with :meth:`open`. What is asked before :attr:`ready` is answered from what is loaded so far;
    what is added before is judged by that, and kept at once.
    """

    def __init__(
        self, lock: OutputLock, files: MemoryFiles, keeper: Keeper, clock: Callable[[], datetime]
    ) -> None:
        self._lock = lock
        self._files = files
        self._keeper = keeper
        self._door = Admission(keeper, files, clock)
        self._clock = clock
        self._closed = False

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        identity: Identity,
        limits: MemoryLimits,
        policy: Policy,
        index: MakeIndex,
        clock: Callable[[], datetime] = _now,
        durable: bool = True,
        provisional: bool = False,
    ) -> CacheManager:
        """Opens a memory, a new one where there is none; loads it in the background.

        Args:
            folder: Of the memory; made if it is missing.
            identity: Whose embeddings are compared; rows of others wait in :meth:`needs_embedding`.
            limits: How much may be in it; what is over is evicted.
            policy: Who may enter.
            index: Opens an empty index of vectors of so many numbers.
            clock: The time of day.
            durable: What is acknowledged survives a power cut too, not only the end of this process.
            provisional: That matcher may make way for another, whose embeddings cannot be compared with its.
                What is let in before that is compared once more then, and goes if it was there already.

        Raises:
            MemoryInUse: Another process has it open.
            StorageError: The disk said no, or a newer Dreamloop made it.
        """
        lock = OutputLock(folder)
        try:
            lock.acquire()
        except AlreadyRunning as error:
            raise MemoryInUse(error.pid, folder) from error
        try:
            files = MemoryFiles(folder, durable=durable, clock=clock)
            keeper = Keeper(
                folder,
                files,
                identity=identity,
                limits=limits,
                policy=policy,
                make_index=index,
                clock=clock,
                durable=durable,
                provisional=provisional,
            )
        except BaseException:
            lock.release()
            raise
        keeper.start()
        return cls(lock, files, keeper, clock)

    def close(self) -> None:
        """Ends the loading, closes the database and lets the folder go."""
        if not self._closed:
            self._closed = True
            self._keeper.close()
            self._lock.release()

    def __enter__(self) -> CacheManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ready(self) -> bool:
        """Whether all that is remembered is loaded."""
        return self._keeper.ready.is_set()

    @property
    def problem(self) -> str | None:
        """Why it is not loaded, or its neighbours are found slowly, where something is wrong."""
        return self._keeper.problem or self._keeper.index.problem

    @property
    def identity(self) -> Identity:
        """Whose embeddings are compared."""
        return self._keeper.identity

    @property
    def commonest_identity(self) -> Identity | None:
        """Who made most of the embeddings that there are; None where there are none."""
        with self._care():
            found = self._keeper.store.of_commonest_identity()
            memory = None if found is None else self._keeper.store.get(found)
            return None if memory is None else memory.identity

    @property
    def size(self) -> int:
        """Memories."""
        return self._keeper.store.totals()[0]

    @property
    def bytes(self) -> int:
        """Of pictures, latents, vectors and rows."""
        return self._keeper.store.totals()[1]

    def wait_ready(self, timeout_s: float) -> bool:
        """Waits until all is loaded; False if that takes longer."""
        return self._keeper.ready.wait(timeout_s)

    def use(self, identity: Identity, policy: Policy | None = None) -> None:
        """Compares by another matcher's embeddings from now on, once those that there are are loaded.

        Args:
            identity: Of the matcher.
            policy: Who may enter by its measure; None keeps the one that there is.
        """
        self._keeper.use(identity, policy)

    def limit(self, limits: MemoryLimits) -> None:
        """Keeps within other limits from now on; what is over them goes in the background."""
        self._keeper.limit(limits)

    def add(self, new: NewMemory) -> Added | Refused:
        """Remembers a picture, if it is worth it. On return that is on the disk.

        Raises:
            StorageError: The disk said no. Nothing of it is remembered; all that was, is.
        """
        with self._care():
            return self._door.add(new)

    def nearest(self, vector: Vectors, k: int) -> list[tuple[str, float]]:
        """The ``k`` memories most like a vector: ids and cosine similarities, the most similar first.

        Raises:
            ValueError: The vector is no unit vector of the identity's dimension.
        """
        with self._care(), self._keeper.asking:
            keys, similarities = self._keeper.index.nearest(vector, k)
        return self._named(keys, similarities)

    def band(self, vector: Vectors, low: float, high: float, k: int) -> list[tuple[str, float]]:
        """Up to ``k`` memories with ``low <= similarity <= high``."""
        with self._care(), self._keeper.asking:
            keys, similarities = self._keeper.index.band(vector, low, high, k)
        return self._named(keys, similarities)

    def get(self, memory_id: str) -> Memory | None:
        """All that is known of a memory; None if there is none of this id."""
        with self._care():
            return self._keeper.store.get(memory_id)

    def ids_like(self, beginning: str, limit: int) -> list[str]:
        """Ids that begin so."""
        with self._care():
            return self._keeper.store.ids_like(beginning, limit)

    def vector(self, memory_id: str) -> Vectors | None:
        """Its embedding; None if it has none that can be compared."""
        with self._care():
            return self._keeper.store.vector_of(memory_id, self.identity)

    def picture(self, memory_id: str) -> builtins.bytes:
        """The bytes of a picture, as they were remembered.

        Raises:
            PictureRejected: There is none, or it is not what it was: then it is forgotten.
            StorageError: It cannot be read.
        """
        memory = self.get(memory_id)
        data = self._files.read(memory.picture) if memory else None
        if memory is None or data is None or not is_whole(memory.picture, data):
            if memory is not None:
                self._set_picture_aside(memory)
            raise PictureRejected("broken", f"the memory {memory_id[:12]} has no picture, or a damaged one")
        return data

    def latent(self, memory_id: str) -> builtins.bytes | None:
        """The bytes of its latent file; None if it has none.

        Raises:
            LatentRejected: It is not what it was, and is forgotten; the picture stays.
            StorageError: It cannot be read.
        """
        memory = self.get(memory_id)
        if memory is None or memory.latent is None:
            return None
        data = self._files.read(memory.latent)
        if data is None or not is_whole(memory.latent, data):
            self.refuse_latent(memory_id)
            raise LatentRejected(f"the latent of the memory {memory_id[:12]} is gone, or damaged")
        return data

    def refuse_latent(self, memory_id: str) -> None:
        """Sets a latent aside that turned out not to fit (of another shape, say); the picture stays."""
        with self._writing():
            memory, key = self._keeper.store.get(memory_id), self._keeper.store.key_of(memory_id)
            if memory is not None and key is not None and memory.latent is not None:
                with self._keeper.store.transaction():
                    self._keeper.store.drop_latent(key)
                self._files.set_aside(memory.latent)

    def pin(self, memory_id: str, pinned: bool) -> bool:
        """Keeps a memory for good, or no longer. False if there is none of this id."""
        return self._change(memory_id, lambda key: self._keeper.store.pin(key, pinned))

    def shown(self, memory_id: str) -> bool:
        """Notes that it came back into the dream. False if there is none of this id."""
        when = utc_now(self._clock())
        return self._change(memory_id, lambda key: self._keeper.store.shown(key, when))

    def forget(self, memory_id: str) -> bool:
        """Removes a memory with its files. False if there is none of this id."""
        with self._writing():
            key = self._keeper.store.key_of(memory_id)
            standing = None if key is None else self._keeper.store.standing(key)
            if standing is None:
                return False
            self._keeper.forget([standing])
            return True

    def make_room(self, size: int) -> tuple[str, ...]:
        """Forgets what is worth least until so many bytes are free that were not, as on a full disk.

        Returns:
            The ids of what went; pinned memories never do.

        Raises:
            StorageError: The disk said no.
        """
        gone: list[Standing] = []
        with self._writing():
            while size > 0 and (page := self._keeper.store.least_worth(1)):
                self._keeper.forget(page)
                gone += page
                size -= page[0].bytes
        return tuple(standing.id for standing in gone)

    def iterate(
        self,
        offset: int = 0,
        limit: int = 100,
        order: Order = Order.NEWEST,
        *,
        theme: str | None = None,
        words: str | None = None,
    ) -> list[Memory]:
        """A page of memories, those of one theme or with certain words where these are given."""
        with self._care():
            return self._keeper.store.listed(offset, limit, order, theme, words)

    def needs_embedding(self, limit: int) -> list[str]:
        """Ids of memories whose embedding is another matcher's, or that have none."""
        with self._care():
            return self._keeper.store.of_other_identity(self.identity, limit)

    def set_embedding(self, memory_id: str, vector: Vectors, identity: Identity, score: float | None) -> bool:
        """Gives a memory another embedding, and a score with it. False if there is none of this id, or the
        embedding is not of the matcher that is asked now.

        One that was let in when nobody could compare it goes instead, where it turns out to be there already.

        Raises:
            ValueError: The vector is no unit vector of the identity's dimension, or the score is not finite.
        """
        if not is_unit(vector, identity.dimension) or not (score is None or math.isfinite(score)):
            raise ValueError(f"no embedding of {identity}: {vector.shape}, score {score}")
        with self._writing():
            store, room = self._keeper.store, self._keeper.room
            key = store.key_of(memory_id)
            if key is None or identity != self.identity:
                return False
            near = room.neighbours(vector, but=key)
            if self._was_there(memory_id, near):
                return self.forget(memory_id)
            with store.transaction():
                store.set_vector(key, vector, identity, None if score is None else share(score))
                room.look_again(key, vector)
                room.tell(key, near)
            self._keeper.index.add(key, vector)
            return True

    def rebuild(self, embed: Embed, *, limit: int | None = None, everything: bool = False) -> int:
        """Embeds pictures again that need it, a few at a time; those that cannot be decoded are set aside.

        Args:
            embed: Of the matcher whose identity is in use.
            limit: At most so many, for a step in the background.
            everything: First forget all embeddings.

        Returns:
            How many have an embedding now that had none.

        Raises:
            StorageError: The disk said no; what is done stays done.
        """
        if everything:
            with self._writing():
                with self._keeper.store.transaction():
                    self._keeper.store.forget_embeddings()
                self._keeper.reload()
        done, stuck = 0, set[str]()
        while limit is None or done < limit:
            most = _EMBED_BATCH if limit is None else min(_EMBED_BATCH, limit - done)
            ids = [one for one in self.needs_embedding(most + len(stuck)) if one not in stuck]
            if not ids:
                break
            done += self._embed(ids, embed)
            stuck.update(ids)  # those that are done need no embedding; rows without sense do for ever
        return done

    def check(self, *, repair: bool = False, contents: bool = True) -> CheckReport:
        """Compares rows with files, both ways, and vectors with the identity that made them.

        Args:
            repair: Mend what can be: remove what belongs to nothing, set aside what is broken.
            contents: Read every file and compare it with its name; otherwise only its size is looked at.

        Raises:
            StorageError: The disk said no.
        """
        with self._care():
            return check_memory(self._keeper, self._files, repair=repair, contents=contents)

    def export(self, path: Path) -> int:
        """Writes all memories to a new folder, ``.zip`` or ``.tar``. Returns how many.

        Raises:
            ValueError: By its suffix it should be an archive of another kind.
            StorageError: It cannot be written, or stands there already.
        """
        with self._care():
            return export_memory(self, path)

    def import_(self, path: Path) -> ImportReport:
        """Adds the memories of an export, each as if it came new, with what was known of it.

        They are embedded again (:meth:`needs_embedding`): the vectors of an export are anybody's word.

        Raises:
            StorageError: It cannot be read, or this memory cannot be written.
            ValueError: It is no export of a memory.
        """
        return import_memory(self, path)

    def import_pictures(
        self, folder: Path, size_px: tuple[int, int], embed: Embed | None = None, *, pinned: bool = False
    ) -> SeedsReport:
        """Adds a person's own pictures as seeds, cropped to cover a size; what is no picture is told by name.

        Raises:
            StorageError: The folder cannot be read, or this memory cannot be written.
        """
        return import_seeds(self, folder, size_px, embed, pinned=pinned)

    def _change(self, memory_id: str, change: Callable[[int], None]) -> bool:
        with self._writing():
            key = self._keeper.store.key_of(memory_id)
            if key is None:
                return False
            with self._keeper.store.transaction():
                change(key)
            return True

    def _was_there(self, memory_id: str, near: Sequence[Neighbour]) -> bool:
        """Whether a memory that nobody could compare when it came is one too many; a pinned one never is."""
        similarity = near[0].similarity if near else None
        if not self._keeper.compare_once(memory_id) or similarity is None:
            return False
        memory = self._keeper.store.get(memory_id)
        return memory is not None and not memory.pinned and similarity >= self._keeper.policy.admit_below

    def _set_picture_aside(self, memory: Memory) -> None:
        with self._writing():
            key = self._keeper.store.key_of(memory.id)
            standing = None if key is None else self._keeper.store.standing(key)
            if standing is not None:
                self._files.set_aside(memory.picture)
                self._keeper.forget([standing])

    def _embed(self, ids: Sequence[str], embed: Embed) -> int:
        """Embeds some; one by one where one of them spoils the rest."""
        pictures: dict[str, builtins.bytes] = {}
        for memory_id in ids:
            with contextlib.suppress(PictureRejected):
                pictures[memory_id] = self.picture(memory_id)
        if not pictures:
            return 0
        try:
            vectors, scores = embed(list(pictures.values()))
        except PictureRejected:
            if len(ids) > 1:
                return sum(self._embed([memory_id], embed) for memory_id in pictures)
            memory = self.get(ids[0])
            if memory is not None:
                self._set_picture_aside(memory)
            return 0
        judged = zip(pictures, vectors, scores, strict=True)
        return sum(
            self.set_embedding(memory_id, vector, self.identity, float(score))
            for memory_id, vector, score in judged
        )

    def _named(self, keys: NDArray[np.int64], similarities: NDArray[np.float32]) -> list[tuple[str, float]]:
        found = [
            Neighbour(key, value) for key, value in zip(keys.tolist(), similarities.tolist(), strict=True)
        ]
        with self._care():
            ids = self._keeper.store.ids_of([neighbour.key for neighbour in found])
        return [(ids[one.key], one.similarity) for one in found if one.key in ids]

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self._care(), self._keeper.writing:
            yield

    @contextlib.contextmanager
    def _care(self) -> Iterator[None]:
        """Whoever finds the database damaged tells the keeper, which makes it anew."""
        if self._closed:
            raise ValueError("the memory is closed")
        try:
            yield
        except DatabaseDamaged as damage:
            self._keeper.damaged(damage)
            raise
