from __future__ import annotations

import itertools

import pytest

from backend.core.pace import Pace

FPS = 10.0
GAP_S = 4.0


def simulate(
    seconds_per_gap: float, until_s: float = 400.0, buffer_s: float = 12.0
) -> list[tuple[float, float]]:
    """Play what an engine delivers every ``seconds_per_gap``; returns (time of a frame, speed)."""
    pace, now, ready_s, due, supply_at = Pace(), 0.0, 0.0, 0.0, seconds_per_gap
    pace.begin(0.0)
    shown = []
    while now < until_s:
        if now >= supply_at and ready_s < buffer_s:
            ready_s += GAP_S
            pace.supplied(now, ready_s)
            supply_at = now + seconds_per_gap
        if ready_s >= 0.99 / FPS and now >= due:
            speed = pace.speed(now, ready_s)
            ready_s -= 1.0 / FPS
            due = now + 1.0 / FPS / speed
            shown.append((now, speed))
        now += 0.005
    return shown


@pytest.mark.parametrize("seconds_per_gap", [0.5, 2.0, 3.5])
def test_a_faster_engine_does_not_change_the_pace(seconds_per_gap: float) -> None:
    settled = [speed for at, speed in simulate(seconds_per_gap) if at > 30]
    assert min(settled) > 0.99


@pytest.mark.parametrize("seconds_per_gap", [6.0, 12.0, 40.0])
def test_a_slower_engine_stretches_time_evenly_and_never_freezes(seconds_per_gap: float) -> None:
    shown = [(at, speed) for at, speed in simulate(seconds_per_gap) if at > 120]
    speeds = [speed for _, speed in shown]
    share = GAP_S / seconds_per_gap
    assert min(speeds) > 0.85 * share
    assert max(speeds) < 1.15 * share
    steps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(shown)]
    assert max(steps) < 1.3 / FPS / share


@pytest.mark.parametrize("absence_s", [60.0, 600.0, 36_000.0])
def test_a_long_pause_or_absence_does_not_slow_the_dream_afterwards(absence_s: float) -> None:
    pace, now = Pace(), 0.0
    pace.begin(now)
    for _ in range(5):
        now += 1.0
        pace.supplied(now, 8.0)
        assert pace.speed(now, 8.0) > 0.95
    now += absence_s
    pace.begin(now)
    pace.supplied(now + 1.0, 4.0)
    assert pace.speed(now + 2.0, 4.0) > 0.95


def test_a_suspended_machine_is_an_accident_and_not_a_pace() -> None:
    pace, now = Pace(), 0.0
    pace.begin(now)
    for interval_s in [1.0, 1.0, 1.0, 8 * 3600.0, 1.0, 1.0, 1.0]:
        now += interval_s
        pace.supplied(now, 6.0)
    assert pace.speed(now + 5.0, 6.0) > 0.95


def test_the_first_supply_waited_for_the_model_and_counts_only_until_the_second() -> None:
    pace = Pace()
    pace.begin(0.0)
    pace.supplied(60.0, 4.0)
    pace.supplied(62.0, 6.0)
    assert pace.interval_s == pytest.approx(2.0)


def test_an_overdue_supply_slows_the_dream_down_instead_of_stopping_it() -> None:
    pace = Pace()
    pace.begin(0.0)
    pace.supplied(4.0, 8.0)
    before = pace.speed(5.0, 7.0)
    late = [pace.speed(8.0 + step, 0.4) for step in range(8)]
    assert before == pytest.approx(1.0)
    assert late == sorted(late, reverse=True)
    assert 0.0 < late[-1] < 0.5


def test_the_pace_is_as_configured_before_anything_is_known() -> None:
    assert Pace().speed(0.0, 0.0) == 1.0
