"""The rows of the memory: what is asked of them, and what is done to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.cache.database import Database
from backend.cache.matching import Identity, Vectors
from backend.cache.memory_row import Memory, Order
from backend.cache.policy import ALONE, Worth
from backend.cache.row_codec import (
    FIELDS,
    MOST_ROW_BYTES,
    blob_of,
    bytes_from,
    facts_from,
    identity_text,
    memory_from,
    number_from,
    values_of,
    vector_from,
)

_MOST_ROWS = 2**62
ROW_BYTES = 1024
"""What a row with its indexes takes, about; a vector comes on top."""

_BYTES = f"CASE WHEN typeof(bytes) = 'integer' AND bytes BETWEEN 0 AND {MOST_ROW_BYTES} THEN bytes ELSE 0 END"
"""As :func:`bytes_from`, in SQL."""

_ORDERS = {
    Order.NEWEST: "key DESC",
    Order.OLDEST: "key",
    Order.BEAUTY: "score DESC, key DESC",
    Order.SHOWN: "times_shown DESC, key DESC",
}


@dataclass(frozen=True)
class Near:
    """The nearest other memory of one, when that was last looked up."""

    redundancy: float
    key: int | None


NOBODY = Near(ALONE, None)
_WORTHLESS = Worth(1.0, 0.0)
"""Of a row whose numbers are none: SQLite, too, sorts such before all others."""


@dataclass(frozen=True)
class Sizes:
    """Bytes of one memory's files and of its vector."""

    picture: int
    latent: int
    vector: int

    @property
    def total(self) -> int:
        return self.picture + self.latent + self.vector + ROW_BYTES


@dataclass(frozen=True)
class Standing:
    """What decides whether a memory goes.

    Attributes:
        stale: Its nearest is gone, so it is less redundant than it says.
        files: Its own, relative.
    """

    key: int
    id: str
    worth: Worth
    stale: bool
    nearest_key: int | None
    pinned: bool
    bytes: int
    files: tuple[str, ...]


@dataclass(frozen=True)
class Filed:
    """A row as its files should be.

    Attributes:
        id: Of the memory, or what else the row can be named by.
        memory: None where the row makes no sense.
        facts: What of it does, by the names of :class:`Memory`.
    """

    key: int
    id: str
    memory: Memory | None
    facts: Mapping[str, Any]
    picture: str
    picture_bytes: int
    latent: str | None
    latent_bytes: int
    vector: bytes | None


