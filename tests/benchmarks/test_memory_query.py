"""The table of queries compares like with like."""

from __future__ import annotations

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
    assert min(done.ours_ms, done.plain_ms, done.band_ms) > 0


def test_an_index_that_grows_is_asked_until_all_is_in_it() -> None:
    rows = memory_query.dream_like(1500, 1)
    done = memory_query.grow(rows, memory_query.queries(rows, 50), exact_limit=500)
    assert done.recall > 0.9
    assert done.build_s > 0
