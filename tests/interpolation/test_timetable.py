from __future__ import annotations

import numpy as np
import pytest

from backend.interpolation.timetable import eased, even, perceived, shown_for


def test_even_frames_lie_between_the_keyframes_and_take_all_the_time() -> None:
    table = even(4, 2.0)
    assert table.places == (0.25, 0.5, 0.75)
    assert table.shown_s == (0.5,) * 4


def test_a_gap_of_one_frame_has_nothing_between() -> None:
    assert even(1, 4.0).places == ()
    assert even(1, 4.0).shown_s == (4.0,)


def test_eased_frames_leave_and_reach_the_keyframes_softly() -> None:
    places = np.array([0.0, *eased(40, 4.0).places, 1.0])
    steps = np.diff(places)
    assert steps[0] < 0.05 * steps.max()
    assert steps[-1] < 0.05 * steps.max()
    assert (steps > 0).all()


def test_frames_that_were_seen_stay_and_the_others_lie_thicker_where_more_happens() -> None:
    table = perceived((0.25, 0.5, 0.75), (1.0, 1.0, 4.0, 2.0), 40, 4.0)
    places = np.array([0.0, *table.places, 1.0])
    assert {0.25, 0.5, 0.75} <= set(table.places)
    assert len(table.places) == 39
    counts = np.histogram(places[:-1], [0.0, 0.25, 0.5, 0.75, 1.0])[0]
    assert counts.tolist() == [5, 5, 20, 10]


def test_steps_look_equal_afterwards() -> None:
    def seen(share: np.ndarray) -> np.ndarray:
        """How far one has come for the eye: slowly, then quickly, then slowly."""
        return 3 * share**2 - 2 * share**3 + 0.3 * share

    sketch = np.arange(1, 7) / 7
    steps = np.diff(seen(np.array([0.0, *sketch, 1.0])))
    table = perceived(sketch.tolist(), steps.tolist(), 40, 4.0)
    places = np.array([0.0, *table.places, 1.0])
    before = np.diff(seen(np.linspace(0, 1, 41)))
    after = np.diff(seen(places))
    assert after.std() / after.mean() < 0.4 * before.std() / before.mean()
    by_time = after / np.array(table.shown_s)
    assert by_time.std() / by_time.mean() < 0.3 * before.std() / before.mean()


def test_the_time_is_kept_whatever_was_seen() -> None:
    for steps in ((1.0, 5.0), (0.0, 1.0), (0.0, 0.0), (float("inf"), 1.0), (float("nan"), 1.0)):
        table = perceived((0.5,), steps, 10, 4.0)
        assert sum(table.shown_s) == pytest.approx(4.0)
        assert len(table.shown_s) == len(table.places) + 1 == 10
        assert list(table.places) == sorted(table.places)
        assert table.places[0] > 0.0
        assert table.places[-1] < 1.0


def test_a_stretch_in_which_nothing_is_seen_still_takes_a_frame() -> None:
    table = perceived((0.3, 0.6), (1.0, 0.0, 1.0), 12, 4.0)
    assert {0.3, 0.6} <= set(table.places)


def test_fewer_frames_than_were_seen_cannot_be_asked_for() -> None:
    assert len(perceived((0.2, 0.4, 0.6, 0.8), (1.0,) * 5, 2, 4.0).places) == 4


def test_a_frame_before_a_large_step_is_shown_longer_within_bounds() -> None:
    shown = shown_for((1.0, 1.5, 1.0, 0.5), 4.0)
    assert sum(shown) == pytest.approx(4.0)
    assert shown[1] / shown[0] == pytest.approx(1.5)
    wild = shown_for((1.0, 1.0, 100.0, 0.0), 4.0)
    assert max(wild) / min(wild) < 4.0
