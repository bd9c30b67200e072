from __future__ import annotations

from backend.core.breaker import Breaker, BreakerState


def test_it_lets_everything_through_until_it_is_opened() -> None:
    breaker = Breaker()
    assert breaker.closed
    assert breaker.ready(0.0)
    breaker.sent()
    assert breaker.closed


def test_once_open_it_lets_one_job_through_after_a_minute() -> None:
    breaker = Breaker(trial_every_s=60.0)
    breaker.open(100.0)
    assert not breaker.ready(159.0)
    assert breaker.ready(160.0)
    breaker.sent()
    assert breaker.state is BreakerState.HALF_OPEN
    assert not breaker.ready(1000.0), "the trial has not ended"


def test_a_failed_trial_keeps_it_open_for_another_minute_and_a_good_one_closes_it() -> None:
    breaker = Breaker(trial_every_s=60.0)
    breaker.open(0.0)
    breaker.sent()
    breaker.open(70.0)
    assert not breaker.ready(129.0)
    assert breaker.ready(130.0)
    breaker.sent()
    breaker.close()
    assert breaker.ready(131.0)


def test_a_trial_without_a_verdict_is_made_again_at_once() -> None:
    breaker = Breaker(trial_every_s=60.0)
    breaker.open(0.0)
    breaker.sent()
    breaker.undecided()
    assert breaker.ready(61.0)
    breaker.close()
    breaker.undecided()
    assert breaker.closed
