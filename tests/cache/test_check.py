from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.cache.check import Flaw
from backend.cache.database import DATABASE
from backend.cache.memory_row import Memory
from backend.cache.policy import MemoryLimits
from tests.cache.memories import TINY, added, axis, files_in, new, open_memory, picture


def _sql(folder: Path, text: str) -> None:
    connection = sqlite3.connect(folder / DATABASE)
    with connection:
        connection.executescript(text)
    connection.close()


def _lone(folder: Path, _: Memory) -> None:
    path = folder / "pictures" / "ab" / f"ab{'0' * 62}.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(picture(50))


def _half(folder: Path, _: Memory) -> None:
    path = folder / "latents" / "ab" / f".ab{'0' * 62}.latent.12.1.tmp"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")


def _other_latent(folder: Path, row: Memory) -> None:
    assert row.latent is not None
    (folder / row.latent).write_bytes(b"NUMBERS")


def _no_latent(folder: Path, row: Memory) -> None:
    assert row.latent is not None
    (folder / row.latent).unlink()


def _other_bytes(folder: Path, row: Memory) -> None:
    data = bytearray((folder / row.picture).read_bytes())
    data[60] ^= 1
    (folder / row.picture).write_bytes(data)


CASES: dict[Flaw, tuple[Callable[[Path, Memory], object], bool]] = {
    # what is done, and whether the memory itself outlives the repair
    Flaw.NO_PICTURE: (lambda folder, row: (folder / row.picture).unlink(), False),
    Flaw.BAD_PICTURE: (_other_bytes, False),
    Flaw.NO_LATENT: (_no_latent, True),
    Flaw.BAD_LATENT: (_other_latent, True),
    Flaw.BAD_VECTOR: (lambda folder, _: _sql(folder, "UPDATE vectors SET vector = x'00000000'"), True),
    Flaw.NO_VECTOR: (lambda folder, _: _sql(folder, "DELETE FROM vectors"), True),
    Flaw.LONE_VECTOR: (lambda folder, _: _sql(folder, "INSERT INTO vectors VALUES (77, x'00')"), True),
    Flaw.LONE_FILE: (_lone, True),
    Flaw.HALF_WRITTEN: (_half, True),
    Flaw.TOTALS: (lambda folder, _: _sql(folder, "UPDATE totals SET bytes = 7"), True),
    Flaw.ROW: (lambda folder, _: _sql(folder, "UPDATE memories SET origin = 'nowhere'"), True),
}


@pytest.mark.parametrize("flaw", CASES)
def test_each_flaw_is_found_left_alone_then_mended(tmp_path: Path, flaw: Flaw) -> None:
    harm, survives = CASES[flaw]
    with open_memory(tmp_path) as memory:
        one = added(memory, new(1, latent=b"numbers"))
        row = memory.get(one)
        assert row is not None
        assert memory.check().whole
    harm(tmp_path, row)
    with open_memory(tmp_path) as memory:
        before = files_in(tmp_path)
        found = memory.check()
        assert dict(found.counts) == {flaw: 1}
        assert not found.findings[0].repaired
        assert files_in(tmp_path) == before
        assert not found.mended
        mending = memory.check(repair=True)
        assert mending.findings[0].repaired
        assert mending.mended
        after = memory.check(repair=True)
        assert after.whole
        assert memory.check().whole
        assert (memory.size == 1) is survives
        kept = memory.get(one)
        assert (kept is not None) is survives
        if flaw in (Flaw.BAD_VECTOR, Flaw.NO_VECTOR):
            assert memory.needs_embedding(5) == [one]
            assert memory.nearest(axis(1), 5) == []


def _rot_in_the_index_of_ids(folder: Path, memory_id: str) -> None:
    """One bit, in the last digit of an id; the rows themselves stay as they are."""
    connection = sqlite3.connect(folder / DATABASE)
    page, size = connection.execute(
        "SELECT rootpage, page_size FROM sqlite_master, pragma_page_size "
        "WHERE name = 'sqlite_autoindex_memories_1'"
    ).fetchone()
    connection.close()
    data = bytearray((folder / DATABASE).read_bytes())
    at = data.index(memory_id.encode(), (page - 1) * size, page * size)
    data[at + len(memory_id) - 1] ^= 1
    (folder / DATABASE).write_bytes(data)


