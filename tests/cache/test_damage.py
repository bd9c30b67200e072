from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.cache.check import Flaw
from backend.cache.database import DATABASE
from backend.cache.memory_row import Added, Origin
from backend.errors import AlreadyRunning, MemoryInUse, StorageError
from backend.utils.png_text import with_text
from tests.cache.memories import GUARD_S, TINY, Clock, added, axis, new, open_memory, picture

FACTS = {
    "schema_version": 1,
    "sequence": 7,
    "theme": "sea",
    "prompt": "a wave 波",
    "negative": "mud",
    "seed": 2**63 + 5,
    "parents": [6],
    "denoise": 0.4,
    "score": 0.75,
    "model": "m",
    "engine": "e",
    "time": "2026-01-01T00:00:00.000Z",
}


def _dreamt(number: int, facts: object = FACTS) -> bytes:
    return with_text(picture(number), {"dreamloop": json.dumps(facts)})


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _garbage_within(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)


def _tables_of_another(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE memories (id)")
    connection.close()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


HARM: dict[str, tuple[Callable[[Path], object], int]] = {
    # what is done, and how many files are set aside
    "garbage": (lambda path: path.write_bytes(b"no database" * 1000), 1),
    "truncated": (_truncated, 1),
    "garbage within": (_garbage_within, 1),
    "tables of another": (_tables_of_another, 1),
    "a folder": (_folder, 1),
    "empty": (lambda path: path.write_bytes(b""), 0),
    "gone": (lambda path: path.unlink(), 0),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_database_is_set_aside_and_remade_from_the_pictures(tmp_path: Path, harm: str) -> None:
    with open_memory(tmp_path) as memory:
        dreamt = added(memory, new(1, picture=_dreamt(1), latent=b"numbers"))
        seed = added(memory, new(2, origin=Origin.SEED))
    do, set_aside = HARM[harm]
    do(tmp_path / DATABASE)
    with open_memory(tmp_path) as memory:
        assert memory.problem is None
        assert len(list(tmp_path.glob(f"{DATABASE}.corrupt.*"))) == set_aside
        assert {row.id: row.origin for row in memory.iterate()} == {dreamt: Origin.DREAMT, seed: Origin.SEED}
        row = memory.get(dreamt)
        assert row is not None
        told = (row.theme, row.prompt, row.negative, row.seed, row.parents, row.denoise, row.score)
        assert told == ("sea", "a wave 波", "mud", 2**63 + 5, ("6",), 0.4, 0.75)
        assert row.added_at == "2026-01-01T00:00:00.000Z"
        assert memory.latent(dreamt) == b"numbers"
        assert sorted(memory.needs_embedding(9)) == sorted([dreamt, seed])
        assert memory.check().whole
        assert memory.set_embedding(dreamt, axis(3), TINY, 0.5)
        assert memory.nearest(axis(3), 1) == [(dreamt, 1.0)]


def test_damage_where_nobody_has_looked_yet_is_found_at_opening(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        ids = {added(memory, new(number)) for number in range(8)}
    _spoil_page(tmp_path, "sqlite_autoindex_memories_1")
    with open_memory(tmp_path) as memory:
        assert {row.id for row in memory.iterate()} == ids
        assert len(list(tmp_path.glob(f"{DATABASE}.corrupt.*"))) == 1
        assert memory.check().whole


def _spoil_page(folder: Path, name: str) -> None:
    """Writes over the first page of an index or a table."""
    connection = sqlite3.connect(folder / DATABASE)
    page, size = connection.execute(
        "SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = ?", (name,)
    ).fetchone()
    connection.close()
    with (folder / DATABASE).open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


@pytest.mark.parametrize("spoilt", ["sqlite_autoindex_memories_1", "vectors", "totals", "memories_by_worth"])
def test_what_no_picture_tells_is_read_from_the_rows_that_were_set_aside(tmp_path: Path, spoilt: str) -> None:
    with open_memory(tmp_path) as memory:
        ids = [added(memory, new(number, shows_prompt=0.25)) for number in range(4)]
        memory.pin(ids[2], True)
        memory.shown(ids[1])
        shown = memory.get(ids[1])
    _spoil_page(tmp_path, spoilt)
    with open_memory(tmp_path) as memory:
        rows = {row.id: row for row in memory.iterate()}
        assert [rows[one].pinned for one in ids] == [False, False, True, False]
        assert shown is not None
        assert (rows[ids[1]].times_shown, rows[ids[1]].last_shown_at) == (1, shown.last_shown_at)
        assert rows[ids[0]].shows_prompt == 0.25
        assert memory.check().whole


def test_a_view_in_the_place_of_the_rows_is_not_read(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        one = added(memory, new(1))
    connection = sqlite3.connect(tmp_path / DATABASE)
    with connection:
        endless = "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id FROM n"
        connection.executescript(f"DROP TABLE memories; CREATE VIEW memories AS {endless}; DROP TABLE totals")
    connection.close()
    with open_memory(tmp_path) as memory:
        assert [row.id for row in memory.iterate()] == [one]


def test_a_trigger_that_lets_nothing_in_is_damage(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        one = added(memory, new(1, pinned=True))
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("CREATE TRIGGER no BEFORE INSERT ON memories BEGIN SELECT RAISE(ABORT, 'no'); END")
    connection.close()
    with open_memory(tmp_path) as memory:
        assert isinstance(memory.add(new(2)), Added)
        row = memory.get(one)
        assert row is not None
        assert row.pinned


def test_a_log_without_sense_does_not_spoil_what_is_made_anew(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        one = added(memory, new(1))
    (tmp_path / DATABASE).write_bytes(b"no database" * 1000)
    (tmp_path / f"{DATABASE}-wal").write_bytes(b"no log" * 1000)
    (tmp_path / f"{DATABASE}-shm").write_bytes(b"no shared memory" * 2048)
    with open_memory(tmp_path) as memory:
        assert memory.get(one) is not None
        assert len(list(tmp_path.glob(f"{DATABASE}*.corrupt.*"))) >= 1
        assert memory.check().whole


def test_totals_are_told_while_the_database_is_set_aside(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        added(memory, new(1))
        memory._keeper.store.close()
        assert memory.size == 1
        assert memory.bytes > 0


def test_totals_that_are_no_numbers_are_counted_anew(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        added(memory, new(1))
    connection = sqlite3.connect(tmp_path / DATABASE)
    with connection:
        connection.execute("UPDATE totals SET entries = 'many', bytes = x'00'")
    connection.close()
    with open_memory(tmp_path) as memory:
        assert dict(memory.check(repair=True).counts) == {Flaw.TOTALS: 1}
        assert memory.size == 1


def test_damage_that_is_met_while_in_use_is_mended_behind_its_back(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        one = added(memory, new(1))
        memory._keeper.store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        memory._keeper.store._writer.execute("DROP TABLE vectors")
        with pytest.raises(StorageError, match="damaged"):
            memory.add(new(2))
        assert memory.wait_ready(GUARD_S)
        assert memory.get(one) is not None
        assert isinstance(memory.add(new(3)), Added)
        assert memory.check().whole


def test_check_sets_a_damaged_database_aside_when_told_to_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_memory(tmp_path) as memory:
        one = added(memory, new(1))
        with monkeypatch.context() as patch:
            patch.setattr(memory._keeper.store, "check", lambda **_: "page 7 is never used")
            assert dict(memory.check().counts) == {Flaw.DATABASE: 1}
            assert dict(memory.check(repair=True).counts) == {Flaw.DATABASE: 1}
        assert memory.wait_ready(GUARD_S)
        assert memory.get(one) is not None
        assert memory.check().whole


def test_three_damaged_databases_are_kept_and_no_more(tmp_path: Path) -> None:
    clock = Clock()
    for round_ in range(5):
        (tmp_path / DATABASE).write_bytes(b"no database %d" % round_ * 500)
        open_memory(tmp_path, clock=clock).close()
    kept = sorted(tmp_path.glob(f"{DATABASE}.corrupt.*"))
    assert [path.read_bytes()[:13] for path in kept] == [b"no database %d" % round_ for round_ in (2, 3, 4)]


@pytest.mark.parametrize(
    "facts",
    [
        [],
        {"seed": True, "score": True, "denoise": False, "time": "0001-01-01T00:00:00+23:00"},
        {"theme": 5, "prompt": None, "seed": -1, "parents": "x", "denoise": "much", "score": 7, "time": 12},
        {
            "seed": 2**80,
            "score": 10**400,
            "parents": [[1]] * 1000,
            "time": "yesterday",
            "prompt": "x" * 10**6,
        },
    ],
)
def test_facts_without_sense_in_a_picture_do_no_harm(tmp_path: Path, facts: object) -> None:
    with open_memory(tmp_path) as memory:
        one = added(memory, new(1, picture=_dreamt(1, facts)))
    (tmp_path / DATABASE).unlink()
    with open_memory(tmp_path) as memory:
        row = memory.get(one)
        assert row is not None
        assert 0 <= row.score <= 1
        assert 0 <= row.denoise <= 1
        assert row.seed == 0
        assert len(row.prompt) <= 20_000
        assert len(row.parents) <= 64


def test_broken_and_empty_pictures_are_set_aside_when_rows_are_remade(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        ids = [added(memory, new(number)) for number in range(3)]
        rows = [memory.get(one) for one in ids]
    (tmp_path / DATABASE).unlink()
    for row, data in zip(rows[:2], (b"", picture(1)[:-9]), strict=True):
        assert row is not None
        (tmp_path / row.picture).write_bytes(data)
    with open_memory(tmp_path) as memory:
        assert [row.id for row in memory.iterate()] == [ids[2]]
        assert len(list(tmp_path.glob("*.png.corrupt.*"))) == 2
        assert memory.check().whole


def test_remaking_that_was_cut_short_is_taken_up_at_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_memory(tmp_path) as memory:
        ids = {added(memory, new(number)) for number in range(5)}
    (tmp_path / DATABASE).unlink()
    with monkeypatch.context() as patch:
        patch.setattr("backend.cache.keeper.Keeper._remake_rows", lambda _: None)
        open_memory(tmp_path).close()
    with open_memory(tmp_path) as memory:
        assert {row.id for row in memory.iterate()} == ids


def test_a_memory_has_one_owner_and_the_second_is_told_who(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.cache.memories import open_memory\n"
        "from backend.errors import MemoryInUse\n"
        "try: open_memory(Path(sys.argv[1]))\n"
        "except MemoryInUse as error: sys.exit(f'{error.pid}: {error}')"
    )
    with open_memory(tmp_path) as memory:
        one = added(memory, new(1))
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, f"{os.getpid()}: process {os.getpid()} has the memory" in done.stderr) == (
            1,
            True,
        ), done.stderr
        assert str(tmp_path) in done.stderr
        with pytest.raises(AlreadyRunning) as caught:
            open_memory(tmp_path)
        assert isinstance(caught.value, MemoryInUse)
        assert memory.get(one) is not None
    open_memory(tmp_path).close()
