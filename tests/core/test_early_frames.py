"""Pictures of a walk are shown as they come, before its job has ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.core.jobs import Failed, FailureKind
from tests.core.test_controller import GAP_S, IN_BETWEENS, Dream, dream
from tests.fakes.memory_engine import MemoryEngine, SentJob, is_walk


@pytest.fixture
def walking(tmp_path: Path) -> Dream:
    """A dream whose first walk is at the engine."""
    return up_to_a_walk(dream(tmp_path, engine=MemoryEngine()))


def up_to_a_walk(told: Dream) -> Dream:
    told.gaps.layout.pacing = "uniform"
    told.settle()
    told.finish_next()
    told.finish_next()
    assert len(walks(told)) == 1
    return told


def walks(told: Dream) -> list[SentJob]:
    return [sent for sent in told.engine.open_jobs if is_walk(sent)]


def fail(told: Dream, kind: FailureKind = FailureKind.EXECUTION) -> None:
    (sent,) = walks(told)
    sent.job.end(Failed(sent.job.prompt_id, kind, "it broke"))
    told.settle()


def test_frames_are_ready_before_the_job_has_ended(walking: Dream) -> None:
    (sent,) = walks(walking)
    before_s = walking.buffer.ready_s
    walking.engine.arrive(sent, 0, 1, 2)
    walking.settle()
    assert walking.gaps.in_betweens == 3
    assert walking.buffer.ready_s == pytest.approx(before_s + 3 * GAP_S / (IN_BETWEENS + 1))
    assert walks(walking) == [sent]


def test_the_end_brings_only_what_has_not_come(walking: Dream) -> None:
    (sent,) = walks(walking)
    walking.engine.arrive(sent, 4, 0, 1)
    walking.settle()
    walking.engine.finish(sent)
    walking.settle()
    assert walking.gaps.in_betweens == IN_BETWEENS
    assert walking.buffer.skipped == 0
    assert not walks(walking)


def test_frames_that_come_in_any_order_are_shown_in_theirs(walking: Dream) -> None:
    (sent,) = walks(walking)
    walking.engine.arrive(sent, *reversed(range(1, IN_BETWEENS)))
    walking.settle()
    waiting_s = walking.buffer.ready_s
    walking.engine.arrive(sent, 0)
    walking.settle()
    assert walking.gaps.in_betweens == IN_BETWEENS
    assert walking.buffer.ready_s > waiting_s + 0.8 * GAP_S


def test_after_a_failure_only_what_has_not_come_is_asked_for(walking: Dream) -> None:
    (sent,) = walks(walking)
    walking.engine.arrive(sent, 0, 1, 2, 5)
    walking.settle()
    fail(walking)
    (again,) = walks(walking)
    assert again.count == IN_BETWEENS - 4
    walking.engine.finish(again)
    walking.settle()
    assert walking.gaps.in_betweens == IN_BETWEENS
    assert walking.buffer.skipped == 0


def test_a_walk_that_brings_some_each_time_is_asked_for_until_all_have_come(walking: Dream) -> None:
    for _ in range(IN_BETWEENS):
        (sent,) = walks(walking)
        walking.engine.arrive(sent, 0)
        walking.settle()
        fail(walking)
    assert walks(walking) == []
    assert walking.gaps.in_betweens == IN_BETWEENS


def test_what_came_of_a_walk_that_is_given_up_is_shown_without_the_rest(walking: Dream) -> None:
    (sent,) = walks(walking)
    walking.engine.arrive(sent, 0, 1, 2)
    fail(walking)  # in the same turn, before the frames are looked at
    fail(walking)
    assert walks(walking) == []
    assert walking.gaps.in_betweens == 3
    walking.show(3 * GAP_S)
    assert walking.buffer.skipped == IN_BETWEENS - 3


def test_a_measured_gap_goes_on_after_some_of_its_first_frames_came_early(tmp_path: Path) -> None:
    told = dream(tmp_path, engine=MemoryEngine())
    told.gaps.layout.pacing = "perceptual"
    told.settle()
    for _ in range(12):
        for sent in walks(told):
            told.engine.arrive(sent, *range(0, sent.count, 2))
            told.settle()
        told.finish_next()
        told.show(GAP_S)
        told.settle()
    assert told.gaps.in_betweens > IN_BETWEENS
    assert told.buffer.skipped == 0


def test_a_measured_gap_is_not_stuck_where_its_frames_are_given_up_after_some_came(tmp_path: Path) -> None:
    told = dream(tmp_path, engine=MemoryEngine())
    told.gaps.layout.pacing = "perceptual"
    told.settle()
    told.finish_next()
    told.finish_next()
    for _ in range(2):
        (sent,) = walks(told)
        if not sent.job.done() and sent.count > 1:
            told.engine.arrive(sent, 0)
        fail(told)
        if not walks(told):
            break
    for _ in range(6):
        told.finish_next()
        told.show(GAP_S)
    assert told.controller.keyframes >= 4
    assert told.playback.frames_shown > 10


def test_a_supply_is_a_leg_however_its_frames_come(tmp_path: Path) -> None:
    intervals = []
    for number, early in enumerate((False, True)):
        (tmp_path / str(number)).mkdir()
        told = up_to_a_walk(dream(tmp_path / str(number), engine=MemoryEngine()))
        for _ in range(6):
            for sent in walks(told):
                for place in range(sent.count if early else 0):
                    told.clock.now += 0.1
                    told.engine.arrive(sent, place)
                    told.settle()
                told.clock.now += 0.0 if early else 0.1 * sent.count
            told.finish_next()
        intervals.append(told.playback._pace.interval_s)
    assert intervals[1] == pytest.approx(intervals[0])
