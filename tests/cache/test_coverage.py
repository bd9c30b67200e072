from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from backend.cache.coverage import effective_number, lag_profile, measure, similarities
from tests.cache.streams import healthy, oscillation, unit


def test_the_effective_number_of_copies_is_1_and_of_unlike_pictures_their_count() -> None:
    copies, unlike = np.tile(unit(np.ones(16)), (10, 1)), np.eye(16, dtype=np.float32)[:10]
    assert effective_number(similarities(copies), 0.05) == pytest.approx(1.0)
    assert effective_number(similarities(unlike), 0.05) == pytest.approx(10.0, rel=1e-3)


def test_two_pictures_many_times_are_two() -> None:
    two = np.eye(8, dtype=np.float32)[[0, 1] * 12]
    assert effective_number(similarities(two), 0.05) == pytest.approx(2.0, rel=1e-3)


def test_the_order_of_a_window_changes_neither_number_nor_dispersion() -> None:
    window = np.stack(list(islice(healthy(1), 24)))
    shuffled = np.random.default_rng(0).permutation(window)
    one, other = measure(window, 0.15), measure(shuffled, 0.15)
    assert one.effective_number == pytest.approx(other.effective_number)
    assert one.dispersion == pytest.approx(other.dispersion)
    assert other.step > 1.3 * one.step


def test_dispersion_is_the_mean_distance_between_two_different_pictures() -> None:
    assert measure(np.eye(8, dtype=np.float32)[[0, 0, 1]], 0.1).dispersion == pytest.approx(2 / 3)


@pytest.mark.parametrize("dwell", [1, 2, 3, 5])
def test_a_swing_returns_and_a_walk_does_not(dwell: int) -> None:
    at = next(healthy(2))
    swing = measure(np.stack(list(islice(oscillation(3, at, dwell), 24))), 0.15)
    walk = measure(np.stack(list(islice(healthy(4), 24))), 0.15)
    assert swing.returning > 1.0 > 0.5 > walk.returning


def test_a_lag_profile_tells_how_alike_pictures_are_by_their_distance_in_time() -> None:
    two = np.eye(4, dtype=np.float32)[[0, 1] * 4]
    assert lag_profile(similarities(two)).tolist() == [0.0, 1.0, 0.0, 1.0]