class MemoryStore(Database):
    """The rows of one memory."""

    _totals: tuple[int, int, bool] = (0, 0, False)

    # What is written; all of it within a transaction.

    def insert(self, memory: Memory, sizes: Sizes, vector: Vectors | None, near: Near) -> int:
        """A new row. Returns its key."""
        values = (
            *values_of(memory),
            sizes.picture,
            sizes.latent,
            near.redundancy,
            near.key,
            sizes.total,
        )
        marks = ", ".join("?" * len(values))
        cursor = self._writer.execute(
            f"INSERT INTO memories ({FIELDS}, picture_bytes, latent_bytes, redundancy, nearest_key, bytes) "  # noqa: S608
            f"VALUES ({marks})",
            values,
        )
        key = int(cursor.lastrowid or 0)
        if vector is not None:
            self._writer.execute("INSERT INTO vectors VALUES (?, ?)", (key, blob_of(vector)))
        self._count(1, sizes.total)
        return key

    def delete(self, key: int) -> None:
        """Takes a row away, with its vector."""
        row = self._writer.execute("SELECT bytes FROM memories WHERE key = ?", (key,)).fetchone()
        if row is not None:
            self._writer.execute("DELETE FROM memories WHERE key = ?", (key,))
            self._count(-1, -bytes_from(row[0]))
        self._writer.execute("DELETE FROM vectors WHERE key = ?", (key,))

    def set_near(self, key: int, near: Near) -> None:
        self._writer.execute(
            "UPDATE memories SET redundancy = ?, nearest_key = ? WHERE key = ?",
            (near.redundancy, near.key, key),
        )

    def raise_near(self, key: int, near: Near) -> None:
        """As :meth:`set_near`, where that is nearer than what was known."""
        self._writer.execute(
            "UPDATE memories SET redundancy = ?, nearest_key = ? WHERE key = ? AND redundancy < ?",
            (near.redundancy, near.key, key, near.redundancy),
        )

    def set_vector(
        self, key: int, vector: Vectors | None, identity: Identity | None, score: float | None
    ) -> None:
        """Another embedding, or none."""
        self._writer.execute("DELETE FROM vectors WHERE key = ?", (key,))
        if vector is not None:
            self._writer.execute("INSERT INTO vectors VALUES (?, ?)", (key, blob_of(vector)))
        self._writer.execute(
            "UPDATE memories SET identity = ?, score = coalesce(?, score) WHERE key = ?",
            (identity_text(identity), score, key),
        )

    def drop_latent(self, key: int) -> None:
        row = self._writer.execute(
            "SELECT bytes, latent_bytes FROM memories WHERE key = ?", (key,)
        ).fetchone()
        if row is not None:
            before, latent = map(bytes_from, row)
            after = max(0, before - latent)
            self._writer.execute(
                "UPDATE memories SET latent = NULL, latent_bytes = 0, bytes = ? WHERE key = ?", (after, key)
            )
            self._count(0, after - before)

    def drop_vectors_without_rows(self) -> None:
        self._writer.execute("DELETE FROM vectors WHERE key NOT IN (SELECT key FROM memories)")

    def pin(self, key: int, pinned: bool) -> None:
        self._writer.execute("UPDATE memories SET pinned = ? WHERE key = ?", (int(pinned), key))

    def shown(self, key: int, when: str) -> None:
        self._writer.execute(
            "UPDATE memories SET times_shown = times_shown + 1, last_shown_at = ? WHERE key = ?", (when, key)
        )

    def recount(self) -> None:
        """Sets the totals to what the rows say."""
        self._writer.execute(
            "UPDATE totals SET entries = (SELECT count(*) FROM memories), "  # noqa: S608
            f"bytes = (SELECT coalesce(sum({_BYTES}), 0) FROM memories)"
        )

    def forget_embeddings(self) -> None:
        self._writer.execute("DELETE FROM vectors")
        self._writer.execute("UPDATE memories SET identity = ''")

    def rebuilding(self, yes: bool) -> None:
        self._writer.execute("UPDATE totals SET rebuilding = ?", (int(yes),))

    # What is read, from any thread.

    def totals(self) -> tuple[int, int, bool]:
        """Entries, bytes, and whether rows are still being made from files, as of the last commit.

        Never waits, since each status asks, and so each frame.
        """
        return self._totals

    def told(self) -> tuple[int, int]:
        """Entries and bytes as the database has them noted."""
        entries, size = self._one("SELECT entries, bytes FROM totals") or (0, 0)
        return _whole(entries), _whole(size)

    def counted(self) -> tuple[int, int]:
        """Entries and bytes as the rows say, counted one by one."""
        ((entries, size),) = self._all_apart(
            f"SELECT count(*), coalesce(sum({_BYTES}), 0) FROM memories"  # noqa: S608
        )
        return int(entries), int(size)

    def vectors_without_rows(self) -> int:
        lone = "SELECT count(*) FROM vectors WHERE key NOT IN (SELECT key FROM memories)"
        return int(self._all_apart(lone)[0][0])

    def key_of(self, memory_id: str) -> int | None:
        row = self._one("SELECT key FROM memories WHERE id = ?", memory_id)
        return None if row is None else int(row[0])

    def get(self, memory_id: str) -> Memory | None:
        row = self._one(f"SELECT {FIELDS} FROM memories WHERE id = ?", memory_id)  # noqa: S608
        return None if row is None else memory_from(row)

    def files_of(self, memory_id: str) -> tuple[str, ...]:
        """What a row says where its files are, whether or not the rest of it makes sense."""
        row = self._one("SELECT picture, latent FROM memories WHERE id = ?", memory_id)
        return () if row is None else tuple(row)

    def files_named(self) -> set[str]:
        """All files that rows name, read from the rows themselves: by no index, which may be damaged."""
        rows = self._all_apart("SELECT picture, latent FROM memories NOT INDEXED")
        return {path for row in rows for path in row if isinstance(path, str)}

    def ids_of(self, keys: Sequence[int]) -> dict[int, str]:
        """Ids by key, of those that are there."""
        marks = ", ".join("?" * len(keys))
        rows = self._all(f"SELECT key, id FROM memories WHERE key IN ({marks})", *keys)  # noqa: S608
        return {int(key): memory_id for key, memory_id in rows if isinstance(memory_id, str)}

    def ids_like(self, beginning: str, limit: int) -> list[str]:
        """Ids that begin so, in their order."""
        rows = self._all(
            "SELECT id FROM memories WHERE id >= ? AND substr(id, 1, ?) = ? ORDER BY id LIMIT ?",
            *(beginning, len(beginning), beginning, limit),
        )
        return [row[0] for row in rows if isinstance(row[0], str)]

    def vector_of(self, memory_id: str, identity: Identity) -> Vectors | None:
        row = self._one(
            "SELECT v.vector FROM memories m JOIN vectors v USING (key) WHERE m.id = ? AND m.identity = ?",
            memory_id,
            identity_text(identity),
        )
        return None if row is None else vector_from(row[0], identity)

    def listed(
        self, offset: int, limit: int, order: Order, theme: str | None = None, words: str | None = None
    ) -> list[Memory]:
        """A page of rows: of one theme, with words that stand in prompt or theme, where these are given."""
        rows = self._all_apart(
            f"SELECT {FIELDS} FROM memories WHERE (? IS NULL OR theme = ?) "  # noqa: S608
            "AND (? IS NULL OR instr(lower(prompt || ' ' || theme), lower(?)) > 0) "
            f"ORDER BY {_ORDERS[order]} LIMIT ? OFFSET ?",
            theme,
            theme,
            words,
            words,
            limit,
            min(offset, _MOST_ROWS),
        )
        return [memory for memory in map(memory_from, rows) if memory is not None]

    def of_other_identity(self, identity: Identity, limit: int) -> list[str]:
        """Ids of rows whose embedding is another's, or that have none."""
        own = identity_text(identity)
        rows = self._all(
            "SELECT id FROM (SELECT id FROM memories WHERE identity < ? LIMIT ?) UNION ALL "
            "SELECT id FROM (SELECT id FROM memories WHERE identity > ? LIMIT ?) LIMIT ?",
            *(own, limit, own, limit, limit),
        )
        return [row[0] for row in rows if isinstance(row[0], str)]

    def of_commonest_identity(self) -> str | None:
        """Id of a row whose embedding is by whoever made most of them; None where there are none."""
        row = self._one(
            "SELECT max(id) FROM memories WHERE identity != '' "
            "GROUP BY identity ORDER BY count(*) DESC LIMIT 1"
        )
        return None if row is None else str(row[0])

    def vectors_after(self, key: int, limit: int, identity: Identity) -> list[tuple[int, bytes]]:
        """A page of vectors of an identity, by ascending key."""
        return self._all(
            "SELECT v.key, v.vector FROM vectors v CROSS JOIN memories m ON m.key = v.key "
            "WHERE v.key > ? AND m.identity = ? ORDER BY v.key LIMIT ?",
            *(key, identity_text(identity), limit),
        )

    def filed_after(self, key: int, limit: int) -> list[Filed]:
        """A page of rows with what their files should be, by ascending key."""
        return self._filed("key > ? ORDER BY key LIMIT ?", key, limit)

    def filed(self, key: int) -> Filed | None:
        return next(iter(self._filed("key = ?", key)), None)

    def _filed(self, where: str, *values: object) -> list[Filed]:
        rows = self._all(
            f"SELECT {FIELDS}, key, picture_bytes, latent_bytes, bytes, redundancy, nearest_key, "  # noqa: S608
            f"(SELECT vector FROM vectors v WHERE v.key = m.key) FROM memories m WHERE {where}",
            *values,
        )
        return list(map(_filed, rows))

    def least_worth(self, limit: int) -> list[Standing]:
        """Those that go first, but for pinned ones."""
        return self._standings("WHERE m.pinned = 0 ORDER BY m.redundancy DESC, m.score, m.key LIMIT ?", limit)

    def standing(self, key: int) -> Standing | None:
        return next(iter(self._standings("WHERE m.key = ?", key)), None)

    def _standings(self, where: str, *values: object) -> list[Standing]:
        rows = self._all(
            "SELECT m.key, m.id, m.redundancy, m.score, m.nearest_key IS NOT NULL AND NOT EXISTS "  # noqa: S608
            f"(SELECT 1 FROM memories n WHERE n.key = m.nearest_key), m.nearest_key, m.pinned, m.bytes, "
            f"m.picture, m.latent FROM memories m {where}",
            *values,
        )
        return [
            Standing(
                row[0],
                _named(row[0], row[1]),
                Worth(number_from(row[2], _WORTHLESS.redundancy), number_from(row[3], _WORTHLESS.score)),
                bool(row[4]),
                row[5],
                bool(row[6]),
                bytes_from(row[7]),
                tuple(path for path in row[8:] if isinstance(path, str)),
            )
            for row in rows
        ]

    def _committed(self) -> None:
        row = self._writer.execute("SELECT entries, bytes, rebuilding FROM totals").fetchone()
        entries, size, rebuilding = row or (0, 0, 0)
        self._totals = _whole(entries), _whole(size), bool(rebuilding)

    def _count(self, entries: int, size: int) -> None:
        self._writer.execute("UPDATE totals SET entries = entries + ?, bytes = bytes + ?", (entries, size))


def _whole(value: object) -> int:
    """A number that a stranger may have written over; check() counts anew."""
    return value if isinstance(value, int) else 0


def _named(key: int, memory_id: object) -> str:
    return memory_id if isinstance(memory_id, str) else f"row {key} with the id {memory_id!r:.80}"


def _filed(row: Sequence[Any]) -> Filed:
    *fields, key, picture_bytes, latent_bytes, size, redundancy, nearest_key, vector = row
    facts = facts_from(fields)
    numbers = (picture_bytes, latent_bytes, size)
    sane = (
        key >= 0  # as an index of vectors takes it
        and all(isinstance(number, int) and bytes_from(number) == number for number in numbers)
        and number_from(redundancy, math.inf) < math.inf
        and isinstance(nearest_key, int | None)
    )
    return Filed(
        key,
        _named(key, fields[0]),
        memory_from(fields) if sane else None,
        facts,
        facts.get("picture", ""),
        bytes_from(picture_bytes),
        facts.get("latent"),
        bytes_from(latent_bytes),
        vector,
    )
