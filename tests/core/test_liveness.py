from __future__ import annotations

from backend.core.liveness import Liveness, Vital


def looked(liveness: Liveness, now: float, seconds: float, *vitals: Vital, every_s: float = 0.2) -> float:
    """Looks at vitals that do not change, for so long; gives the time then."""
    for _ in range(round(seconds / every_s)):
        now += every_s
        liveness.look(now, vitals)
    return now


def test_who_takes_steps_is_alive() -> None:
    liveness = Liveness()
    for step in range(1000):
        liveness.look(float(step), [Vital("playback", step, limit_s=5.0)])
    assert liveness.stalled is None


def test_who_takes_no_step_within_its_limit_stands_still_until_it_does() -> None:
    liveness = Liveness()
    now = looked(liveness, 100.0, 4.8, Vital("playback", 7, limit_s=5.0))
    assert liveness.stalled is None
    now = looked(liveness, now, 0.6, Vital("playback", 7, limit_s=5.0))
    assert liveness.stalled == "playback stands still"
    liveness.look(now + 0.2, [Vital("playback", 8, limit_s=5.0)])
    assert liveness.stalled is None
    assert liveness.stalled_s == 0.0


def test_a_rest_is_life_however_long_it_is_and_the_time_begins_after_it() -> None:
    liveness = Liveness()
    now = looked(liveness, 0.0, 3600.0, Vital("the display", 7, limit_s=5.0, rest="paused"), every_s=0.9)
    now = looked(liveness, now, 4.8, Vital("the display", 7, limit_s=5.0))
    assert liveness.stalled is None
    looked(liveness, now, 0.6, Vital("the display", 7, limit_s=5.0))
    assert liveness.stalled is not None


def test_one_that_hangs_is_enough_and_all_of_them_are_named() -> None:
    liveness = Liveness()
    now = 0.0
    for step in range(50):
        now = looked(liveness, now, 0.2, Vital("a", step, 5.0), Vital("b", 1, 5.0), Vital("c", 1, 8.0))
    assert liveness.stalled == "b and c stand still"
    assert 4.0 < liveness.stalled_s < 6.0


def test_a_machine_that_was_suspended_has_not_stood_still() -> None:
    liveness = Liveness()
    now = looked(liveness, 0.0, 1.0, Vital("playback", 7, limit_s=5.0))
    for jump in (28_800.0, 31_536_000.0, -31_536_000.0):
        now += jump
        liveness.look(now, [Vital("playback", 7, limit_s=5.0)])
        assert liveness.stalled is None


def test_a_step_back_counts_as_a_step_since_a_part_may_be_built_anew() -> None:
    liveness = Liveness()
    now = looked(liveness, 0.0, 4.8, Vital("playback", 7, limit_s=5.0))
    looked(liveness, now, 0.6, Vital("playback", 1, limit_s=5.0))
    assert liveness.stalled is None
