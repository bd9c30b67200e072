"""Is the memory whole? Rows against files, files against rows, vectors against the identity that made them.

It may run while the memory is in use: what looks wrong is looked at again under the lock before it is told
or mended. A picture that is whole is never deleted: where its row is lost, it gets another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from backend.cache.keeper import Keeper
from backend.cache.picture_files import (
    LATENTS,
    PICTURES,
    MemoryFiles,
    is_ours,
    is_temporary,
    is_whole,
    owner_of,
)
from backend.cache.row_codec import vector_from
from backend.cache.store import Filed

_PAGE = 200
_MOST_TOLD = 1000


class Flaw(StrEnum):
    """What can be wrong."""

    DATABASE = "the database is damaged"
    INDEX = "an index of the database that does not fit its rows"
    ROW = "a row that makes no sense"
    NO_PICTURE = "a row without its picture"
    BAD_PICTURE = "a picture that is not what it was"
    NO_LATENT = "a row without its latent"
    BAD_LATENT = "a latent that is not what it was"
    BAD_VECTOR = "a vector that cannot be compared"
    NO_VECTOR = "a row without its vector"
    LONE_VECTOR = "a vector without a row"
    LONE_FILE = "a file without a row"
    STRANGE_FILE = "a file that is not the memory's"
    HALF_WRITTEN = "a file that was never finished"
    TOTALS = "totals that do not add up"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        flaw: What kind.
        where: An id, or a relative path.
        repaired: It was, now.
    """

    flaw: Flaw
    where: str
    repaired: bool


@dataclass(frozen=True)
class CheckReport:
    """What was found.

    Attributes:
        entries: Rows looked at.
        files: Files looked at.
        counts: How often each flaw was found.
        findings: The first of them.
    """

    entries: int
    files: int
    counts: Mapping[Flaw, int]
    findings: tuple[Finding, ...]

    @property
    def whole(self) -> bool:
        """Nothing is wrong (somebody else's files in our folders are left alone and do not count)."""
        return not any(flaw is not Flaw.STRANGE_FILE for flaw in self.counts)

    @property
    def mended(self) -> bool:
        """Whatever was wrong is right now."""
        return all(one.repaired for one in self.findings if one.flaw is not Flaw.STRANGE_FILE)


