from __future__ import annotations

import logging
import random
from dataclasses import dataclass

import pytest

from backend.core.engine_care import EngineCare
from backend.core.engine_link import EngineLink, went_with_engine
from backend.core.jobs import FailureKind
from backend.core.resuming import Counts
from backend.core.setbacks import Setbacks
from backend.core.trouble import Trouble
from backend.errors import EngineUnreachable, JobFailed, PictureRejected
from tests.fakes.memory_engine import MemoryEngine

GONE = EngineUnreachable("http://127.0.0.1:8188", "connection refused")
BLACK = PictureRejected("black", "nothing to see")


@dataclass
class Display:
    engine_away: bool = False
    woken: int = 0

    def wake(self) -> None:
        self.woken += 1


class Linked:
    """A link with all that it goes by."""

    def __init__(self) -> None:
        self.engine, self.display = MemoryEngine(), Display()
        self.care, self.trouble = EngineCare(self.engine), Trouble(random.Random(1))
        self.setbacks = Setbacks(Counts())
        self.link = EngineLink(self.engine, self.care, self.trouble, self.setbacks, self.display)


@pytest.fixture
def made() -> Linked:
    return Linked()


def test_an_engine_that_answers_is_connected_and_named_in_the_log_once(
    made: Linked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    made.display.engine_away = True
    assert made.link.connect(0.0)
    assert made.link.connected
    assert not made.display.engine_away
    assert made.link.connect(1.0)
    assert [one.getMessage() for one in caplog.records] == [
        "dreaming on embedded 1 at memory:// with dreamloop-painter"
    ]


def test_one_that_does_not_answer_is_tried_again_later_and_the_display_moves_on(made: Linked) -> None:
    made.engine.refuse = GONE
    assert made.link.may_try(0.0)
    assert not made.link.connect(0.0)
    assert not made.link.connected
    assert (made.display.engine_away, made.display.woken) == (True, 1)
    assert made.trouble.last_error == str(GONE)
    assert not made.link.may_try(0.0)
    assert made.link.may_try(60.0)


def test_one_that_is_heard_to_be_gone_is_no_longer_connected_and_the_display_moves_on(made: Linked) -> None:
    made.link.connect(0.0)
    assert not made.link.notice_another()
    made.engine.reachable = False
    assert made.link.notice_another()
    assert not made.link.connected
    assert made.display.engine_away


def test_one_that_we_have_restarted_is_connected_to_anew_and_the_display_waits_for_it(made: Linked) -> None:
    made.engine.ours = True
    made.link.connect(0.0)
    made.care.renew("it grew")
    assert made.link.notice_another()
    assert not made.link.connected
    assert not made.display.engine_away


def test_one_that_answers_and_brings_nothing_counts_as_away_until_a_keyframe_comes(made: Linked) -> None:
    made.link.connect(0.0)
    for _ in range(3):
        made.setbacks.refused(BLACK)
    made.trouble.happened(BLACK, 0.0)
    assert made.link.brings_nothing
    made.link.connect(1.0)
    assert made.display.engine_away
    made.link.worked()
    assert not made.link.brings_nothing
    assert not made.display.engine_away
    assert made.trouble.reason is None


def test_a_keyframe_of_an_engine_that_is_gone_by_now_is_no_sign_of_life(made: Linked) -> None:
    made.link.connect(0.0)
    made.link.lose(GONE, 1.0)
    made.link.go_on_without()
    made.link.worked()
    assert made.display.engine_away
    assert made.trouble.reason is not None


def test_memory_is_asked_back_of_a_connected_engine_only(made: Linked) -> None:
    made.link.let_go()
    assert made.engine.freed == 0
    made.link.connect(0.0)
    made.link.let_go()
    assert made.engine.freed == 1
    assert made.display.engine_away
    made.link.take_up()
    assert not made.display.engine_away


def test_an_engine_that_is_still_to_be_found_is_away_when_the_machine_is_ours_again(made: Linked) -> None:
    made.link.take_up()
    assert made.display.engine_away


@pytest.mark.parametrize(
    ("error", "went"),
    [
        (JobFailed(FailureKind.UNREACHABLE.value, ""), True),
        (JobFailed(FailureKind.LOST.value, ""), True),
        (JobFailed(FailureKind.CLOSED.value, ""), True),
        (JobFailed(FailureKind.EXECUTION.value, ""), False),
        (BLACK, False),
    ],
)
def test_a_job_goes_with_its_engine_or_fails_by_itself(error: Exception, went: bool) -> None:
    assert went_with_engine(error) is went  # type: ignore[arg-type]
