from __future__ import annotations

import threading

import pytest

from backend.core.jobs import (
    Failed,
    FailureKind,
    FileRef,
    Interrupted,
    Job,
    JobEnd,
    Picture,
    parse_annotated,
)

LOST = Failed("id", FailureKind.LOST, "gone")


def test_a_job_ends_once_and_the_first_end_counts() -> None:
    job = Job("id")
    assert not job.done()
    assert job.end(LOST)
    assert not job.end(Interrupted("id"))
    assert job.result(0.0) is LOST


def test_of_many_threads_that_end_it_exactly_one_does() -> None:
    job, start, won, called = Job("id"), threading.Barrier(8), [], []
    job.add_done_callback(called.append)

    def end(number: int) -> None:
        start.wait(10.0)
        if job.end(Failed("id", FailureKind.LOST, str(number))):
            won.append(number)

    threads = [threading.Thread(target=end, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert len(won) == 1
    assert called == [job]
    assert job.result(0.0) == Failed("id", FailureKind.LOST, str(won[0]))


def test_waiting_for_a_job_that_has_not_ended_is_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        Job("id").result(0.0)


def test_whoever_waits_is_woken_by_the_end() -> None:
    job = Job("id")
    results: list[JobEnd] = []
    waiter = threading.Thread(target=lambda: results.append(job.result(10.0)))
    waiter.start()
    job.end(LOST)
    waiter.join(10.0)
    assert results == [LOST]


def test_one_callback_that_fails_does_not_keep_the_others_from_being_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = Job("id")
    called: list[Job] = []
    job.add_done_callback(lambda _: 1 / 0)
    job.add_done_callback(called.append)
    job.end(LOST)
    assert called == [job]
    assert "ZeroDivisionError" in caplog.text


def test_a_file_is_named_as_the_loaders_want_it() -> None:
    assert FileRef("a.latent", "sub", "output").annotated == "sub/a.latent [output]"
    assert FileRef("a.png", "", "temp").annotated == "a.png [temp]"


def test_pictures_are_handed_over_once_each_as_they_come() -> None:
    job, told = Job("id"), []
    job.add_arrival_callback(told.append)
    for place in (1, 0, 1):
        job.deliver(place, Picture(bytes([place]), "png"))
    assert told == [job, job]
    assert [place for place, _ in job.arrived()] == [1, 0]
    assert job.arrived() == []
    job.deliver(1, Picture(b"again", "png"))
    assert job.arrived() == []


def test_whoever_begins_to_listen_late_is_told_of_what_waits() -> None:
    job, told = Job("id"), []
    job.deliver(0, Picture(b"", "png"))
    job.add_arrival_callback(told.append)
    assert told == [job]


@pytest.mark.parametrize(
    "file", [FileRef("a b.latent", "dreamloop/x"), FileRef("a [1].latent", "", "temp"), FileRef("a", "b")]
)
def test_an_annotated_name_names_its_file(file: FileRef) -> None:
    assert parse_annotated(file.annotated) == file
