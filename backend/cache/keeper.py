"""What opens the memory behind the dream's back, and mends it: checks the database, remakes it from the files
where it is damaged, brings the vectors into the index, and keeps within the limits.

One thread, so that these never happen twice at once; it sleeps once all is done.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from backend.cache.database import DATABASE, DatabaseDamaged
from backend.cache.eviction import MakeIndex, Room
from backend.cache.matching import Identity
from backend.cache.memory_row import Memory
from backend.cache.picture_files import LATENTS, PICTURES, MemoryFiles, is_ours, is_whole, owner_of, size_of
from backend.cache.policy import MemoryLimits, Policy
from backend.cache.quarantine import set_aside
from backend.cache.row_codec import vectors_from
from backend.cache.salvage import Facts, salvaged
from backend.cache.store import NOBODY, MemoryStore, Sizes, Standing
from backend.cache.told import memory_told
from backend.cache.vector_index import VectorIndex
from backend.errors import PictureRejected, StorageError
from backend.utils.file_ops import sweep_temporaries

log = logging.getLogger(__name__)

_OF_THE_ROW = frozenset(
    {f.name for f in fields(Memory)} - {"id", "picture", "latent", "width", "height", "identity"}
)
"""What a row knows better than its picture."""
_PAGE = 1000
_MOST_EARLY = 10_000
_RETRY_S = 30.0
_ROOM_LOOK_S = 0.5


class Keeper:
    """The store and the index of one memory, and the thread that brings them up.

    Args:
        folder: Of the memory; locked for this process.
        files: Its files.
        identity: Whose vectors are compared.
        limits: How much may be in it.
        policy: Who goes first.
        make_index: Opens an empty index.
        clock: The time.
        durable: What is acknowledged survives a power cut.
        provisional: Another matcher may come, to whose vectors those of this one cannot be compared.

    Attributes:
        writing: Held by whoever changes rows or files.
        asking: Held by whoever asks the index without holding ``writing``: it is not exchanged meanwhile.
        ready: All that there is, is loaded.
        problem: Why that is not so and will not be soon; None while nothing is wrong.

    Raises:
        StorageError: The database cannot be opened, nor set aside.
    """

    def __init__(
        self,
        folder: Path,
        files: MemoryFiles,
        *,
        identity: Identity,
        limits: MemoryLimits,
        policy: Policy,
        make_index: MakeIndex,
        clock: Callable[[], datetime],
        durable: bool,
        provisional: bool = False,
    ) -> None:
        self.writing, self.asking = threading.RLock(), threading.Lock()
        self.ready = threading.Event()
        self.problem: str | None = None
        self.identity = identity
        self._folder, self._files, self._clock, self._durable = folder, files, clock, durable
        self.limits, self.policy, self._make_index = limits, policy, make_index
        self._early: list[int] = []
        self._provisional, self._uncompared = provisional, set[str]()
        self._damage: str | None = None
        self._checked = self._reindexed = False
        self._wake, self._stop = threading.Event(), threading.Event()
        self.store = self._open_store()
        self.index: VectorIndex = make_index(identity.dimension)
        self._thread = threading.Thread(target=self._run, name="memory-keeper", daemon=True)

    @property
    def room(self) -> Room:
        return Room(self.store, self.index, self.identity, self.limits, self.policy)

    def start(self) -> None:
        self._wake.set()
        self._thread.start()

    def close(self) -> None:
        """Ends the thread, soon, and closes the store and the index."""
        self._stop.set()
        self._wake.set()
        self.store.interrupt()
        if self._thread.is_alive():
            self._thread.join()
        with self.writing, self.asking:
            self.store.close()
            self.index.close()

    def use(self, identity: Identity, policy: Policy | None = None) -> None:
        """Compares by another matcher's vectors from now on."""
        with self.writing:
            self.policy = policy or self.policy
            if identity == self.identity:
                return
            self.identity = identity
            self._provisional = False
            self.reload()

    def limit(self, limits: MemoryLimits) -> None:
        """Keeps within other limits from now on; what is over them goes in the background."""
        with self.writing:
            self.limits = limits
            self._wake.set()

    def reload(self) -> None:
        """Fills a new index from the rows, in the background."""
        with self.writing:
            self.ready.clear()
            self._new_index()
            self._wake.set()

    def damaged(self, damage: DatabaseDamaged) -> None:
        """The database turned out to be damaged: it will be made anew."""
        with self.writing:
            self.ready.clear()
            self._damage = str(damage)
            self._wake.set()

    def mend_indexes(self) -> bool:
        """Builds the database's indexes anew, once: whether all of it is whole with them.

        Raises:
            StorageError: There is no space for that.
        """
        if self._reindexed:  # damage that was met since then lies elsewhere
            return False
        self._reindexed = True
        try:
            self.store.reindex()
            whole = self.store.check(indexes=True) is None
        except StorageError as error:
            if error.full:
                self._reindexed = False
                raise
            return False
        if whole:
            self._damage = None
            log.warning("an index of the memory's database was damaged; it was built anew from the rows")
        return whole

    def start_anew(self, damage: str) -> None:
        """Sets the database aside for an empty one, whose rows are made from the files in the background.

        Raises:
            StorageError: It cannot be set aside, or no other be made.
        """
        with self.writing:
            log.warning("%s; rows are made anew from the pictures", damage)
            self.ready.clear()
            self.store.close()
            self._set_database_aside()
            self.store = MemoryStore(self._folder, self.writing, durable=self._durable)
            self._damage, self._reindexed = None, False
            self.reload()

    def added_early(self, key: int) -> None:
        """A row that was added before all others were there to compare it with."""
        if len(self._early) < _MOST_EARLY:  # more only where nothing can be loaded at all
            self._early.append(key)

    def added(self, memory_id: str) -> None:
        """A memory that was let in: while the matcher is provisional it was not compared with all others."""
        if self._provisional and len(self._uncompared) < _MOST_EARLY:
            self._uncompared.add(memory_id)

    def compare_once(self, memory_id: str) -> bool:
        """Whether a memory is to be compared now, since nobody could when it came; True but once."""
        if self._provisional or memory_id not in self._uncompared:
            return False
        self._uncompared.remove(memory_id)
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            try:
                if self.ready.is_set():
                    self.keep_within()
                    self.problem = None
                else:
                    self._bring_up()
            except DatabaseDamaged as damage:
                self.damaged(damage)
            except StorageError as error:
                self._trouble(str(error))
            except Exception as error:  # the thread's one broad hand
                log.exception("the memory could not be opened whole")
                self._trouble(repr(error))

    def _trouble(self, problem: str) -> None:
        """Says so and tries again later; what is loaded answers meanwhile."""
        if self._stop.is_set():
            return
        if problem != self.problem:
            log.warning("the memory is not whole: %s", problem)
        self.problem = problem
        self._wake.wait(_RETRY_S)
        self._wake.set()

    def _bring_up(self) -> None:
        if self._damage is None and not self._checked and not self._stop.is_set():
            self._damage = self.store.check()
            self._checked = True
        if self._damage is not None and not self.mend_indexes():
            self.start_anew(self._damage)
        if self.store.totals()[2]:
            self._remake_rows()
        self._load()
        self._settle_early()
        self.keep_within()
        sweep_temporaries(self._folder)
        self._files.keep_reserve()
        with self.writing:  # which whoever takes it back holds
            if not self._interrupted():
                self.problem = None
                self.ready.set()

    def _interrupted(self) -> bool:
        return self._stop.is_set() or self._wake.is_set()

    def _open_store(self) -> MemoryStore:
        try:
            return MemoryStore(self._folder, self.writing, durable=self._durable)
        except DatabaseDamaged as damage:
            log.warning("%s; rows are made anew from the pictures", damage)
            self._set_database_aside()
            return MemoryStore(self._folder, self.writing, durable=self._durable)

    def _set_database_aside(self) -> None:
        for name in (DATABASE, f"{DATABASE}-wal"):  # its log belongs to it and would spoil the new one
            set_aside(self._folder / name, self._folder, self._clock)
        with contextlib.suppress(OSError):
            (self._folder / f"{DATABASE}-shm").unlink()

    def _new_index(self) -> None:
        new = self._make_index(self.identity.dimension)
        with self.asking:
            old, self.index = self.index, new
            old.close()
        self._early.clear()

    def _remake_rows(self) -> None:
        """Rows for pictures that have none, from what they tell and what can be read of the lost rows."""
        known = salvaged(self._folder)
        latents = {owner_of(path): path for path in self._files.walk(LATENTS) if is_ours(path)}
        pictures = [path for path in self._files.walk(PICTURES) if is_ours(path)]
        for start in range(0, len(pictures), 100):
            if self._interrupted():
                return
            page = pictures[start : start + 100]
            self.adopt({path: latents.get(owner_of(path)) for path in page}, known)
        with self.writing, self.store.transaction():
            self.store.rebuilding(False)
        if pictures:
            log.info("the memory has %d rows again, made from its pictures", self.store.totals()[0])

    def forget(self, gone: Sequence[Standing]) -> None:
        """Takes rows away, then their files; on a full disk, too.

        Raises:
            StorageError: The disk said no.
        """
        with self.writing:
            try:
                self._delete(gone)
            except StorageError as error:
                if not error.full:
                    raise
                self._files.release_reserve()
                self.store.shrink_log()
                self._delete(gone)
                self.store.shrink_log()
            self.let_go(gone)
            self._files.keep_reserve()

    def let_go(self, gone: Sequence[Standing]) -> None:
        """Lets go in memory and on disk of what is no longer in the database."""
        for standing in gone:
            self.index.remove(standing.key)
            for path in standing.files:
                self._files.remove(path)

    def _delete(self, gone: Sequence[Standing]) -> None:
        with self.store.transaction():
            for standing in gone:
                self.store.delete(standing.key)

    def adopt(self, pictures: Mapping[str, str | None], known: Mapping[str, Facts] | None = None) -> None:
        """Makes rows for pictures, with their latents, from what they tell; broken ones are set aside.

        Args:
            pictures: Their paths, and those of their latents.
            known: What else is known of some, by their ids.
        """
        with self.writing:
            # Looked at before the transaction: what is set aside stays so whatever becomes of the rest.
            found = [self._told_by(path, latent) for path, latent in pictures.items()]
            with self.store.transaction():
                for memory, sizes in filter(None, found):
                    facts = (known or {}).get(memory.id, {})
                    self.store.insert(replace(memory, **facts), sizes, None, NOBODY)

    def remake(self, key: int, path: str, latent: str | None, facts: Mapping[str, Any]) -> None:
        """Puts a row made from a picture in the place of one that makes no sense.

        Args:
            key: Of the row.
            path: Of the picture; where that belongs to another row, this one is only taken away.
            latent: Of the picture.
            facts: What of the row does make sense: the picture knows nothing of pins, for one.
        """
        with self.writing:
            found = self._told_by(path, latent, but=key)
            with self.store.transaction():
                self.store.delete(key)
                if found is not None:
                    known = {name: fact for name, fact in facts.items() if name in _OF_THE_ROW}
                    self.store.insert(replace(found[0], **known), found[1], None, NOBODY)
            self.index.remove(key)

    def _told_by(
        self, path: str, latent: str | None, *, but: int | None = None
    ) -> tuple[Memory, Sizes] | None:
        if self.store.key_of(owner_of(path)) not in (None, but):
            return None
        data = self._files.read(path)
        if data is None:
            return None
        try:
            if not is_whole(path, data):
                raise PictureRejected("broken", "it is not what its name says")
            size = size_of(data)
        except PictureRejected:
            self._files.set_aside(path)
            return None
        latent_bytes = self._files.size(latent) if latent else None
        memory = memory_told(data, path, latent if latent_bytes else None, size, self._clock())
        return memory, Sizes(len(data), latent_bytes or 0, 0)

    def _load(self) -> None:
        after = -1
        while not self._interrupted():
            if not self.index.wait_for_room(_ROOM_LOOK_S):
                continue
            with self.writing:  # what is read is in the index before anybody can take it away
                page = self.store.vectors_after(after, _PAGE, self.identity)
                if not page:
                    return
                after = page[-1][0]
                # A wrong vector is left to check(), which lists it for another embedding.
                self.index.add_many(*vectors_from(page, self.identity))

    def _settle_early(self) -> None:
        while self._early and not self._interrupted():
            with self.writing:
                key = self._early.pop()
                standing = self.store.standing(key)
                if standing is not None:
                    vector = self.store.vector_of(standing.id, self.identity)
                    with self.store.transaction():
                        self.room.look_again(key, vector)
                        self.room.tell(key, self.room.neighbours(vector, but=key))

    def keep_within(self) -> None:
        """Lets those go that are more than the limits allow.

        Raises:
            StorageError: The disk said no.
        """
        while not self._interrupted():
            with self.writing:
                gone = self.room.too_many()
                if not gone:
                    return
                self.forget(gone)
