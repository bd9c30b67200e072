"""The table of queries compares like with like."""

from __future__ import annotations

from unittest import mock

import numpy as np

from benchmarks import memory_query


def test_dream_like_vectors_are_unlike_between_themes_and_like_within() -> None:
    rows = memory_query.dream_like(3000, 1)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
    assert (rows[:500] @ rows[:500].T).mean() > 0.8
    assert (rows[:500] @ rows[1000:1500].T).mean() < 0.75


def test_both_find_the_same_and_are_timed() -> None:
    rows = memory_query.dream_like(3000, 1)
    done = memory_query.compare(rows, memory_query.queries(rows, 5))
    assert done.same
    assert min(done.ours_ms, done.plain_ms, done.product_ms, done.band_ms) > 0


def test_an_index_that_grows_is_asked_until_all_is_in_it() -> None:
    rows = memory_query.dream_like(1500, 1)
    done = memory_query.grow(rows, memory_query.queries(rows, 50), exact_limit=500)
    assert done.recall > 0.9
    assert len(done.asked) == 50
    assert done.growing
    assert done.build_s > 0
    assert done.graph_mb > 1500 * 512 * 3 / 2**20


def test_the_true_nearest_are_found_part_by_part() -> None:
    rows = memory_query.random(700, 1)
    asked = memory_query.queries(rows, 20)
    with mock.patch.object(memory_query, "_PART", 300):
        found = memory_query._nearest_of_all(rows, asked)
    expected = [memory_query.plain(rows, query)[0] for query in asked]
    assert [set(one) for one in found.tolist()] == [set(one.tolist()) for one in expected]
