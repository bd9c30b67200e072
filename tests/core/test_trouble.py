from __future__ import annotations

import random

import pytest

from backend.core.trouble import Trouble
from backend.errors import (
    EngineStarting,
    EngineUnreachable,
    GraphRejected,
    JobFailed,
    ModelMissing,
    PictureRejected,
)
from backend.utils.status_schema import ReasonCode


def test_trouble_is_told_with_a_wish_and_forgotten_when_something_works() -> None:
    trouble = Trouble(random.Random(1))
    trouble.happened(EngineUnreachable("http://127.0.0.1:8188", "connection refused"), now=10.0)
    assert trouble.reason is not None
    assert trouble.reason.code is ReasonCode.ENGINE_UNREACHABLE
    assert "is ComfyUI running there?" in trouble.reason.sentence
    assert trouble.waiting(10.1)
    trouble.happened(ModelMissing("checkpoints", "a", ["b"], None), now=10.0)
    assert trouble.reason.code is ReasonCode.MODEL_MISSING
    trouble.over()
    assert trouble.reason is None
    assert not trouble.waiting(10.1)


def test_the_same_complaint_is_logged_once_a_minute_and_another_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trouble = Trouble(random.Random(1))
    for second in range(0, 300, 5):
        trouble.happened(GraphRejected("invalid_prompt", "no KSampler"), now=float(second))
    assert len(caplog.records) == 5
    trouble.happened(EngineUnreachable("http://127.0.0.1:8188", "connection refused"), now=300.0)
    assert "connection refused" in caplog.records[-1].message


def test_what_is_remembered_of_complaints_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble(random.Random(1))
    for number in range(1000):
        trouble.happened(GraphRejected("invalid_prompt", f"no {number}"), now=0.0)
    trouble.happened(GraphRejected("invalid_prompt", "no 999"), now=1.0)
    assert len(caplog.records) == 1000


@pytest.mark.parametrize(("reason", "hinted"), [("black", True), ("flat", True), ("broken", False)])
def test_a_vae_is_suspected_of_pictures_without_content_only(reason: str, hinted: bool) -> None:
    trouble = Trouble(random.Random(1))
    trouble.happened(PictureRejected(reason, "as it is"), now=0.0)
    assert trouble.reason is not None
    assert ("--fp32-vae" in trouble.reason.sentence) is hinted


@pytest.mark.parametrize(
    ("error", "wish"),
    [
        (EngineStarting("our ComfyUI", "it is starting"), "it is waited for"),
        (EngineUnreachable("our ComfyUI", "it ended at once"), "it is started again by itself"),
    ],
)
def test_a_process_of_ours_is_waited_for_while_it_starts_and_started_again_after_it_ended(
    error: EngineUnreachable, wish: str
) -> None:
    trouble = Trouble(random.Random(1))
    trouble.happened(error, now=0.0)
    assert trouble.reason is not None
    assert trouble.reason.sentence.endswith(wish)


def test_a_job_that_an_engine_took_with_it_is_no_further_trouble(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble(random.Random(1))
    trouble.happened(EngineUnreachable("http://127.0.0.1:8188", "connection refused"), now=0.0)
    told = trouble.reason
    trouble.happened(JobFailed("unreachable", "the server did not answer until its deadline"), now=300.0)
    assert (trouble.reason, trouble.failures, len(caplog.records)) == (told, 1, 1)
    trouble.happened(JobFailed("execution", "it broke"), now=301.0)
    assert trouble.reason != told
