"""One row whose columns hold what no program of ours writes: all others go on, and it is mended by name."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from backend.cache.check import Flaw
from backend.cache.database import DATABASE
from backend.cache.policy import MemoryLimits
from tests.cache.memories import GUARD_S, added, axis, files_in, new, open_memory

NOT_UTF8 = "CAST(x'ff61' AS TEXT)"
NESTED = f"'{'[' * 100_000}'"
ROTTEN = [
    *(f"{column} = {NOT_UTF8}" for column in ("id", "added_at", "theme", "prompt", "negative", "seed")),
    *(f"{column} = {NOT_UTF8}" for column in ("parents", "origin", "picture", "latent", "identity")),
    *(f"{column} = x'ff61'" for column in ("id", "prompt", "picture", "latent", "last_shown_at", "added_at")),
    *(f"{column} = 'abc'" for column in ("score", "denoise", "redundancy", "times_shown", "width", "pinned")),
    *(f"{column} = 'abc'" for column in ("bytes", "picture_bytes", "latent_bytes", "nearest_key", "latent")),
    *("bytes = -99999999999", "bytes = 9223372036854775807", "bytes = 1.5", "picture_bytes = 7"),
    *("score = 9e999", "redundancy = -9e999", "pinned = 5", "times_shown = -1", "key = -5"),
    *("parents = '5'", f"parents = {NESTED}", f"identity = {NESTED}", "identity = '{}'"),
    *('identity = \'["tiny", "1", [8]]\'', "seed = '-1'", "last_shown_at = 'yesterday'", "added_at = ''"),
]


def _sql(folder: Path, text: str) -> None:
    connection = sqlite3.connect(folder / DATABASE)
    with connection:
        connection.execute(text)
    connection.close()


@pytest.fixture
def ids(tmp_path: Path) -> list[str]:
    """Five memories, of which the second is pinned."""
    with open_memory(tmp_path) as memory:
        ids = [added(memory, new(n, prompt="a wave", latent=b"numbers %d" % n)) for n in range(5)]
        memory.pin(ids[1], True)
    return ids


@pytest.mark.parametrize("rotten", ROTTEN, ids=lambda text: text[:40])
def test_a_rotten_row_is_named_and_mended_while_all_others_go_on(
    tmp_path: Path, ids: list[str], rotten: str
) -> None:
    others = [one for one in ids if one != ids[1]]
    before = files_in(tmp_path)
    _sql(tmp_path, f"UPDATE memories SET {rotten} WHERE key = 2")
    with open_memory(tmp_path) as memory:
        assert memory.problem is None
        assert set(others) <= {row.id for row in memory.iterate()}
        assert set(others) <= {name for name, _ in memory.nearest(axis(0), 9)}
        assert all(memory.latent(one) for one in others)
        found = memory.check()
        assert found.counts[Flaw.ROW] == 1
        assert json.dumps([one.where for one in found.findings])
        assert memory.check(repair=True).mended
        assert memory.check().whole
        row = memory.get(ids[1])
        assert row is not None
        assert memory.latent(ids[1]) == b"numbers 1"
        assert row.pinned or "pinned" in rotten
        assert row.prompt == "a wave" or "prompt" in rotten
        assert memory.needs_embedding(9) == [ids[1]]
        assert memory.size == 5
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("rotten", [one for one in ROTTEN if "bytes" in one or "redundancy" in one])
def test_a_rotten_number_does_not_keep_the_memory_from_shrinking(
    tmp_path: Path, ids: list[str], rotten: str
) -> None:
    _sql(tmp_path, f"UPDATE memories SET {rotten} WHERE key IN (2, 3)")
    with open_memory(tmp_path, limits=MemoryLimits(3, 10**9)) as memory:
        assert memory.size == 3
        assert memory.get(ids[1]) is not None  # it is pinned
        memory.refuse_latent(ids[1])
        memory.make_room(10**6)
        assert {row.id for row in memory.iterate()} == {ids[1]}


def test_a_row_without_sense_keeps_no_other_from_being_embedded_again(tmp_path: Path, ids: list[str]) -> None:
    _sql(tmp_path, f"UPDATE memories SET prompt = {NOT_UTF8}, identity = '' WHERE key = 1")
    _sql(tmp_path, "UPDATE memories SET identity = '' WHERE key = 4")
    with open_memory(tmp_path) as memory:
        assert (
            memory.rebuild(lambda pictures: ([axis(6)] * len(pictures), [0.5] * len(pictures)), limit=1) == 1
        )
        assert memory.vector(ids[3]) is not None


def test_an_export_passes_over_rows_without_sense_and_tells_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.cache.transfer._PAGE", 2)
    with open_memory(tmp_path / "first") as memory:
        for number in range(7):
            added(memory, new(number))
    _sql(tmp_path / "first", f"UPDATE memories SET prompt = {NOT_UTF8} WHERE key IN (2, 3, 4)")
    with open_memory(tmp_path / "first") as memory:
        assert memory.export(tmp_path / "folder") == 4
    assert len((tmp_path / "folder" / "manifest.jsonl").read_text().splitlines()) == 5


def test_one_bit_of_any_text_in_the_file_leaves_a_memory_that_can_be_mended(
    tmp_path: Path, ids: list[str]
) -> None:
    data = (tmp_path / DATABASE).read_bytes()
    for number, text in enumerate((b"a wave", b"dreamt", ids[2].encode(), b"2026-")):
        at = data.index(text)
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / DATABASE).write_bytes(data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :])
        for kind in ("pictures", "latents"):
            (folder / kind).symlink_to(tmp_path / kind)
        with open_memory(folder) as memory:
            memory.check(repair=True)
            assert memory.wait_ready(GUARD_S)
            assert {row.id for row in memory.iterate()} == set(ids)
            assert memory.check().whole
