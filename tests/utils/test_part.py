from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest

from backend.errors import EngineUnreachable
from backend.utils import part as part_module
from backend.utils.part import Part

GUARD_S = 20.0


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_module, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(part_module, "_LONGEST_PAUSE_S", 0.002)


def eventually(what: Callable[[], bool]) -> None:
    until = time.monotonic() + GUARD_S
    while not what():
        assert time.monotonic() < until
        time.sleep(0.001)


class Turns:
    """Turns that do as they are told, one after the other, and wait in between."""

    def __init__(self, *acts: BaseException | None) -> None:
        self.taken = 0
        self._acts = list(acts)

    def __call__(self) -> None:
        self.taken += 1
        act = self._acts.pop(0) if self._acts else None
        if act is not None:
            raise act
        time.sleep(0.001)


def test_it_takes_turns_until_it_is_stopped() -> None:
    turns = Turns()
    part = Part("sleeper", turns, limit_s=1.0)
    part.start()
    eventually(lambda: turns.taken >= 3)
    assert part.runs
    assert part.beats >= 3
    part.stop(GUARD_S)
    assert not part.runs
    assert not part.died
    part.stop(GUARD_S)


def test_a_turn_that_raises_is_told_of_and_counted_and_the_next_one_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[Exception] = []
    turns = Turns(ValueError("ouch"), ZeroDivisionError("again"))
    part = Part("sleeper", turns, limit_s=1.0, stumbled=told.append)
    part.start()
    eventually(lambda: turns.taken >= 4)
    part.stop(GUARD_S)
    assert part.crashes == 2
    assert part.last_crash == "ZeroDivisionError: again"
    assert [str(error) for error in told] == ["ouch", "again"]
    assert "sleeper stumbled" in caplog.text


@pytest.mark.parametrize("error", [EngineUnreachable("http://x", "gone"), OSError("disk full")])
def test_what_the_world_does_to_it_is_no_crash(error: Exception) -> None:
    told: list[Exception] = []
    turns = Turns(error)
    part = Part("sleeper", turns, limit_s=1.0, stumbled=told.append)
    part.start()
    eventually(lambda: turns.taken >= 2)
    part.stop(GUARD_S)
    assert told == [error]
    assert part.crashes == 0


def test_it_waits_longer_after_each_failure_in_a_row_and_says_that_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    part = Part("sleeper", Turns(*(ValueError() for _ in range(6)), None, ValueError()), limit_s=1.0)

    def wait(timeout: float) -> bool:
        assert part.pausing
        waits.append(timeout)
        return False

    monkeypatch.setattr(part_module, "_FIRST_PAUSE_S", 0.5)
    monkeypatch.setattr(part_module, "_LONGEST_PAUSE_S", 8.0)
    monkeypatch.setattr(part.stopping, "wait", wait)
    part.start()
    eventually(lambda: len(waits) == 7)
    part.stop(GUARD_S)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 0.5]
    assert not part.pausing


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_seen_and_can_be_started_again(caplog: pytest.LogCaptureFixture) -> None:
    turns = Turns(SystemExit())
    part = Part("sleeper", turns, limit_s=1.0)
    part.start()
    eventually(lambda: part.died)
    caplog.set_level(logging.CRITICAL)
    part.start()
    eventually(lambda: turns.taken >= 3)
    assert not part.died
    part.stop(GUARD_S)


def test_it_may_be_stopped_by_its_own_turn() -> None:
    done = threading.Event()

    def turn() -> None:
        part.stop(GUARD_S)
        done.set()

    part = Part("sleeper", turn, limit_s=1.0)
    part.start()
    assert done.wait(GUARD_S)
    eventually(lambda: not part.runs)
    assert part.beats == 1
