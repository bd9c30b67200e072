from __future__ import annotations

import math
from itertools import pairwise

import pytest

from backend.interpolation.gap_length import FAR, LONGEST, USUAL_SPREAD, stretch


@pytest.mark.parametrize("angle", [0.0, 0.3, 0.5, 0.5 * USUAL_SPREAD])
def test_a_walk_that_turns_no_farther_than_the_dream_does_takes_the_usual_time(angle: float) -> None:
    assert stretch(angle, usual=0.5) == 1.0


def test_a_walk_that_turns_far_is_shown_at_the_usual_speed() -> None:
    usual = 0.1
    for angle in (FAR * usual, 0.35, 0.59):
        assert angle / stretch(angle, usual) == pytest.approx(usual)


def test_in_between_the_gap_grows_evenly_and_without_a_jump() -> None:
    lengths = [stretch(0.001 * thousandth, usual=1.0) for thousandth in range(1000, 3000)]
    steps = [after - before for before, after in pairwise(lengths)]
    assert lengths[0] == 1.0
    assert all(0.0 <= step < 0.0015 for step in steps)


def test_no_gap_grows_without_bound() -> None:
    assert stretch(3.0, usual=0.01) == LONGEST


@pytest.mark.parametrize(("angle", "usual"), [(1.0, 0.0), (math.nan, 0.1), (math.inf, 0.1)])
def test_what_is_not_known_stretches_nothing(angle: float, usual: float) -> None:
    assert stretch(angle, usual) == 1.0
