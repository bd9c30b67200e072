from __future__ import annotations

import math

import pytest

from backend.interpolation.gap_length import LONGEST, USUAL_SPREAD, stretch


@pytest.mark.parametrize("angle", [0.0, 0.3, 0.5, 0.5 * USUAL_SPREAD])
def test_a_walk_that_turns_no_farther_than_the_dream_does_takes_the_usual_time(angle: float) -> None:
    assert stretch(angle, usual=0.5) == 1.0


def test_a_walk_that_turns_farther_is_as_fast_as_the_fastest_usual_one() -> None:
    usual = 0.1
    for angle in (0.15, 0.2, 0.35):
        assert angle / stretch(angle, usual) == pytest.approx(USUAL_SPREAD * usual)


def test_no_gap_grows_without_bound() -> None:
    assert stretch(3.0, usual=0.01) == LONGEST


@pytest.mark.parametrize(("angle", "usual"), [(1.0, 0.0), (math.nan, 0.1), (math.inf, 0.1)])
def test_what_is_not_known_stretches_nothing(angle: float, usual: float) -> None:
    assert stretch(angle, usual) == 1.0
