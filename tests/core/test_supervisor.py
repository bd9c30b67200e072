from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from backend.core.liveness import Vital
from backend.core.supervisor import RestartBudget, Supervisor
from backend.utils.part import Part

LOOK_S = 0.2


class Thread(Part):
    """A part whose thread is only told of."""

    def __init__(self, name: str = "playback") -> None:
        super().__init__(name, lambda: None, limit_s=5.0)
        self.dead = False
        self.starts: list[float] = []
        self.now = 0.0
        self.mortal = False

    @property
    def died(self) -> bool:
        return self.dead

    def start(self) -> None:
        self.starts.append(self.now)
        self.dead = self.mortal

    def crash(self, with_what: str = "ValueError: ouch") -> None:
        self.crashes += 1
        self.last_crash = with_what


@dataclass
class Process:
    name: str = "the embedded engine"
    crashes: int = 0
    last_crash: str = "status -9"


@dataclass
class Display:
    vital: Vital = field(default_factory=lambda: Vital("the display", 0, 30.0))


def look(supervisor: Supervisor, thread: Thread, seconds: float) -> None:
    """Looks for so long at a thread that takes its turns."""
    for _ in range(round(seconds / LOOK_S)):
        thread.now = round(thread.now + LOOK_S, 6)
        thread.beat()
        supervisor.look(thread.now)


def test_a_budget_allows_five_in_any_minute_and_no_sixth() -> None:
    budget = RestartBudget()
    assert all(budget.spend(float(now)) for now in (0, 10, 20, 30, 40))
    assert not budget.spend(59.9)
    assert budget.lately(59.9) == 5
    assert budget.spend(60.0)
    assert not budget.spend(69.9)
    assert budget.spend(70.0)
    assert budget.lately(200.0) == 0


def test_a_thread_that_died_is_started_again_after_a_moment_and_later_each_time() -> None:
    thread = Thread()
    supervisor = Supervisor([thread])
    thread.mortal = thread.dead = True
    look(supervisor, thread, 15.4)
    waits = [later - earlier for earlier, later in zip([0.2, *thread.starts], thread.starts, strict=False)]
    assert [round(wait, 1) for wait in waits] == [0.6, 1.2, 2.2, 4.2]
    assert supervisor.given_up is None


def test_the_sixth_end_within_a_minute_is_the_end_of_all() -> None:
    thread = Thread()
    supervisor = Supervisor([thread])
    thread.mortal = thread.dead = True
    look(supervisor, thread, 30.0)
    assert len(thread.starts) == 5
    assert supervisor.given_up == "playback failed 6 times within 60 s"


def test_crashes_that_are_far_apart_are_lived_through_for_ever() -> None:
    thread = Thread()
    supervisor = Supervisor([thread])
    for _ in range(200):
        thread.crash()
        look(supervisor, thread, 13.0)
    assert supervisor.given_up is None


@pytest.mark.parametrize("at_once", [True, False])
def test_six_crashes_within_a_minute_end_all_and_the_last_is_told(at_once: bool) -> None:
    thread = Thread()
    supervisor = Supervisor([thread])
    for number in range(6):
        assert supervisor.given_up is None
        thread.crash(f"ValueError: {number}")
        look(supervisor, thread, 0.0 if at_once else 9.0)
    look(supervisor, thread, LOOK_S)
    assert supervisor.given_up == "playback failed 6 times within 60 s (ValueError: 5)"


def test_each_part_has_a_budget_of_its_own() -> None:
    thread, other = Thread(), Thread("scorer")
    supervisor = Supervisor([thread, other])
    for _ in range(5):
        thread.crash()
        other.crash()
        other.beat()
    look(supervisor, thread, 1.0)
    assert supervisor.given_up is None


def test_a_process_is_counted_too_but_started_by_who_needs_it() -> None:
    thread, process = Thread(), Process()
    supervisor = Supervisor([thread, process])
    for _ in range(6):
        process.crashes += 1
        look(supervisor, thread, 5.0)
    assert supervisor.given_up == "the embedded engine failed 6 times within 60 s (status -9)"


def test_what_failed_before_it_was_supervised_does_not_count() -> None:
    thread = Thread()
    thread.crashes = 17
    supervisor = Supervisor([thread])
    look(supervisor, thread, 1.0)
    assert supervisor.given_up is None


def test_a_thread_that_hangs_stops_the_watchdog_and_in_the_end_everything() -> None:
    thread = Thread()
    supervisor = Supervisor([thread])
    look(supervisor, thread, 2.0)
    now = thread.now
    seen: list[float] = []
    while supervisor.given_up is None:
        now += LOOK_S
        supervisor.look(now)
        if supervisor.stalled is not None:
            seen.append(now - thread.now)
    assert supervisor.stalled == "playback stands still"
    assert seen[0] == pytest.approx(5.0, abs=2 * LOOK_S)
    assert seen[-1] == pytest.approx(65.0, abs=3 * LOOK_S)
    assert supervisor.given_up == "playback stands still for 60 s"


def test_a_thread_that_waits_after_a_failure_or_was_stopped_does_not_hang() -> None:
    thread = Thread()
    supervisor = Supervisor([thread])
    thread.pausing = True
    for now in range(100):
        supervisor.look(float(now))
    thread.pausing = False
    thread.stopping.set()
    for now in range(100, 200):
        supervisor.look(float(now))
    assert supervisor.stalled is None


def test_turns_alone_are_no_life_if_the_display_stands_still() -> None:
    thread, display = Thread(), Display()
    supervisor = Supervisor([thread], [display])
    look(supervisor, thread, 31.0)
    assert supervisor.stalled == "the display stands still"
    display.vital = Vital("the display", 0, 30.0, rest="the picture is held")
    look(supervisor, thread, LOOK_S)
    assert supervisor.stalled is None
