"""What waits for the graph and what is in it are one index to whoever asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.cache import approximate_index
from backend.cache.approximate_index import ApproximateIndex
from backend.cache.vector_graph import VectorGraph
from backend.cache.vector_index import open_index
from backend.cache.vectors import Vectors
from tests.cache.brute_force import brute_force, dreams

_HANG_S = 20.0


@pytest.fixture(autouse=True)
def _hasty() -> Iterator[None]:
    with mock.patch.multiple(approximate_index, _BREATH_S=0.0, _AFTER_FAILURE_S=0.01):
        yield


def stepped(rows: Vectors, exact_limit: int) -> ApproximateIndex:
    """An index that moves vectors when it is told to."""
    index = ApproximateIndex(rows.shape[1], exact_limit, threaded=False)
    index.add_many(np.arange(len(rows)), rows)
    return index


def moved(index: ApproximateIndex) -> ApproximateIndex:
    while index.turn():
        pass
    assert not index.waiting
    return index


def recall(index: ApproximateIndex, rows: Vectors, first_key: int = 0) -> float:
    """Share of the ten nearest that are found, over 100 queries."""
    held = dict(enumerate(rows, first_key))
    queries = dreams(100, rows.shape[1], seed=7) * 0.3 + rows[:: len(rows) // 100][:100]
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    found = [
        len(np.intersect1d(index.nearest(query, 10)[0], brute_force(held, query, 10)[0])) for query in queries
    ]
    return sum(found) / 1000


def test_up_to_the_limit_it_is_exact_and_no_thread_runs() -> None:
    rows = dreams(200, 64)
    index, threads = open_index(64, exact_limit=200), threading.active_count()
    index.add_many(np.arange(200), rows)
    keys, similarities = index.nearest(rows[50], 10)
    expected = brute_force(dict(enumerate(rows)), rows[50], 10)
    assert threading.active_count() == threads
    assert keys.tolist() == expected[0].tolist()
    assert similarities.tolist() == expected[1].tolist()
    index.close()


def test_the_graph_finds_nearly_all_of_the_nearest() -> None:
    rows = dreams(3000, 64)
    assert recall(moved(stepped(rows, 100)), rows) >= 0.98


def test_after_many_have_gone_and_others_come_it_still_does() -> None:
    rows = dreams(3000, 64)
    index = moved(stepped(rows[:1500], 100))
    for key in range(1500):
        index.remove(key)
        index.add(1500 + key, rows[1500 + key])
        index.turn()
    assert len(moved(index)) == 1500
    assert recall(index, rows[1500:], first_key=1500) >= 0.95


@pytest.mark.parametrize("turns", [0, 1, 5, 20])
def test_at_every_stage_of_moving_each_vector_is_found_once(turns: int) -> None:
    rows = dreams(300, 64)
    index = stepped(rows, 100)
    for _ in range(turns):
        index.turn()
    assert len(index) == 300
    for key in range(0, 300, 11):
        keys, similarities = index.nearest(rows[key], 10)
        expected = brute_force(dict(enumerate(rows)), rows[key], 10)
        assert keys[0] == key
        assert len(set(keys.tolist())) == 10
        assert similarities == pytest.approx(expected[1], abs=1e-3)
        assert (np.diff(similarities) <= 0).all()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "remove", "turn"]), st.integers(0, 60), st.integers(0, 99)),
        max_size=150,
    )
)
def test_what_was_added_is_found_and_what_was_removed_is_not(steps: list[tuple[str, int, int]]) -> None:
    pool, held = dreams(100, 32), dict[int, Vectors]()
    index = ApproximateIndex(32, 8, threaded=False)
    with mock.patch.object(approximate_index, "_STEP_VECTORS", 5):
        for step, key, which in steps:
            if step == "add":
                index.add(key, pool[which])
                held[key] = pool[which]
            elif step == "remove":
                index.remove(key)
                held.pop(key, None)
            else:
                index.turn()
    assert len(index) == len(held)
    for query in pool[::25]:
        expected = brute_force(held, query, 100)
        for keys, near in (index.nearest(query, 100), index.band(query, -1.0, 1.0, 100)):
            assert sorted(keys.tolist()) == sorted(expected[0].tolist())
            assert near == pytest.approx(expected[1], abs=1e-3)


def test_a_band_far_from_the_nearest_is_answered_from_the_sample() -> None:
    rows = dreams(3000, 64)
    index = moved(stepped(rows, 100))
    with mock.patch.object(approximate_index, "_BAND_LOOK", 16):
        keys, near = index.band(rows[0], 0.2, 0.5, 5)
    assert len(keys) == 5
    assert ((near >= 0.2) & (near <= 0.5)).all()
    assert near == pytest.approx(rows[keys] @ rows[0], abs=1e-3)


def test_a_band_among_the_nearest_is_answered_with_the_most_similar_in_it() -> None:
    rows = dreams(3000, 64)
    index, held = moved(stepped(rows, 100)), dict(enumerate(rows))
    first = brute_force(held, rows[0], 30)[1]
    expected = brute_force(held, rows[0], 5, -1.0, float(first[20]) + 1e-4)
    assert index.band(rows[0], -1.0, float(first[20]) + 1e-4, 5)[1] == pytest.approx(expected[1], abs=1e-3)


def test_it_grows_beyond_the_limit_while_it_is_asked() -> None:
    rows = dreams(1500, 64)
    index, wrong, done = open_index(64, exact_limit=300), list[object](), threading.Event()
    index.add_many(np.arange(200), rows[:200])

    def ask() -> None:
        turn = 0
        while not done.is_set():
            key = turn * 37 % 200
            keys, similarities = index.nearest(rows[key], 5)
            if keys[0] != key or len(set(keys.tolist())) != 5 or not similarities[0] > 0.999:
                wrong.append((key, keys, similarities))
            turn += 1

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    for key in range(200, 1500):
        index.add(key, rows[key])
        if key % 3 == 0:
            index.remove(key - 1)
    until = time.monotonic() + _HANG_S
    while index.waiting and time.monotonic() < until:
        index.nearest(rows[0], 1)
    done.set()
    for thread in asking:
        thread.join(timeout=_HANG_S)
    assert not wrong
    assert len(index) == 1500 - 433
    assert index.waiting == 0
    index.close()


def test_whoever_asks_does_not_wait_for_who_changes_it() -> None:
    rows = dreams(300, 64)
    index, found = stepped(rows, 100), list[object]()
    index.turn()

    def ask() -> None:
        found.append(index.nearest(rows[5], 3)[0][0])
        found.append(len(index.band(rows[5], 0.0, 0.9, 3)[0]))

    with index._changing:
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(timeout=_HANG_S)
    assert found == [5, 3]


def test_whoever_brings_very_many_waits_for_the_graph() -> None:
    rows = dreams(600, 32)
    with mock.patch.object(approximate_index, "_WAITING_LIMIT", 64):
        index, most = ApproximateIndex(32, 20), 0
        for start in range(0, 600, 10):
            assert index.wait_for_room(_HANG_S)
            index.add_many(np.arange(start, start + 10), rows[start : start + 10])
            most = max(most, index.waiting)
        index.close()
    assert most <= 64 + 10
    assert len(index) == 600


def test_a_graph_that_fails_is_told_of_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    rows = dreams(200, 32)
    failing, add = threading.Event(), VectorGraph.add
    failing.set()

    def fail(self: VectorGraph, *what: object) -> None:
        if failing.is_set():
            raise MemoryError("no room for the graph")
        add(self, *what)  # type: ignore[arg-type]

    with mock.patch.object(VectorGraph, "add", fail):
        index, until = ApproximateIndex(32, 50), time.monotonic() + _HANG_S
        index.add_many(np.arange(200), rows)
        while index.problem is None and time.monotonic() < until:
            index.nearest(rows[0], 1)
        assert (index.problem or "").endswith("does not grow: no room for the graph")
        assert index.nearest(rows[150], 3)[0][0] == 150
        failing.clear()
        while (index.waiting or index.problem) and time.monotonic() < until:
            index.nearest(rows[0], 1)
    assert index.problem is None
    assert index.waiting == 0
    assert index.nearest(rows[150], 3)[0][0] == 150
    index.close()


def test_closing_ends_the_thread_though_much_waits() -> None:
    rows, before = dreams(3000, 64), threading.active_count()
    index = ApproximateIndex(64, 10)
    index.add_many(np.arange(3000), rows)
    index.close()
    assert threading.active_count() == before
