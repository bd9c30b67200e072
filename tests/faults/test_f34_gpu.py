"""F34: the GPU is lost, its driver hangs, a game takes its memory: the loop never waits for any of it."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend.utils import probe, system_monitor
from tests.fakes.fake_comfy import FakeComfy
from tests.faults.stage import GUARD_S, Stage, Status, dreams, stage, well

log = logging.getLogger(__name__)

_GAME = 1  # no process of the dream's, wherever it runs
_TOTAL = 24 * 2**30
_BACK_S = 1


class FakeNvml:
    """NVIDIA's library over one card; what goes wrong can be changed while it is in use.

    Attributes:
        game: Whether another program has most of the card.
        lost: Whether the driver answers everything with an error.
        calls: Questions so far.
    """

    class NVMLError(Exception):
        pass

    class NVMLError_LibraryNotFound(NVMLError):  # noqa: N801, N818 - NVIDIA calls it so
        pass

    def __init__(self) -> None:
        self.game = self.lost = False
        self.calls = 0
        self._answers = threading.Event()
        self._answers.set()

    def hang(self) -> None:
        self._answers.clear()

    def answer_again(self) -> None:
        self._answers.set()

    def nvmlInit(self) -> None:
        self.calls += 1
        self._answers.wait(GUARD_S)
        if self.lost:
            raise self.NVMLError("GPU is lost")

    def nvmlShutdown(self) -> None:
        """Nothing is held."""

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, at: int) -> int:
        return at

    def nvmlDeviceGetName(self, _: int) -> str:
        return "Fake 4090"

    def nvmlDeviceGetMemoryInfo(self, _: int) -> Any:
        return SimpleNamespace(total=_TOTAL, used=_TOTAL // 4 * (3 if self.game else 1))

    def nvmlDeviceGetUtilizationRates(self, _: int) -> Any:
        return SimpleNamespace(gpu=90)

    def nvmlDeviceGetComputeRunningProcesses(self, _: int) -> list[Any]:
        return []

    def nvmlDeviceGetGraphicsRunningProcesses(self, _: int) -> list[Any]:
        return [SimpleNamespace(pid=_GAME, usedGpuMemory=_TOTAL * 2 // 3)] if self.game else []

    def nvmlDeviceGetProcessUtilization(self, _: int, since_us: int) -> list[Any]:
        return [SimpleNamespace(pid=_GAME, timeStamp=since_us + 1, smUtil=95)] if self.game else []


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    """In the place of NVIDIA's; the machine is looked at often, and a driver waited for but shortly."""
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(system_monitor, "LOOK_S", 0.05)
    monkeypatch.setattr(probe.Probe.__init__, "__defaults__", (1.0,))
    yield fake
    fake.answer_again()


@pytest.fixture
def on(tmp_path: Path, fake: FakeComfy, nvml: FakeNvml) -> Iterator[Stage]:
    """A daemon that dreams on this machine's card."""

    def on_a_card(told: dict[str, Any]) -> dict[str, Any]:
        return told | {"devices": [told["devices"][0] | {"name": "cuda:0 Fake 4090", "type": "cuda"}]}

    fake.fault("GET", "/system_stats", rewrite=on_a_card)
    with stage(tmp_path, fake, machine={"back_after_seconds": _BACK_S}) as made:
        made.wait_for(lambda now: dreams(now) and now["machine"]["gpu"] is not None)
        yield made


def test_f34_a_game_that_takes_the_card_has_it_and_the_dream_takes_it_back_afterwards(
    on: Stage, nvml: FakeNvml
) -> None:
    nvml.game = True
    rests = on.wait_for(lambda now: now["reason"]["code"] == "machine")
    assert "67% of the GPU's memory" in rests["reason"]["sentence"]
    on.wait_for(lambda _: on.fake.posted("/free") != [])
    (free,) = on.fake.posted("/free")
    assert free.json() == {"unload_models": True, "free_memory": True}
    posts = len(on.fake.posted("/prompt"))
    shown = on.status()["frame"]["sequence"]
    on.wait_for(lambda now: now["frame"]["sequence"] > shown + 20)  # memories move on
    assert len(on.fake.posted("/prompt")) == posts
    nvml.game = False
    on.recovers()
    assert len(on.fake.posted("/free")) == 1


def assert_goes_on(on: Stage) -> Status:
    """Keyframes and frames come while nothing is known of the card."""
    on.wait_for(lambda now: now["machine"]["gpu"] is None)
    now = on.more(3)
    assert (now["machine"]["gpu"], now["machine"]["yields"], now["hangs"]) == (None, False, None)
    on.wait_for(lambda now: now["machine"]["cpu"] is not None)  # the rest of the machine is known
    return now


def test_f34_a_driver_that_hangs_keeps_nobody_waiting_and_is_not_asked_twice(
    on: Stage, nvml: FakeNvml
) -> None:
    nvml.hang()
    assert_goes_on(on)
    asked = nvml.calls
    on.more(1)
    assert nvml.calls == asked
    assert sum(one.name == "probe-what uses the GPU" for one in threading.enumerate()) == 1
    nvml.answer_again()
    on.wait_for(lambda now: well(now) and now["machine"]["gpu"] is not None)


@pytest.mark.faults
def test_f34_a_card_that_is_lost_is_unknown_until_it_is_back(on: Stage, nvml: FakeNvml) -> None:
    nvml.lost = True
    assert_goes_on(on)
    nvml.lost = False
    on.wait_for(lambda now: well(now) and now["machine"]["gpu"] is not None)


@pytest.mark.faults
def test_f34_a_driver_that_hangs_while_a_game_has_the_card_does_not_end_the_dream_for_ever(
    on: Stage, nvml: FakeNvml
) -> None:
    nvml.game = True
    on.wait_for(lambda now: now["reason"]["code"] == "machine")
    nvml.hang()
    on.recovers()  # what is unknown is no reason