def test_a_rotten_index_costs_no_picture_and_is_built_anew_from_the_rows(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        ids = [added(memory, new(number)) for number in range(8)]
        memory.pin(ids[3], True)
    _rot_in_the_index_of_ids(tmp_path, ids[3])
    before = files_in(tmp_path)
    with open_memory(tmp_path) as memory:
        assert dict(memory.check().counts) == {Flaw.INDEX: 1}
        mending = memory.check(repair=True)
        assert (dict(mending.counts), mending.mended) == ({Flaw.INDEX: 1}, True)
        row = memory.get(ids[3])
        assert row is not None
        assert row.pinned
        assert memory.size == 8
        assert memory.check().whole
    assert files_in(tmp_path) == before


def test_a_whole_picture_without_a_row_gets_one_with_its_latent(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        ids = [added(memory, new(number, latent=b"numbers %d" % number)) for number in range(6)]
    _sql(tmp_path, "DELETE FROM memories WHERE key > 1; DELETE FROM vectors WHERE key > 1")
    before = files_in(tmp_path)
    with open_memory(tmp_path) as memory:
        assert memory.check().counts[Flaw.LONE_FILE] == 10
        assert memory.check(repair=True).mended
        assert {row.id for row in memory.iterate()} == set(ids)
        assert memory.latent(ids[5]) == b"numbers 5"
        assert sorted(memory.needs_embedding(9)) == sorted(ids[1:])
        assert memory.check().whole
    assert files_in(tmp_path) == before


def test_pictures_that_get_a_row_again_keep_the_memory_within_its_limits(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        for number in range(6):
            added(memory, new(number))
    _sql(tmp_path, "DELETE FROM memories WHERE key > 2")
    with open_memory(tmp_path, limits=MemoryLimits(3, 10**9)) as memory:
        memory.check(repair=True)
        assert memory.size == 3
        assert memory.check().whole


def test_the_same_picture_under_another_suffix_is_set_aside(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        row = memory.get(added(memory, new(1)))
        assert row is not None
        copy = (tmp_path / row.picture).with_suffix(".jpg")
        copy.write_bytes((tmp_path / row.picture).read_bytes())
        assert memory.check(repair=True).mended
        assert memory.check().whole
        assert memory.picture(row.id) == picture(1)
    assert len(list(tmp_path.glob("*.jpg.corrupt.*"))) == 1


def test_sizes_alone_are_compared_where_contents_are_not_wished_for(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        row = memory.get(added(memory, new(1)))
        assert row is not None
        _other_bytes(tmp_path, row)
        assert memory.check(contents=False).whole
        (tmp_path / row.picture).write_bytes(b"short")
        assert not memory.check(contents=False).whole


def test_files_of_others_are_told_and_left(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        strange = tmp_path / "pictures" / "ab" / "holiday.png"
        strange.parent.mkdir(parents=True)
        strange.write_bytes(picture(1))
        found = memory.check(repair=True)
        assert dict(found.counts) == {Flaw.STRANGE_FILE: 1}
        assert found.whole
        assert strange.exists()


def test_the_row_that_leads_out_of_the_memory_reads_and_removes_nothing_there(tmp_path: Path) -> None:
    outside = tmp_path / "private.png"
    outside.write_bytes(picture(1))
    folder = tmp_path / "memory"
    with open_memory(folder) as memory:
        one = added(memory, new(1))
    _sql(folder, "UPDATE memories SET picture = '../private.png', latent = '../private.png'")
    with open_memory(folder) as memory:
        assert dict(memory.check().counts)[Flaw.ROW] == 1
        memory.check(repair=True)
        row = memory.get(one)
        assert row is not None
        assert (row.picture, row.latent) == (f"pictures/{one[:2]}/{one}.png", None)
        assert memory.check().whole
    assert outside.read_bytes() == picture(1)


def test_evicting_a_row_that_leads_out_of_the_memory_removes_nothing_there(tmp_path: Path) -> None:
    outside = tmp_path / "private.png"
    outside.write_bytes(picture(1))
    folder = tmp_path / "memory"
    with open_memory(folder) as memory:
        one = added(memory, new(1, identity=TINY))
    _sql(folder, "UPDATE memories SET picture = '../private.png', latent = '../private.png'")
    with open_memory(folder) as memory:
        memory.refuse_latent(one)
        assert memory.forget(one)
    assert outside.exists()
