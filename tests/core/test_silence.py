"""Jobs that show no progress: how long they are waited for, and what becomes of those behind them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backend.core.comfyui_messages import Executing, ExecutionStart, Progress
from backend.core.job_actions import Cancel, LookUp
from backend.core.jobs import Failed, FailureKind
from tests.core.test_job_tracker import GRAPH, Play

KSAMPLER, DECODE = "2", "4"


def poll(play: Play, until: float, *, running: tuple[str, ...] = ("id-1",)) -> None:
    """Answers all look-ups: the server lives, and works on ``running``."""
    while play.running() and play.tracker.wake_at() < until:
        action = play.act()
        if isinstance(action, LookUp):
            play.tracker.saw_running(running, play.now)
            play.tracker.looked_up(action.prompt_id, None, True if action.queue_too else None, play.now)
    play.now = max(play.now, until) if play.running() else play.now


def begin(play: Play, node: str = KSAMPLER, prompt_id: str = "id-1") -> float:
    play.hear(ExecutionStart(prompt_id, 0.0), Executing(prompt_id, node))
    return play.now


def steps(play: Play, every_s: float, count: int, of: int = 20) -> float:
    for number in range(1, count + 1):
        poll(play, play.now + every_s)
        play.hear(Progress(play.attempt.prompt_id, KSAMPLER, number, of))
    return play.now


def given_up(play: Play) -> Failed:
    poll(play, play.now + 10_000.0)
    end = play.end()
    assert isinstance(end, Failed)
    assert end.kind is FailureKind.DEADLINE
    return end


def next_job(play: Play, deadline_s: float = 10_000.0) -> None:
    play.ends.clear()
    play.job, play.attempt = play.tracker.add(GRAPH, 1, play.now + deadline_s, play.now)
    play.tracker.answered(play.attempt, play.now)


@pytest.fixture
def play() -> Iterator[Play]:
    return Play(deadline_s=10_000.0)


def test_a_node_that_loads_is_given_up_after_two_silent_minutes_and_named(play: Play) -> None:
    began = begin(play, "1")
    end = given_up(play)
    assert 120.0 <= play.now - began <= 122.0
    assert "node 1 (CheckpointLoaderSimple) showed no progress for 12" in end.message
    assert (end.node_id, end.node_type) == ("1", "CheckpointLoaderSimple")
    assert play.tracker.next_action(play.now) == Cancel("id-1")


def test_a_sampler_that_stops_between_two_steps_is_given_up_after_fifteen_seconds(play: Play) -> None:
    begin(play)
    stopped = steps(play, 0.5, 4)
    assert "KSampler" in given_up(play).message
    assert 15.0 <= play.now - stopped <= 17.0


def test_the_first_step_may_take_as_long_as_loading(play: Play) -> None:
    begin(play)
    poll(play, play.now + 110.0)
    play.hear(Progress("id-1", KSAMPLER, 1, 20))
    assert play.running()


def test_a_slow_machine_is_not_given_up_though_its_steps_take_longer_than_the_patience(play: Play) -> None:
    begin(play)
    steps(play, 60.0, 20)
    assert play.running()
    play.run()
    play.end()
    next_job(play)
    begin(play, prompt_id="id-2")
    steps(play, 100.0, 20)
    assert play.running()


def test_after_the_last_step_a_decoder_may_work_in_silence(play: Play) -> None:
    begin(play)
    steps(play, 0.5, 20)
    poll(play, play.now + 60.0)
    play.hear(Executing("id-1", DECODE))
    poll(play, play.now + 110.0)
    assert play.running()


def test_the_time_in_the_queue_does_not_count(play: Play) -> None:
    poll(play, play.now + 1000.0, running=("somebody else's",))
    assert play.running()


def test_a_job_that_never_had_its_turn_is_told_from_one_that_hangs() -> None:
    play = Play(deadline_s=500.0)
    poll(play, play.now + 1000.0, running=("somebody else's",))
    end = play.end()
    assert isinstance(end, Failed)
    assert end.kind is FailureKind.WAITED


def test_a_job_that_is_not_heard_has_only_its_deadline() -> None:
    play = Play(listening=None, deadline_s=500.0)
    began = play.now
    given_up(play)
    assert play.now - began == pytest.approx(500.0)


def test_a_socket_heard_again_starts_the_count_anew(play: Play) -> None:
    begin(play)
    steps(play, 0.5, 4)
    play.tracker.listening = None
    poll(play, play.now + 14.0)
    play.tracker.listening = 1
    heard = play.now
    given_up(play)
    assert play.now - heard >= 15.0


def test_a_server_that_stood_still_is_not_held_to_its_silence(play: Play) -> None:
    begin(play)
    steps(play, 0.5, 4)
    action = play.act()
    assert isinstance(action, LookUp)
    play.now += 20.0  # the answer comes when the server, stopped in the meantime, goes on
    play.tracker.looked_up("id-1", None, True, play.now)
    assert play.running()
    steps(play, 0.5, 4)
    assert play.running()


def test_a_server_that_did_not_answer_is_not_held_to_its_silence(play: Play) -> None:
    begin(play)
    steps(play, 0.5, 4)
    play.now += 14.0
    play.tracker.back_off(play.now)
    failed_at = play.now
    given_up(play)
    assert play.now - failed_at >= 15.0


def test_each_job_given_up_doubles_the_patience_until_one_ends_well(play: Play) -> None:
    waits = []
    for number in (1, 2, 3):
        began = begin(play, "1", f"id-{number}")
        given_up(play)
        waits.append(round((play.now - began) / 120.0))
        next_job(play)
    assert waits == [1, 2, 4]
    play.run("id-4")
    play.end()
    next_job(play)
    began = begin(play, "1", "id-5")
    given_up(play)
    assert round((play.now - began) / 120.0) == 1


def test_patience_never_goes_beyond_the_deadline_of_the_job(play: Play) -> None:
    begin(play, "1")
    given_up(play)
    next_job(play, deadline_s=150.0)
    began = begin(play, "1", "id-2")
    given_up(play)
    assert play.now - began == pytest.approx(150.0)


def test_what_waits_behind_a_job_that_does_not_stop_is_given_up_and_told_why(play: Play) -> None:
    begin(play)
    steps(play, 0.5, 2)
    given_up(play)
    stopped = play.now
    next_job(play)
    poll(play, play.now + 10_000.0, running=("id-1",))
    end = play.end()
    assert isinstance(end, Failed)
    assert end.kind is FailureKind.DEADLINE
    assert "waits behind node 2 (KSampler), which hangs" in end.message
    assert 10.0 <= play.now - stopped <= 12.0
    next_job(play)
    began = play.now
    poll(play, play.now + 10_000.0, running=("id-1",))
    assert play.now - began <= 2.0, "the next need not wait as long"


def test_one_that_stops_when_told_to_keeps_nobody_waiting(play: Play) -> None:
    begin(play)
    given_up(play)
    next_job(play)
    poll(play, play.now + 5.0, running=("id-1",))
    poll(play, play.now + 1000.0, running=("somebody else's",))
    assert play.running()
