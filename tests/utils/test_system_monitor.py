from __future__ import annotations

from datetime import datetime

import pytest

from backend.config_sections import MachineSettings
from backend.utils.machine import GpuReading, Reading
from backend.utils.status_schema import Reason, ReasonCode
from backend.utils.system_monitor import PREDICATES, Moment, SystemMonitor, Yield

NOON = datetime(2026, 11, 30, 12)
GPU = GpuReading("a card", 1000, 700, 0.9, others_bytes=100, others_load=0.1)
CALM = Reading(frozenset({"bash"}), 0.1, 0.6, False, GPU)


class Scene:
    """A monitor with a machine that says what the test wants."""

    def __init__(self, predicates: object = PREDICATES, **wishes: object) -> None:
        self.now, self.wall, self.here, self.looks = 0.0, NOON, CALM, 0
        self.told: list[Reason | None] = []
        self.monitor = SystemMonitor(
            self,
            MachineSettings(**{"back_after_seconds": "30", **wishes}),
            uses_gpu=lambda: True,
            rest=self.told.append,
            clock=lambda: self.now,
            wall=lambda: self.wall,
            predicates=predicates,  # type: ignore[arg-type]
        )

    def read(self) -> Reading:
        self.looks += 1
        return self.here

    def look(self, reading: Reading = CALM, times: int = 1, seconds: float = 2.0) -> None:
        self.here = reading
        for _ in range(times):
            self.monitor.turn()
            self.now += seconds

    @property
    def rests(self) -> bool:
        return self.monitor.yields is not None


def running(*names: str) -> Reading:
    return Reading(frozenset(names), 0.1, 0.6, False, GPU)


def gpu(others_bytes: int | None = 100, others_load: float | None = 0.1) -> Reading:
    reading = GpuReading("a card", 1000, 700, 0.9, others_bytes, others_load)
    return Reading(frozenset(), 0.1, 0.6, False, reading)


def test_a_calm_machine_is_the_dreams() -> None:
    scene = Scene()
    scene.look(times=5)
    assert scene.told == []


@pytest.mark.parametrize("wanted", ["[steam]", "[Steam]", "[steam.exe]", '["st*"]', "[other, steam]"])
def test_a_program_that_runs_has_the_machine_at_once(wanted: str) -> None:
    scene = Scene(yield_to=wanted)
    scene.look(running("bash", "steam"))
    assert scene.rests
    assert scene.told[0] is not None
    assert scene.told[0].code is ReasonCode.MACHINE
    assert "runs" in scene.told[0].sentence


def test_the_machine_is_taken_back_after_a_while_of_quiet() -> None:
    scene = Scene(yield_to="[steam]")
    scene.look(running("steam"))
    scene.look(times=15)  # 30 s by the clock that is handed in, the first look at 0
    assert scene.rests
    scene.look(running("steam"))
    scene.look(times=15)
    assert scene.rests
    scene.look(times=2)
    assert not scene.rests
    assert scene.told[-1] is None


def test_others_that_hold_the_gpus_memory_have_it() -> None:
    scene = Scene()
    scene.look(gpu(others_bytes=600))
    assert not scene.rests
    scene.look(gpu(others_bytes=600))
    assert scene.rests


def test_a_flicker_of_load_is_no_reason() -> None:
    scene = Scene()
    for _ in range(4):
        scene.look(gpu(others_load=0.95), times=2)
        scene.look()
    assert not scene.rests
    scene.look(gpu(others_load=0.95), times=3)
    assert scene.rests


def test_what_is_unknown_is_no_reason() -> None:
    scene = Scene(yield_to="[steam]", on_battery="rest")
    scene.look(Reading(), times=5)
    scene.look(gpu(others_bytes=None, others_load=None), times=5)
    assert not scene.rests


def test_a_gpu_that_the_dream_does_not_use_is_nobodys_business() -> None:
    scene = Scene()
    scene.monitor._uses_gpu = lambda: False
    scene.look(gpu(others_bytes=900, others_load=1.0), times=5)
    assert not scene.rests


def test_hours_end_and_begin_on_the_minute() -> None:
    scene = Scene(hours="[08:00-20:00]")
    scene.look()
    scene.wall = NOON.replace(hour=20)
    scene.look()
    assert scene.told[-1] is not None
    assert scene.told[-1].code is ReasonCode.SCHEDULE
    scene.wall = NOON.replace(hour=8)
    scene.look()
    assert not scene.rests


def test_a_clock_that_is_set_changes_the_decision_once() -> None:
    scene = Scene(hours="[08:00-20:00]")
    scene.wall = NOON.replace(year=2030, hour=3)
    scene.look(times=4)
    assert [one.code for one in scene.told if one] == [ReasonCode.SCHEDULE] * 4
    scene.wall = NOON
    scene.look(times=4)
    assert scene.told[4:] == [None]


@pytest.mark.parametrize(("wish", "rests"), [("rest", True), ("dream", False)])
def test_on_a_battery_it_does_as_it_is_told(wish: str, rests: bool) -> None:
    scene = Scene(on_battery=wish)
    scene.look(Reading(frozenset(), 0.1, 0.6, True, None))
    assert scene.rests is rests


def test_a_machine_without_memory_is_left_alone() -> None:
    scene = Scene()
    scene.look(Reading(frozenset(), 0.1, 0.005, False, None), times=3)
    assert scene.rests


def test_adding_a_reason_is_adding_a_function() -> None:
    def too_warm(now: Moment) -> Yield | None:
        return Yield(ReasonCode.MACHINE, "the room is warm") if (now.reading.cpu or 0.0) > 0.9 else None

    scene = Scene((*PREDICATES, too_warm))
    scene.look(Reading(frozenset(), 0.95, 0.6, False, None))
    assert scene.rests
    assert "warm" in str(scene.told[0])