@dataclass
class _Check:
    keeper: Keeper
    files: MemoryFiles
    repair: bool
    contents: bool
    indexes_fit: bool = True
    rows_seen: int = 0
    files_seen: int = 0
    counts: Counter[Flaw] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def tell(self, flaw: Flaw, where: str, *, repaired: bool | None = None) -> None:
        self.counts[flaw] += 1
        if len(self.findings) < _MOST_TOLD:
            self.findings.append(Finding(flaw, where, self.repair if repaired is None else repaired))

    def database(self) -> bool:
        damage = self.keeper.store.check(indexes=True)
        if damage is None:
            return True
        if self.repair and self.keeper.mend_indexes():
            self.tell(Flaw.INDEX, damage)
            return True
        if not self.repair and self.keeper.store.check() is None:  # the rows can be read
            self.indexes_fit = False
            self.tell(Flaw.INDEX, damage)
            return True
        if self.repair:
            self.keeper.start_anew(damage)
        self.tell(Flaw.DATABASE, damage)
        return False

    def rows(self) -> None:
        after = -(2**63)
        while page := self.keeper.store.filed_after(after, _PAGE):
            for row in page:
                self.rows_seen += 1
                if self._flaws_of(row):
                    with self.keeper.writing:
                        self._settle(row)
            after = page[-1].key

    def _settle(self, seen: Filed) -> None:
        """Looks again, now that nobody changes it, and mends."""
        row = self.keeper.store.filed(seen.key)
        if row is None:
            return
        for flaw in self._flaws_of(row):
            self.tell(flaw, row.id)
            if self.repair:
                self._mend(row, flaw)

    def _flaws_of(self, row: Filed) -> list[Flaw]:
        if row.memory is None or not is_ours(row.picture) or owner_of(row.picture) != row.id:
            return [Flaw.ROW]
        if row.latent is not None and (not is_ours(row.latent) or owner_of(row.latent) != row.id):
            return [Flaw.ROW]
        picture = self._flaw_of(row.picture, row.picture_bytes, Flaw.NO_PICTURE, Flaw.BAD_PICTURE)
        if picture is not None:
            return [picture]  # its row goes, and all else with it
        flaws = [self._flaw_of_vector(row)]
        if row.latent is not None:
            flaws.append(self._flaw_of(row.latent, row.latent_bytes, Flaw.NO_LATENT, Flaw.BAD_LATENT))
        return [flaw for flaw in flaws if flaw is not None]

    def _flaw_of(self, path: str, size: int, missing: Flaw, bad: Flaw) -> Flaw | None:
        if not is_ours(path):
            return bad
        found = self.files.size(path)
        if found is None:
            return missing
        if found == size and not self.contents:
            return None
        data = self.files.read(path)
        if data is None or not is_whole(path, data):
            return bad
        return None if found == size else Flaw.ROW

    def _flaw_of_vector(self, row: Filed) -> Flaw | None:
        identity = row.memory.identity if row.memory else None
        if identity is None:
            return None if row.vector is None else Flaw.BAD_VECTOR
        if row.vector is None:
            return Flaw.NO_VECTOR
        return Flaw.BAD_VECTOR if vector_from(row.vector, identity) is None else None

    def _mend(self, row: Filed, flaw: Flaw) -> None:
        store, index = self.keeper.store, self.keeper.index
        if flaw is Flaw.NO_LATENT and (latent := self.files.latent_of(row.id)):  # only its name is rotten
            self.keeper.remake(row.key, row.picture, latent, row.facts)
        elif flaw in (Flaw.NO_LATENT, Flaw.BAD_LATENT):
            with store.transaction():
                store.drop_latent(row.key)
            if row.latent is not None and is_ours(row.latent):
                self.files.set_aside(row.latent)
        elif flaw in (Flaw.NO_VECTOR, Flaw.BAD_VECTOR):
            with store.transaction():
                store.set_vector(row.key, None, None, None)
            index.remove(row.key)
        elif flaw is Flaw.ROW and (picture := self._picture_of(row)):
            self.keeper.remake(row.key, picture, self.files.latent_of(owner_of(picture)), row.facts)
        else:
            with store.transaction():
                store.delete(row.key)
            index.remove(row.key)
            if flaw is Flaw.BAD_PICTURE:
                self.files.set_aside(row.picture)
            # What else belonged to it is without a row now, and goes with such files.

    def _picture_of(self, row: Filed) -> str | None:
        """By its id, or else by what the row names."""
        named = row.picture if is_ours(row.picture) and self.files.size(row.picture) is not None else None
        return self.files.picture_of(row.id) or named

    def lone_files(self) -> None:
        lone = list[str]()
        for kind in (PICTURES, LATENTS):
            for path in self.files.walk(kind):
                self.files_seen += 1
                match self._flaw_of_file(path):
                    case Flaw.STRANGE_FILE:
                        self.tell(Flaw.STRANGE_FILE, path, repaired=False)
                    case Flaw.HALF_WRITTEN:
                        self._settle_file(path, Flaw.HALF_WRITTEN)
                    case Flaw.LONE_FILE:
                        lone.append(path)
        named = self.keeper.store.files_named() if lone else set()
        for path in lone:
            if path not in named:
                self._settle_file(path, Flaw.LONE_FILE)

    def _settle_file(self, path: str, flaw: Flaw) -> None:
        """Looks again, now that nobody changes it, and mends: a picture gets a row, all else goes."""
        with self.keeper.writing:  # which whoever writes a file holds until its row is there
            if self.files.size(path) is None or self._flaw_of_file(path) is not flaw:
                return
            self.tell(flaw, path)
            if not self.repair:
                return
            if flaw is Flaw.LONE_FILE and path.startswith(f"{PICTURES}/"):
                self.keeper.adopt({path: self.files.latent_of(owner_of(path))})
                if self._flaw_of_file(path) is flaw:  # the same picture has a row under another suffix
                    self.files.set_aside(path)
            else:
                self.files.remove(path)

    def _flaw_of_file(self, path: str) -> Flaw | None:
        if is_temporary(path):
            return Flaw.HALF_WRITTEN
        if not is_ours(path):
            return Flaw.STRANGE_FILE
        return None if self._has_row(path) else Flaw.LONE_FILE

    def _has_row(self, path: str) -> bool:
        return self.indexes_fit and path in self.keeper.store.files_of(owner_of(path))

    def rest(self) -> None:
        store = self.keeper.store
        with self.keeper.writing:
            lone = store.vectors_without_rows()
            if lone:
                self.tell(Flaw.LONE_VECTOR, f"{lone}")
            if store.told() != store.counted():
                self.tell(Flaw.TOTALS, f"{store.told()} told, {store.counted()} counted")
            if self.repair:
                with store.transaction():
                    store.drop_vectors_without_rows()
                    store.recount()


def check_memory(keeper: Keeper, files: MemoryFiles, *, repair: bool, contents: bool) -> CheckReport:
    """Looks at all of a memory; ``contents``: at every byte of its files, not at their sizes alone.

    Raises:
        StorageError: The disk said no.
    """
    check = _Check(keeper, files, repair, contents)
    if check.database():
        check.rows()
        # While rows are still being made from files, a file without a row is only not yet reached.
        if not keeper.store.totals()[2]:
            check.lone_files()
        check.rest()
        if repair:
            keeper.keep_within()
    return CheckReport(check.rows_seen, check.files_seen, dict(check.counts), tuple(check.findings))
