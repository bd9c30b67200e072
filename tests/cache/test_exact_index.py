"""The exact index answers as looking at everything in float64 does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.cache import exact_index, vector_block
from backend.cache.exact_index import ExactIndex
from backend.cache.vectors import Found, Vectors
from tests.cache.brute_force import brute_force, dreams, unit


@pytest.fixture(autouse=True)
def _small_blocks() -> Iterator[None]:
    """Blocks of sixteen, so that a few vectors already make many of them."""
    with (
        mock.patch.multiple(vector_block, ROWS=16, _REFIT_AFTER=4, _PLANE_SHARE=4),
        mock.patch.multiple(exact_index, ROWS=16, _FIRST_LOOK=4),
    ):
        yield


def same(found: Found, expected: Found) -> bool:
    return np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])


_STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "add_many"]), st.integers(0, 40), st.integers(0, 60)),
    max_size=60,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=_STEPS,
    dimension=st.sampled_from([3, 24, 100]),
    k=st.integers(0, 12),
    limits=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
)
def test_it_finds_what_looking_at_everything_finds(
    steps: list[tuple[str, int, int]], dimension: int, k: int, limits: tuple[float, float]
) -> None:
    pool, query = dreams(61, dimension, seed=1), dreams(1, dimension, seed=2)[0]
    index, held = ExactIndex(dimension), dict[int, Vectors]()
    for step, key, which in steps:
        if step == "remove":
            index.remove(key)
            held.pop(key, None)
        elif step == "add":
            index.add(key, pool[which])
            held[key] = pool[which]
        else:
            keys = np.arange(key, key + which // 2)
            index.add_many(keys, pool[: len(keys)])
            held.update(zip(keys.tolist(), pool, strict=False))
    low, high = min(limits), max(limits)
    assert len(index) == len(held)
    assert same(index.nearest(query, k), brute_force(held, query, k))
    assert same(index.band(query, low, high, k), brute_force(held, query, k, low, high))


def test_equal_vectors_come_in_the_order_of_their_keys_wherever_they_lie() -> None:
    pool = dreams(200, 64)
    index = ExactIndex(64)
    index.add_many(np.arange(200)[::-1].copy(), np.repeat(pool[:4], 50, axis=0))
    for key in range(0, 200, 7):
        index.remove(key)
    keys, similarities = index.nearest(pool[3], 20)
    assert keys.tolist() == [key for key in range(50) if key % 7][:20]
    assert len(set(similarities.tolist())) == 1


def test_vectors_without_any_order_are_found_too() -> None:
    rows = unit(np.random.default_rng(5).standard_normal((300, 64)).astype(np.float32))
    index = ExactIndex(64)
    index.add_many(np.arange(300), rows)
    held = dict(enumerate(rows))
    for query in rows[:5]:
        assert same(index.nearest(-query, 9), brute_force(held, -query, 9))
        assert same(index.band(query, -0.1, 0.1, 9), brute_force(held, query, 9, -0.1, 0.1))


def test_dream_like_vectors_are_mostly_not_looked_at() -> None:
    rows = dreams(2000, 64)
    index, looked_at = ExactIndex(64), list[int]()
    index.add_many(np.arange(2000), rows)
    whole = ExactIndex._similarities
    with mock.patch.object(
        ExactIndex,
        "_similarities",
        lambda self, query, picked: looked_at.append(len(picked)) or whole(self, query, picked),
    ):
        index.nearest(rows[700], 5)
    assert sum(looked_at) < 400


@pytest.fixture
def _coarse_forms() -> Iterator[None]:
    """Four directions for sixteen vectors, which tell little of what fills all sixty-four."""
    with mock.patch.object(vector_block, "_PLANE_SHARE", 16):
        yield


def _tries(index: ExactIndex, queries: Vectors, **band: float) -> int:
    """Queries that look at short forms first."""
    tried, promising = list[object](), ExactIndex._promising
    with mock.patch.object(
        ExactIndex,
        "_promising",
        lambda self, *asked: tried.append(asked) or promising(self, *asked),
    ):
        for query in queries:
            index.band(query, band.get("low", -np.inf), band.get("high", np.inf), 5)
    return len(tried)


@pytest.mark.usefixtures("_coarse_forms")
def test_where_nothing_can_be_spared_queries_soon_stop_trying() -> None:
    rows = unit(np.random.default_rng(5).standard_normal((600, 64)).astype(np.float32))
    index = ExactIndex(64)
    index.add_many(np.arange(600), rows)
    assert _tries(index, rows[:100]) <= 8
    assert _tries(index, rows[:100], low=-0.1, high=0.1) <= 8
    held = dict(enumerate(rows))
    assert same(index.nearest(rows[7], 9), brute_force(held, rows[7], 9))
    assert same(index.band(rows[7], -0.1, 0.1, 9), brute_force(held, rows[7], 9, -0.1, 0.1))


@pytest.mark.usefixtures("_coarse_forms")
def test_where_much_can_be_spared_again_queries_try_again() -> None:
    noise = unit(np.random.default_rng(5).standard_normal((600, 64)).astype(np.float32))
    dream, index = dreams(2000, 64), ExactIndex(64)
    index.add_many(np.arange(600), noise)
    assert _tries(index, noise[:100]) <= 8
    for key in range(600):
        index.remove(key)
    index.add_many(np.arange(2000), dream)
    assert _tries(index, dream[:100]) >= 50


def test_a_band_that_holds_much_is_one_look_at_all() -> None:
    rows = dreams(2000, 64)
    index, looks = ExactIndex(64), list[object]()
    index.add_many(np.arange(2000), rows)
    whole = ExactIndex._similarities
    with mock.patch.object(
        ExactIndex,
        "_similarities",
        lambda self, query, picked: looks.append(picked) or whole(self, query, picked),
    ):
        for query in rows[:20]:
            index.band(query, 0.2, 0.5, 16)
    assert len(looks) == 20


def test_a_band_holds_both_its_ends() -> None:
    index = ExactIndex(4)
    index.add_many(np.arange(3), np.eye(4, dtype=np.float32)[:3])
    query = np.eye(4, dtype=np.float32)[1]
    assert index.band(query, 1.0, 1.0, 5)[0].tolist() == [1]
    assert index.band(query, 0.0, 0.0, 5)[0].tolist() == [0, 2]
    assert index.band(query, 0.2, 0.1, 5)[0].tolist() == []


def test_what_it_answers_is_a_copy_of_its_own() -> None:
    row = dreams(1, 8)
    index = ExactIndex(8)
    index.add(1, row[0])
    row *= -1
    assert index.nearest(-row[0], 1)[1][0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("key", "vector", "said"),
    [
        (1, np.ones(8, np.float32), "length 2.828"),
        (1, np.zeros(8, np.float32), "length 0"),
        (1, np.full(8, np.nan, np.float32), "length nan"),
        (1, np.eye(9, dtype=np.float32)[0], r"shape \(1, 9\), not \(1, 8\)"),
        (-1, np.eye(8, dtype=np.float32)[0], "key -1 is below 0"),
    ],
)
def test_what_is_no_unit_vector_is_refused(key: int, vector: Vectors, said: str) -> None:
    index = ExactIndex(8)
    with pytest.raises(ValueError, match=said):
        index.add(key, vector)
    assert len(index) == 0


def test_half_precision_is_brought_back_to_length_one() -> None:
    half = dreams(1, 512)[0].astype(np.float16)
    index = ExactIndex(512)
    index.add(3, half)
    assert index.band(half, 0.999999, 1.0, 1)[0].tolist() == [3]


def test_it_is_asked_and_changed_from_several_threads() -> None:
    rows = dreams(400, 64)
    index, wrong = ExactIndex(64), list[object]()
    index.add_many(np.arange(200), rows[:200])

    def change() -> None:
        for key in range(200, 400):
            index.add(key, rows[key])
            index.remove(key - 100)

    def ask() -> None:
        for key in range(100):
            keys, _ = index.nearest(rows[key], 1)
            if keys.tolist() != [key]:
                wrong.append((key, keys))

    threads = [threading.Thread(target=work) for work in (change, ask, ask)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not wrong
    assert len(index) == 200
