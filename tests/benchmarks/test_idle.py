"""Idle time between jobs, told from a server's own events."""

from __future__ import annotations

from backend.core.comfyui_messages import Event, ExecutionStart, ExecutionSuccess, Status
from benchmarks.idle import Cause, Tally, table


def tally(*jobs: tuple[float, float, int]) -> Tally:
    """Jobs as start, end (ms) and how many are in the queue when they end."""
    heard = Tally()
    for number, (start, end, remaining) in enumerate(jobs):
        events: tuple[Event, ...] = (
            ExecutionStart(str(number), float(start)),
            Status(remaining),
            ExecutionSuccess(str(number), float(end)),
        )
        for event in events:
            heard.hear(event)
    return heard


def causes(heard: Tally) -> list[Cause]:
    return [gap.cause for gap in heard.gaps]


def test_a_gap_is_from_the_end_of_one_job_to_the_start_of_the_next() -> None:
    heard = tally((0, 100, 2), (103, 200, 2), (205, 300, 1))
    assert [gap.ms for gap in heard.gaps] == [3, 5]
    assert heard.jobs_ms == [100, 97, 95]


def test_a_long_gap_is_ours_if_nothing_was_waiting() -> None:
    assert causes(tally((0, 100, 1), (160, 200, 1))) == [Cause.NOT_QUEUED]


def test_a_long_gap_with_a_job_waiting_is_garbage_at_most_every_ten_seconds() -> None:
    heard = tally((0, 100, 2), (400, 500, 2), (800, 10_200, 2), (10_500, 10_600, 2))
    assert causes(heard) == [Cause.GARBAGE, Cause.OTHER, Cause.GARBAGE]


def test_a_pause_too_long_for_garbage_stays_unknown() -> None:
    assert causes(tally((0, 100, 2), (1600, 1700, 2))) == [Cause.OTHER]


def test_a_job_that_failed_ends_no_gap() -> None:
    heard = Tally()
    for event in (ExecutionStart("a", 0.0), ExecutionStart("b", 50.0), ExecutionSuccess("b", 90.0)):
        heard.hear(event)
    assert (heard.gaps, heard.jobs_ms) == ([], [40.0])


def test_the_table_gives_the_median_as_a_share_of_the_median_job() -> None:
    rows = {
        what: measured for what, measured, _ in table("x", tally((0, 100, 2), (101, 200, 2), (202, 302, 2)))
    }
    assert rows["x: median gap : median job"] == "1.50%"
