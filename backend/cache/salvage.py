"""What can still be read of a damaged database that was set aside: what no picture tells of itself."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backend.cache.database import DATABASE
from backend.cache.row_codec import FIELDS, facts_from, text_from

log = logging.getLogger(__name__)

_UNTOLD = frozenset({"pinned", "times_shown", "last_shown_at", "shows_prompt"})

Facts = Mapping[str, Any]


def salvaged(folder: Path) -> dict[str, Facts]:
    """By their ids, what rows say of memories in the newest database that was set aside in a folder.

    Rows are read in the order of their keys, by no index: from the first to where the file breaks off or
    cannot be read, then from the last back to there.
    """
    aside = sorted(folder.glob(f"{DATABASE}.corrupt.*"))
    if not aside or not aside[-1].is_file():
        return {}
    found: dict[str, Facts] = {}
    try:
        uri = f"{aside[-1].absolute().as_uri()}?mode=ro&immutable=1"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.text_factory = text_from
            if _is_ours(connection):
                for direction in ("ASC", "DESC"):
                    found.update(_rows(connection, direction))
    except sqlite3.Error as error:
        log.info("%s tells nothing any more: %s", aside[-1].name, error)
    return found


def _is_ours(connection: sqlite3.Connection) -> bool:
    """A view of a stranger's might never end."""
    kinds = connection.execute("SELECT type FROM sqlite_master WHERE name = 'memories'").fetchall()
    return kinds == [("table",)]


def _rows(connection: sqlite3.Connection, direction: str) -> Iterator[tuple[str, Facts]]:
    with contextlib.suppress(sqlite3.DatabaseError):  # here it breaks off
        for row in connection.execute(f"SELECT {FIELDS} FROM memories NOT INDEXED ORDER BY key {direction}"):  # noqa: S608
            facts = facts_from(row)
            if "id" in facts:
                yield facts["id"], {name: facts[name] for name in _UNTOLD if name in facts}
