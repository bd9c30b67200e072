"""The memory's SQLite file: its connections, its tables, and its errors as errors of ours.

Write-ahead logging, so that readers never wait for a writer; ``synchronous=FULL``, so that what was
acknowledged outlives a power cut too: one fsync a keyframe, on a thread that no frame waits for.
Two connections: one writes, under :attr:`Database.writing`; one reads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backend.cache.row_codec import text_from
from backend.errors import StorageError

DATABASE = "memory.sqlite3"
SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE memories (
    key INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice: the index in memory knows rows by it
    id TEXT NOT NULL UNIQUE,
    added_at TEXT NOT NULL,
    theme TEXT NOT NULL,
    prompt TEXT NOT NULL,
    negative TEXT NOT NULL,
    seed TEXT NOT NULL,                     -- up to 2**64 - 1, more than SQLite's integers hold
    parents TEXT NOT NULL,                  -- JSON list
    denoise REAL NOT NULL,
    score REAL NOT NULL,
    shows_prompt REAL,
    origin TEXT NOT NULL,
    pinned INTEGER NOT NULL,
    times_shown INTEGER NOT NULL,
    last_shown_at TEXT,
    picture TEXT NOT NULL,
    picture_bytes INTEGER NOT NULL,
    latent TEXT,
    latent_bytes INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    identity TEXT NOT NULL,                 -- JSON list of name, version, dimension; empty: no embedding
    redundancy REAL NOT NULL,               -- similarity to the nearest other
    nearest_key INTEGER,                    -- may be gone: then redundancy is looked up again when it matters
    bytes INTEGER NOT NULL
);
CREATE INDEX memories_by_worth ON memories (pinned, redundancy DESC, score, key);
CREATE INDEX memories_by_identity ON memories (identity);
CREATE TABLE vectors (key INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE totals (entries INTEGER NOT NULL, bytes INTEGER NOT NULL, rebuilding INTEGER NOT NULL);
"""
_NAMES = frozenset(re.findall(r"CREATE (?:TABLE|INDEX) (\w+)", _SCHEMA))
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_ERRNOS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_BUSY: errno.EBUSY,
    sqlite3.SQLITE_LOCKED: errno.EBUSY,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
    sqlite3.SQLITE_TOOBIG: errno.EFBIG,
}
_FULL_BELOW_BYTES = 2**20


class DatabaseDamaged(StorageError):  # noqa: N818 - a state of the world
    """The database is not one, or not whole."""

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(path, OSError(errno.EIO, f"the database is damaged ({detail})"))


