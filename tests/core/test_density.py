from __future__ import annotations

import pytest

from backend.core.density import Density

GAP_S, FPS = 4.0, 10.0


def after(keyframe_s: float, frame_s: float, density: Density | None = None, times: int = 3) -> Density:
    density = density or Density()
    for _ in range(times):
        density.keyframe_took(keyframe_s)
        density.frames_took(10, 10 * frame_s)
        density.settle(GAP_S, FPS)
    return density


def test_an_engine_that_keeps_up_decodes_every_frame() -> None:
    assert after(0.5, 0.05).every == 1


def test_before_anything_is_known_every_frame_is_asked_for() -> None:
    assert Density().settle(GAP_S, FPS) == 1


def test_a_slow_engine_is_asked_for_as_many_as_it_can_make_in_the_time() -> None:
    density = after(1.0, 0.15)
    assert density.every == 3
    assert (1.0 + (40 / 3 - 1) * 0.15) / GAP_S < 0.95


def test_one_that_hardly_makes_the_keyframes_still_decodes_some_frames_between() -> None:
    assert after(9.0, 2.0).every == 8


def test_the_first_guess_for_a_slow_engine_is_not_to_ask_for_all() -> None:
    density = Density()
    density.keyframe_took(3.0)
    assert density.settle(GAP_S, FPS) > 3


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_small_changes_of_speed_change_nothing(factor: float) -> None:
    density = after(1.0, 0.15)
    before = density.every
    assert after(factor * 1.0, factor * 0.15, density).every == before


def test_a_single_slow_job_is_an_accident() -> None:
    density = after(0.5, 0.05)
    density.keyframe_took(30.0)
    density.frames_took(39, 30.0)
    assert density.settle(GAP_S, FPS) == 1


def test_an_engine_that_becomes_ten_times_slower_and_recovers_is_followed_within_three_gaps() -> None:
    density = after(0.3, 0.05)
    assert density.every == 1
    assert after(3.0, 0.5, density).every == 8
    assert after(0.3, 0.05, density).every == 1


def test_a_display_with_few_frames_a_second_has_none_left_out_that_would_show() -> None:
    density = after(9.0, 2.0)
    assert density.settle(4.0, 1.0) == 1


def test_where_enough_is_ready_more_is_asked_of_an_engine_that_keeps_up() -> None:
    density = after(0.6, 0.08)
    assert pytest.approx(0.93) == (0.6 + 39 * 0.08) / GAP_S
    density.every = 2
    assert density.settle(GAP_S, FPS, ready_s=1.0) == 2
    density = after(0.5, 0.075)
    density.every = 2
    assert density.settle(GAP_S, FPS, ready_s=1.0) == 2
    assert density.settle(GAP_S, FPS, ready_s=9.0) == 1
