from __future__ import annotations

import pytest

from backend.interpolation.looks import Step
from backend.interpolation.usual_length import UsualLength, UsualPace


def after(*lengths: float) -> UsualLength:
    usual = UsualLength()
    for length in lengths:
        usual.usual(length)
    return usual


def pace(gaps: int, *steps: Step) -> UsualPace:
    """After so many gaps that were all like this one."""
    usual = UsualPace()
    for _ in range(gaps):
        usual.shares(steps)
    return usual


EVEN = (Step(3.0, 2.0),) * 5


def test_the_first_length_is_the_usual_one() -> None:
    assert UsualLength().usual(7.0) == 7.0


def test_what_is_usual_is_the_median() -> None:
    assert after(10.0, 10.0, 12.0, 8.0).usual(20.0) == pytest.approx(10.0)


def test_one_gap_in_which_much_happens_does_not_shorten_the_next() -> None:
    assert after(*[10.0] * 8, 80.0).usual(10.0) == pytest.approx(10.0)


def test_a_dream_that_has_become_another_one_has_another_usual_length_within_a_dozen_gaps() -> None:
    usual = after(*[10.0] * 50)
    told = [usual.usual(25.0) for _ in range(12)]
    assert told == pytest.approx([10.0] * 11 + [25.0])


def test_the_steps_of_a_gap_like_most_others_are_one_gap_together() -> None:
    assert pace(5, *EVEN).shares(EVEN) == pytest.approx([0.2] * 5)


def test_a_gap_in_which_twice_as_much_moves_counts_twice() -> None:
    assert pace(20, *EVEN).shares((Step(6.0, 2.0),) * 5) == pytest.approx([0.4] * 5)


def test_masses_that_change_without_any_edge_take_their_time_too() -> None:
    glow = (*EVEN[1:], Step(1.0, 9.0))
    told = pace(20, *EVEN).shares(glow)
    assert told is not None
    assert sum(told) == pytest.approx(1.7 / 1.2)
    assert told[4] > 2.0 * told[3]


def test_a_gap_in_which_hardly_anything_moves_is_short() -> None:
    assert pace(20, *EVEN).shares((Step(0.3, 0.2),) * 5) == pytest.approx([0.02] * 5)


def test_a_gap_is_hardly_shorter_if_its_masses_of_light_change_as_usual() -> None:
    assert pace(20, *EVEN).shares((Step(1.5, 2.0),) * 5) == pytest.approx([0.2 / 1.2] * 5)


def test_a_gap_of_nothing_is_no_division_by_zero() -> None:
    nothing = (Step(0.0, 0.0),) * 4
    assert pace(3, *nothing).shares(nothing) == [0.25] * 4


def test_pictures_of_other_sizes_leave_what_is_usual_as_it_was() -> None:
    usual = pace(5, *EVEN)
    assert usual.shares((*EVEN[1:], Step(float("inf"), float("inf")))) is None
    assert usual.shares(EVEN) == pytest.approx([0.2] * 5)


def test_turns_take_their_time_however_many_there_are_in_a_row() -> None:
    usual, turn = pace(20, *EVEN), (Step(9.0, 6.0),) * 5
    for _ in range(9):
        assert usual.shares(turn, learn=False) == pytest.approx([0.6] * 5)
    assert usual.shares(EVEN) == pytest.approx([0.2] * 5)


def test_after_a_turn_masses_of_light_go_no_faster_than_usual() -> None:
    glow = (*EVEN[1:], Step(1.0, 9.0))
    told = pace(20, *EVEN).shares(glow, gently=True)
    assert told == pytest.approx([*[0.2] * 4, 0.9])
