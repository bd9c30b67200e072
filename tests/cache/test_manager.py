from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from backend.cache.database import DATABASE
from backend.cache.matching import Identity
from backend.cache.memory_row import Added, NewMemory, Order, Origin, Refusal, Refused
from backend.cache.policy import MemoryLimits, Policy
from backend.cache.store import MemoryStore
from backend.errors import LatentRejected, PictureRejected, StorageError
from backend.utils import file_ops
from tests.cache.memories import (
    GUARD_S,
    TINY,
    Clock,
    added,
    axis,
    between,
    files_in,
    new,
    open_memory,
    picture,
)


def test_a_memory_gives_back_all_that_it_was_told(tmp_path: Path) -> None:
    facts = {
        "theme": "sea",
        "prompt": "a wave 波",
        "negative": "mud",
        "seed": 2**64 - 1,
        "parents": ("7", "8"),
        "denoise": 0.25,
        "score": 0.75,
        "shows_prompt": 0.125,
        "pinned": True,
        "latent": b"numbers",
    }
    with open_memory(tmp_path) as memory:
        one = added(memory, new(1, **facts))
    with open_memory(tmp_path) as memory:
        row = memory.get(one)
        assert row is not None
        told = {name: getattr(row, name) for name in facts if name != "latent"}
        assert told == {name: value for name, value in facts.items() if name != "latent"}
        assert (row.id, row.origin, row.identity) == (one, Origin.DREAMT, TINY)
        assert (row.width, row.height, row.times_shown, row.last_shown_at) == (8, 8, 0, None)
        assert row.added_at.startswith("2026-01-02T03:04:")
        assert memory.picture(one) == picture(1)
        assert memory.latent(one) == b"numbers"
        assert memory.nearest(axis(1), 3) == [(one, 1.0)]


def test_half_a_surrogate_in_a_prompt_does_not_stop_it_from_being_remembered(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        one = added(memory, new(1, prompt="half \ud800 a pair"))
        row = memory.get(one)
        assert row is not None
        assert row.prompt == "half ? a pair"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"origin": Origin.INJECTED}, Refusal.BLEND),
        ({}, Refusal.KNOWN),
        ({"picture": picture(99)}, Refusal.TOO_SIMILAR),
        ({"picture": picture(99), "embedding": axis(2), "score": 0.1}, Refusal.NOT_BEAUTIFUL),
        ({"picture": b"no picture"}, Refusal.UNFIT),
        ({"embedding": axis(2) * 2}, Refusal.UNFIT),
        ({"embedding": np.full(8, np.nan, np.float32)}, Refusal.UNFIT),
        ({"embedding": axis(2, 9)}, Refusal.UNFIT),
        ({"identity": Identity("other", "1", 8)}, Refusal.UNFIT),
        ({"identity": None}, Refusal.UNFIT),
        ({"score": float("nan")}, Refusal.UNFIT),
    ],
)
def test_what_may_not_enter_is_refused_by_name_and_leaves_nothing(
    tmp_path: Path, other: dict[str, object], reason: Refusal
) -> None:
    with open_memory(tmp_path, policy=Policy(admit_below=0.95, min_score=0.2)) as memory:
        added(memory, new(1))
        before = files_in(tmp_path)
        outcome = memory.add(new(1, **other))
        assert isinstance(outcome, Refused)
        assert outcome.reason is reason
        assert memory.size == 1
        assert files_in(tmp_path) == before


