from __future__ import annotations

import pytest

from backend.core.jobs import FailureKind
from backend.core.resuming import Counts
from backend.core.setbacks import Setbacks
from backend.errors import DreamloopError, EngineUnreachable, GraphRejected, JobFailed, PictureRejected

BLACK = PictureRejected("black", "nothing to see")
BROKE = JobFailed(FailureKind.EXECUTION.value, "it broke")
REFUSED = GraphRejected("invalid_prompt", "no KSampler")


def after(*errors: DreamloopError) -> Setbacks:
    setbacks = Setbacks(Counts())
    for error in errors:
        setbacks.refused(error)
    return setbacks


def test_counts_go_on_from_those_of_earlier_runs() -> None:
    setbacks = Setbacks(Counts(keyframes=9, rejected=1, failed_jobs=2, retries=3))
    setbacks.refused(BLACK)
    setbacks.refused(BROKE)
    assert (setbacks.rejected, setbacks.failed_jobs, setbacks.retries) == (2, 3, 5)


@pytest.mark.parametrize("error", [BLACK, BROKE])
def test_the_third_bad_keyframe_in_a_row_makes_its_latent_suspect_and_the_engine_useless(
    error: DreamloopError,
) -> None:
    setbacks = after(error, error)
    assert not setbacks.latent_is_suspect
    assert not setbacks.nothing_comes
    setbacks.refused(error)
    assert setbacks.latent_is_suspect
    assert setbacks.nothing_comes


def test_a_good_keyframe_begins_the_row_anew() -> None:
    setbacks = after(BLACK, BLACK)
    setbacks.over()
    setbacks.refused(BLACK)
    assert not setbacks.latent_is_suspect
    assert not setbacks.nothing_comes
    assert setbacks.rejected == 3


@pytest.mark.parametrize(
    "kind", [FailureKind.OUT_OF_MEMORY, FailureKind.DEVICE, FailureKind.DEADLINE, FailureKind.WAITED]
)
def test_no_latent_is_blamed_for_the_troubles_of_the_engine(kind: FailureKind) -> None:
    setbacks = after(*[JobFailed(kind.value, "")] * 5)
    assert not setbacks.latent_is_suspect
    assert setbacks.nothing_comes


def test_a_job_that_went_with_its_engine_is_counted_and_says_no_more() -> None:
    setbacks = Setbacks(Counts())
    for _ in range(5):
        setbacks.lost()
    assert (setbacks.failed_jobs, setbacks.retries) == (5, 0)
    assert not setbacks.latent_is_suspect
    assert not setbacks.nothing_comes


def test_a_graph_that_is_refused_again_and_again_may_be_refused_for_its_latent() -> None:
    setbacks = Setbacks(Counts())
    for _ in range(3):
        setbacks.not_sent(EngineUnreachable("http://127.0.0.1:8188", "connection refused"))
    assert not setbacks.latent_is_suspect
    for _ in range(3):
        setbacks.not_sent(REFUSED)
    assert setbacks.latent_is_suspect
    assert not setbacks.nothing_comes
