from __future__ import annotations

import pytest

from backend.interpolation.usual_length import UsualLength


def after(*lengths: float) -> UsualLength:
    usual = UsualLength()
    for length in lengths:
        usual.share(length)
    return usual


def test_the_first_gap_is_as_long_as_usual() -> None:
    assert UsualLength().share(7.0) == 1.0


def test_a_gap_is_told_as_a_share_of_the_median() -> None:
    assert after(10.0, 10.0, 12.0, 8.0).share(20.0) == pytest.approx(2.0)


def test_one_gap_in_which_much_happens_does_not_shorten_the_next() -> None:
    assert after(*[10.0] * 8, 80.0).share(10.0) == pytest.approx(1.0)


def test_a_dream_that_has_become_another_one_has_another_usual_length_within_a_few_gaps() -> None:
    usual = after(*[10.0] * 50)
    shares = [usual.share(25.0) for _ in range(5)]
    assert shares[:4] == pytest.approx([2.5] * 4)
    assert shares[4] == pytest.approx(1.0)


def test_a_gap_of_nothing_is_no_division_by_zero() -> None:
    assert after(0.0, 0.0).share(0.0) == 1.0