class Database:
    """The database of one memory.

    Args:
        folder: Of the memory; it exists.
        writing: Held by whoever writes.
        durable: Commits survive a power cut, not only the end of this process.

    Raises:
        DatabaseDamaged: What stands there is no database of ours.
        StorageError: It cannot be opened.
    """

    def __init__(self, folder: Path, writing: threading.RLock, *, durable: bool) -> None:
        self.path = folder / DATABASE
        self.writing = writing
        self._durable = durable
        self._reading = threading.Lock()
        self._checking: sqlite3.Connection | None = None
        self._open = False
        fresh = not self.path.exists()
        if not fresh and not self.path.is_file():
            raise DatabaseDamaged(self.path, "it is no file")
        with self._errors():
            self._writer = self._connect()
            try:
                self._writer.execute("PRAGMA journal_mode=WAL")
                self._writer.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                self._writer.execute(f"PRAGMA journal_size_limit={16 * 2**20}")
                self._prepare()
                self._committed()
                self._reader = self._connect()
            except BaseException:
                self._writer.close()
                raise
        self._open = True

    def close(self) -> None:
        """Ends both connections; the log is merged into the file by the last one."""
        with self.writing, self._reading:
            self._open = False
            for connection in (self._reader, self._writer):
                with contextlib.suppress(sqlite3.Error):
                    connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is done within, or nothing of it.

        Raises:
            StorageError: The disk said no; nothing of it was done.
        """
        with self.writing, self._errors():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._writer.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                raise
            with contextlib.suppress(sqlite3.Error):  # it is done, whatever comes now
                self._committed()

    def shrink_log(self) -> None:
        """Merges the log into the file, as far as the disk lets us: space to go on with on a full one."""
        with self.writing, contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def check(self, *, indexes: bool = False) -> str | None:
        """Reads the whole file, by a connection of its own. Returns what is wrong with it, or None.

        Args:
            indexes: Compare each index with its rows, too: many times the work, and nothing else finds an
                entry that names another row, or none.

        Raises:
            StorageError: It cannot be read.
        """
        pragma = "integrity_check" if indexes else "quick_check"
        try:
            with self._errors(), contextlib.closing(self._connect()) as connection:
                self._checking = connection
                told = [str(row[0]) for row in connection.execute(f"PRAGMA {pragma}(3)")]
                told = told if told != ["ok"] else _not_ours(connection) or told
        except DatabaseDamaged as damage:
            return str(damage)
        finally:
            self._checking = None
        return None if told == ["ok"] else " ".join("; ".join(told).split())[:300]

    def reindex(self) -> None:
        """Builds all indexes anew from the rows.

        Raises:
            StorageError: The disk said no, or the rows are damaged, too; nothing of it was done.
        """
        with self.transaction():
            self._writer.execute("REINDEX")

    def interrupt(self) -> None:
        """Lets a :meth:`check` that is under way fail, that nobody waits for it."""
        if (connection := self._checking) is not None:
            with contextlib.suppress(sqlite3.ProgrammingError):  # it is done, just now
                connection.interrupt()

    def _committed(self) -> None:
        """Called after each commit, and once at the beginning, by whoever writes."""

    def _one(self, sql: str, *values: object) -> Any:
        rows = self._all(sql, *values)
        return rows[0] if rows else None

    def _all(self, sql: str, *values: object) -> list[Any]:
        with self._reading, self._errors():
            return self._reader.execute(sql, values).fetchall()

    def _all_apart(self, sql: str, *values: object) -> list[Any]:
        """As :meth:`_all`, by a connection of its own: what takes long keeps no short question waiting, and
        so no frame of a walk through the memory.
        """
        if not self._open:
            raise StorageError(self.path, OSError(errno.EBADF, "the memory is closed"))
        with self._errors(), contextlib.closing(self._connect()) as connection:
            return connection.execute(sql, values).fetchall()

    def _connect(self) -> sqlite3.Connection:
        # The folder is locked for this process, so nobody but a reader of ours can hold the file for long.
        connection = sqlite3.connect(self.path, timeout=5.0, isolation_level=None, check_same_thread=False)
        connection.text_factory = text_from  # one rotten byte must not make all that is asked fail
        return connection

    def _prepare(self) -> None:
        version = int(self._writer.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise StorageError(
                self.path,
                OSError(
                    errno.EINVAL, f"made by a newer Dreamloop (schema {version}, known is {SCHEMA_VERSION})"
                ),
            )
        if version == 0:
            if self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise DatabaseDamaged(self.path, "it holds the tables of something else")
            self._writer.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} INSERT INTO totals VALUES (0, 0, 1); "  # noqa: S608 - nothing in it comes from outside
                f"PRAGMA user_version={SCHEMA_VERSION}; COMMIT"
            )
        elif self._writer.execute("SELECT count(*) FROM totals").fetchone()[0] != 1:
            raise DatabaseDamaged(self.path, "its totals are gone")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Whatever SQLite says, as an error of ours."""
        try:
            yield
        except sqlite3.ProgrammingError as error:
            if self._open:
                raise
            raise StorageError(self.path, OSError(errno.EBADF, "the memory is closed")) from error
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            missing_table = code == sqlite3.SQLITE_ERROR and "no such" in str(error)
            if code in _DAMAGED or missing_table:
                raise DatabaseDamaged(self.path, str(error)) from error
            raise StorageError(self.path, OSError(self._errno(code), f"SQLite: {error}")) from error

    def _errno(self, code: int) -> int:
        if code == sqlite3.SQLITE_IOERR:  # also what a full disk says where SQLite maps its log into memory
            with contextlib.suppress(OSError):
                disk = os.statvfs(self.path.parent)
                if disk.f_bavail * disk.f_frsize < _FULL_BELOW_BYTES:
                    return errno.ENOSPC
        return _ERRNOS.get(code, errno.EIO)


def _not_ours(connection: sqlite3.Connection) -> list[str]:
    """What SQLite does not mind: tables and indexes that are gone, and triggers and views of a stranger."""
    there = {
        (str(kind), str(name)) for kind, name in connection.execute("SELECT type, name FROM sqlite_master")
    }
    gone = _NAMES - {name for kind, name in there if kind in ("table", "index")}
    strange = sorted(f"a {kind} named {name[:80]!r}" for kind, name in there if kind in ("trigger", "view"))
    return [*(f"{name} is gone" for name in sorted(gone)), *strange]