def test_a_refusal_tells_which_memory_is_too_near(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        added(memory, new(2))
        one = added(memory, new(1))
        outcome = memory.add(new(3, between(1, 4, 0.96)))
        assert isinstance(outcome, Refused)
        assert (outcome.nearest_id, round(outcome.similarity or 0, 3)) == (one, 0.96)


def test_one_near_picture_keeps_a_duplicate_out_however_different_all_others_are(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        for number in range(8):
            added(memory, new(number))
        outcomes = [memory.add(new(100 + number, axis(number))) for number in range(8)]
        assert [one.reason for one in outcomes if isinstance(one, Refused)] == [Refusal.TOO_SIMILAR] * 8


def test_a_seed_need_not_be_beautiful_and_a_pinned_one_not_even_different(tmp_path: Path) -> None:
    with open_memory(tmp_path, policy=Policy(admit_below=0.95, min_score=0.9)) as memory:
        added(memory, new(1, origin=Origin.SEED, score=0.0))
        added(memory, new(2, axis(1), pinned=True, score=0.0))
        assert memory.size == 2


def test_of_the_most_redundant_pair_the_less_beautiful_goes_first(tmp_path: Path) -> None:
    with open_memory(tmp_path, limits=MemoryLimits(4, 10**9)) as memory:
        lonely_and_ugly = added(memory, new(0, score=0.0))
        of_a_loose_pair = added(memory, new(1, axis(1), score=0.1))
        added(memory, new(2, between(1, 2, 0.5), score=0.1))
        plain = added(memory, new(3, axis(3), score=0.3))
        outcome = memory.add(new(4, between(3, 4, 0.9), score=0.6))
        assert isinstance(outcome, Added)
        assert outcome.evicted == (plain,)
        assert memory.get(lonely_and_ugly) is not None
        outcome = memory.add(new(5, axis(5), score=0.05))
        assert isinstance(outcome, Added)
        assert outcome.evicted == (of_a_loose_pair,)


def test_a_full_memory_refuses_what_would_be_the_first_to_go(tmp_path: Path) -> None:
    with open_memory(tmp_path, limits=MemoryLimits(2, 10**9)) as memory:
        ids = {added(memory, new(0, score=0.5)), added(memory, new(1, score=0.5))}
        outcome = memory.add(new(2, between(0, 2, 0.9), score=0.4))
        assert isinstance(outcome, Refused)
        assert outcome.reason is Refusal.FULL
        assert {row.id for row in memory.iterate()} == ids


def test_one_whose_only_neighbour_has_gone_is_redundant_no_more(tmp_path: Path) -> None:
    with open_memory(tmp_path, limits=MemoryLimits(4, 10**9)) as memory:
        first = added(memory, new(0, axis(0), score=0.5))
        second = added(memory, new(1, between(0, 1, 0.9), score=0.4))
        added(memory, new(2, axis(2), score=0.3))
        loose = added(memory, new(3, between(2, 3, 0.5), score=0.2))
        assert memory.forget(second)
        added(memory, new(4, axis(4), score=0.9))
        outcome = memory.add(new(5, axis(5), score=0.9))
        assert isinstance(outcome, Added)
        assert outcome.evicted == (loose,)
        assert memory.get(first) is not None


def test_pinned_memories_are_never_evicted_and_let_go_when_unpinned(tmp_path: Path) -> None:
    with open_memory(tmp_path, limits=MemoryLimits(2, 10**9)) as memory:
        ids = [added(memory, new(number, score=0.0, pinned=True)) for number in range(2)]
        outcome = memory.add(new(2, score=1.0))
        assert isinstance(outcome, Refused)
        assert outcome.reason is Refusal.FULL
        assert memory.pin(ids[1], False)
        outcome = memory.add(new(2, score=1.0))
        assert isinstance(outcome, Added)
        assert outcome.evicted == (ids[1],)


def test_entries_and_bytes_stay_within_their_limits_and_files_go_with_rows(tmp_path: Path) -> None:
    limits = MemoryLimits(1000, 40_000)
    random = np.random.default_rng(5)
    with open_memory(tmp_path, limits=limits) as memory:
        for number in range(60):
            vector = random.normal(size=8)
            memory.add(
                new(number, (vector / np.linalg.norm(vector)).astype(np.float32), latent=bytes(1000 + number))
            )
            assert memory.bytes <= limits.max_bytes
        assert 5 < memory.size < 40
        rows = memory.iterate(0, 1000)
        assert files_in(tmp_path) == {path for row in rows for path in (row.picture, row.latent) if path}
        assert memory.check().whole


def test_limits_that_were_lowered_are_kept_after_the_next_opening(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        pinned = added(memory, new(0, score=0.0, pinned=True))
        for number in range(1, 8):
            added(memory, new(number))
            added(memory, new(number + 100, between(number, 0, 0.9), score=0.4))
    with open_memory(tmp_path, limits=MemoryLimits(8, 10**9)) as memory:
        assert memory.size == 8
        assert memory.get(pinned) is not None
        # Of each pair one is left.
        found = [similarity for number in range(8) for _, similarity in memory.nearest(axis(number), 1)]
        assert min(found) > 0.85
        assert memory.check().whole


def test_neighbours_and_bands_are_told_with_their_similarity(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        near, far = added(memory, new(1, between(0, 1, 0.9))), added(memory, new(2, between(0, 2, 0.4)))
        assert [(one, round(value, 3)) for one, value in memory.nearest(axis(0), 5)] == [
            (near, 0.9),
            (far, 0.4),
        ]
        assert [one for one, _ in memory.band(axis(0), 0.3, 0.6, 5)] == [far]
        assert memory.forget(near)
        assert [one for one, _ in memory.nearest(axis(0), 5)] == [far]


def test_lists_come_in_the_order_asked_for(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        ids = [added(memory, new(number, score=score)) for number, score in enumerate((0.2, 0.9, 0.5))]
        assert memory.shown(ids[2])
        orders = {order: [ids.index(row.id) for row in memory.iterate(0, 9, order)] for order in Order}
        assert orders == {
            Order.NEWEST: [2, 1, 0],
            Order.OLDEST: [0, 1, 2],
            Order.BEAUTY: [1, 2, 0],
            Order.SHOWN: [2, 1, 0],
        }
        assert [row.id for row in memory.iterate(1, 1, Order.OLDEST)] == [ids[1]]
        row = memory.get(ids[2])
        assert row is not None
        assert (row.times_shown, row.last_shown_at is not None) == (1, True)


def test_what_is_not_there_is_no_error_to_pin_show_or_forget(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        changed = [memory.pin("0" * 64, True), memory.shown("0" * 64), memory.forget("0" * 64)]
        assert not any(changed)
        assert memory.get("0" * 64) is None
        with pytest.raises(PictureRejected):
            memory.picture("0" * 64)


def test_a_picture_whose_bytes_changed_is_set_aside_and_forgotten(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        one = added(memory, new(1, latent=b"numbers"))
        row = memory.get(one)
        assert row is not None
        (tmp_path / row.picture).write_bytes(picture(1)[:-20])
        with pytest.raises(PictureRejected):
            memory.picture(one)
        assert memory.get(one) is None
        assert memory.nearest(axis(1), 1) == []
        assert len(list(tmp_path.glob("*.corrupt.*"))) == 1
        assert memory.check().whole


def test_a_latent_that_is_damaged_or_refused_is_set_aside_and_the_picture_stays(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        ids = [added(memory, new(number, latent=b"numbers")) for number in range(5)]
        damaged = memory.get(ids[0])
        assert damaged is not None
        assert damaged.latent is not None
        (tmp_path / damaged.latent).write_bytes(b"")
        with pytest.raises(LatentRejected):
            memory.latent(ids[0])
        for one in ids[1:]:
            memory.refuse_latent(one)
        assert all(memory.latent(one) is None and memory.picture(one) for one in ids)
        assert len(list(tmp_path.glob("*.corrupt.*"))) == 3
        assert memory.check().whole


def test_rows_of_another_identity_wait_to_be_embedded_and_are_not_compared(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        ids = [added(memory, new(number)) for number in range(3)]
    other = Identity("tiny", "2", 4)
    with open_memory(tmp_path, identity=other) as memory:
        assert memory.nearest(axis(0, 4), 5) == []
        assert sorted(memory.needs_embedding(10)) == sorted(ids)
        assert len(memory.needs_embedding(2)) == 2
        assert memory.set_embedding(ids[0], axis(2, 4), other, 0.875)
        assert not memory.set_embedding(ids[1], axis(2), TINY, 0.5)
        assert memory.nearest(axis(2, 4), 5) == [(ids[0], 1.0)]
        row = memory.get(ids[0])
        assert row is not None
        assert (row.identity, row.score) == (other, 0.875)
        with pytest.raises(ValueError, match="no embedding"):
            memory.set_embedding(ids[1], axis(2, 4) * 3, other, 0.5)
    with open_memory(tmp_path, identity=other) as memory:
        assert memory.nearest(axis(2, 4), 5) == [(ids[0], 1.0)]
        assert memory.check().whole


def test_another_matcher_can_take_over_while_the_memory_is_open(tmp_path: Path) -> None:
    other = Identity("other", "1", 4)
    with open_memory(tmp_path) as memory:
        one = added(memory, new(1))
        memory.use(other)
        assert memory.wait_ready(GUARD_S)
        two = added(memory, new(2, axis(1, 4), identity=other))
        assert memory.nearest(axis(1, 4), 5) == [(two, 1.0)]
        assert memory.needs_embedding(5) == [one]
        memory.use(TINY, Policy(admit_below=0.5))
        assert memory.wait_ready(GUARD_S)
        assert memory.nearest(axis(1), 5) == [(one, 1.0)]
        outcome = memory.add(new(3, between(1, 3, 0.6)))
        assert isinstance(outcome, Refused)
        assert outcome.reason is Refusal.TOO_SIMILAR


def test_rebuild_embeds_what_needs_it_and_sets_aside_what_no_decoder_takes(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        ids = [added(memory, new(number)) for number in range(5)]

    def embed(pictures: object) -> tuple[np.ndarray, np.ndarray]:
        assert isinstance(pictures, list)
        if picture(3) in pictures:
            raise PictureRejected("broken", "this one")
        return np.stack([axis(0, 4)] * len(pictures)), np.full(len(pictures), 0.25, np.float32)

    with open_memory(tmp_path, identity=Identity("other", "1", 4)) as memory:
        assert memory.rebuild(embed, limit=1) in (0, 1)
        memory.rebuild(embed)
        assert memory.needs_embedding(9) == []
        assert {row.id for row in memory.iterate()} == set(ids) - {ids[3]}
        assert len(memory.nearest(axis(0, 4), 9)) == 4
        assert memory.rebuild(embed, everything=True) == 4


def test_a_full_disk_costs_the_new_memory_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_memory(tmp_path, limits=MemoryLimits(2, 10**9)) as memory:
        kept = [added(memory, new(number, latent=b"numbers")) for number in range(2)]
        before = files_in(tmp_path)
        real, calls = os.write, []

        def write(descriptor: int, data: bytes) -> int:
            calls.append(len(data))
            if len(calls) == 2:  # the picture is written, its latent is not
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(descriptor, data)

        monkeypatch.setattr(file_ops.os, "write", write)
        with pytest.raises(StorageError) as caught:
            memory.add(new(2, latent=b"more numbers", score=0.9))
        monkeypatch.undo()
        assert caught.value.full
        assert files_in(tmp_path) == before
        assert {row.id for row in memory.iterate()} == set(kept)
        assert memory.check().whole
        assert isinstance(memory.add(new(2, latent=b"more numbers", score=0.9)), Added)


def test_a_database_that_cannot_grow_costs_the_new_memory_and_nothing_else(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        kept = added(memory, new(0))
        before = files_in(tmp_path)
        writer = memory._keeper.store._writer
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(StorageError) as caught:
            memory.add(new(1, prompt="words " * 100_000))
        assert caught.value.full
        assert files_in(tmp_path) == before
        assert [row.id for row in memory.iterate()] == [kept]
        assert memory.nearest(axis(1), 1) == [(kept, 0.0)]
        assert memory.check().whole
        writer.execute("PRAGMA max_page_count=1000000")
        added(memory, new(1, prompt="words " * 100_000))


def test_files_of_a_commit_that_the_disk_failed_stay_until_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_memory(tmp_path) as memory:

        def insert(*_: object) -> int:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error

        monkeypatch.setattr(memory._keeper.store, "insert", insert)
        with pytest.raises(StorageError) as caught:
            memory.add(new(0))
        monkeypatch.undo()
        assert (caught.value.errno, caught.value.full) == (errno.EIO, False)
        (left,) = files_in(tmp_path)
        assert memory.check(repair=True).counts
        assert [row.picture for row in memory.iterate()] == [left]


def test_a_page_beyond_all_numbers_is_empty(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        added(memory, new(0))
        assert memory.iterate(10**30) == []


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    open_memory(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StorageError, match="newer"):
        open_memory(tmp_path)
    assert not list(tmp_path.glob("*.corrupt.*"))


def test_opening_returns_at_once_and_adds_meanwhile_are_kept_and_compared_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_memory(tmp_path) as memory:
        old = added(memory, new(0, score=0.9))
        ugly = added(memory, new(3, score=0.05))
    go = threading.Event()
    monkeypatch.setattr(MemoryStore, "check", lambda _: None if go.wait(GUARD_S) else "nobody let it go")
    with open_memory(tmp_path, wait=False, limits=MemoryLimits(3, 10**9)) as memory:
        try:
            assert not memory.ready
            assert memory.nearest(axis(0), 5) == []
            early = added(memory, new(1, between(0, 1, 0.9), score=0.1))
            assert memory.nearest(axis(1), 5)[0][0] == early
        finally:
            go.set()
        assert memory.wait_ready(GUARD_S)
        assert len(memory.nearest(axis(0), 5)) == 3
        # The one that came early is known to be near the old one now.
        outcome = memory.add(new(2, axis(2), score=0.5))
        assert isinstance(outcome, Added)
        assert outcome.evicted == (early,)
        assert {row.id for row in memory.iterate()} == {old, ugly, outcome.id}


def test_a_closed_memory_says_so(tmp_path: Path) -> None:
    memory = open_memory(tmp_path)
    memory.close()
    memory.close()
    with pytest.raises(ValueError, match="closed"):
        memory.add(new(1))


def test_two_threads_that_add_the_same_picture_add_it_once(tmp_path: Path) -> None:
    with open_memory(tmp_path, clock=Clock()) as memory:
        outcomes: list[Added | Refused] = []

        def add(one: NewMemory) -> None:
            outcomes.append(memory.add(one))

        threads = [threading.Thread(target=add, args=[new(number % 4)]) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(GUARD_S)
        assert sum(isinstance(outcome, Added) for outcome in outcomes) == 4
        assert memory.size == 4
        assert memory.check().whole


def test_other_limits_hold_at_once_and_what_is_over_them_goes(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        for number, vector in enumerate(np.random.default_rng(1).normal(size=(200, 8)).astype(np.float32)):
            memory.add(new(number, vector / np.linalg.norm(vector)))
        many = memory.size
        assert many > 90
        memory.limit(MemoryLimits(max_entries=10, max_bytes=10**9))
        until = time.monotonic() + GUARD_S
        while memory.size != 10 and time.monotonic() < until:
            threading.Event().wait(0.01)
        assert (memory.size, memory.ready) == (10, True)
        memory.limit(MemoryLimits(max_entries=10_000, max_bytes=10**9))
        memory.add(new(999, axis(0)))
        assert memory.size == 11
