from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from backend.utils.machine import Machine, own_pids


class FakeNvml:
    """NVIDIA's library, with one GPU."""

    class NVMLError(Exception):
        pass

    class NVMLError_LibraryNotFound(NVMLError):  # noqa: N801, N818 - NVIDIA calls it so
        pass

    def __init__(self, processes: list[Any] | None = None, **answers: Callable[[], Any]) -> None:
        self.processes = processes or []
        self.answers = answers

    def __getattr__(self, name: str) -> Callable[..., Any]:
        usual: dict[str, Callable[..., Any]] = {
            "nvmlInit": lambda: None,
            "nvmlShutdown": lambda: None,
            "nvmlDeviceGetCount": lambda: 1,
            "nvmlDeviceGetHandleByIndex": lambda at: at,
            "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=1000, used=700),
            "nvmlDeviceGetName": lambda _: b"Fake 4090",
            "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=80),
            "nvmlDeviceGetComputeRunningProcesses": lambda _: self.processes,
            "nvmlDeviceGetGraphicsRunningProcesses": lambda _: [],
            "nvmlDeviceGetProcessUtilization": lambda *_: [SimpleNamespace(pid=2, timeStamp=1, smUtil=60)],
        }
        return self.answers.get(name, usual[name])


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeNvml], Machine]:
    def install(fake: FakeNvml) -> Machine:
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return Machine(lambda: "http://studio:8188")

    return install


def test_a_real_machine_can_be_read() -> None:
    reading = Machine(lambda: "").read()
    assert reading.processes
    assert reading.memory_free is not None
    assert 0.0 < reading.memory_free <= 1.0
    assert reading.on_battery in (True, False)


def test_memory_and_time_of_others_are_told_apart_from_ours(nvml: Callable[[FakeNvml], Machine]) -> None:
    ours = SimpleNamespace(pid=os.getpid(), usedGpuMemory=400)
    theirs = SimpleNamespace(pid=2, usedGpuMemory=300)
    gpu = nvml(FakeNvml([ours, theirs])).read().gpu
    assert gpu is not None
    assert (gpu.name, gpu.total_bytes, gpu.others_bytes) == ("Fake 4090", 1000, 300)
    assert (gpu.load, gpu.others_load) == (0.8, 0.6)


def test_programs_are_listed_only_where_it_matters_which_run() -> None:
    reading = Machine(lambda: "", wants_names=lambda: False).read()
    assert reading.processes is None
    assert reading.memory_free is not None


def test_a_library_that_is_not_there_is_looked_for_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [0.0], [0]

    def init() -> None:
        asked[0] += 1
        raise FakeNvml.NVMLError_LibraryNotFound

    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(nvmlInit=init))
    machine = Machine(lambda: "", wants_names=lambda: False, clock=lambda: now[0])
    for _ in range(60):
        assert machine.read().gpu is None
        now[0] += 2.0
    assert asked[0] == 2


def test_where_the_driver_does_not_say_whose_memory_it_is_it_is_unknown(
    nvml: Callable[[FakeNvml], Machine],
) -> None:
    gpu = nvml(FakeNvml([SimpleNamespace(pid=2, usedGpuMemory=None)])).read().gpu
    assert gpu is not None
    assert gpu.others_bytes is None


def test_a_card_that_tells_no_load_has_none(nvml: Callable[[FakeNvml], Machine]) -> None:
    fake = FakeNvml()

    def refuse(*_: object) -> None:
        raise fake.NVMLError("not supported")

    fake.answers = dict.fromkeys(["nvmlDeviceGetUtilizationRates", "nvmlDeviceGetProcessUtilization"], refuse)
    gpu = nvml(fake).read().gpu
    assert gpu is not None
    assert (gpu.load, gpu.others_load) == (None, None)


def test_a_lost_card_is_unknown_and_everything_else_is_known(nvml: Callable[[FakeNvml], Machine]) -> None:
    fake = FakeNvml()

    def lost(*_: object) -> None:
        raise fake.NVMLError("GPU is lost")

    fake.answers = {"nvmlDeviceGetMemoryInfo": lost}
    reading = nvml(fake).read()
    assert reading.gpu is None
    assert reading.cpu is not None


def test_no_driver_is_no_gpu(nvml: Callable[[FakeNvml], Machine]) -> None:
    fake = FakeNvml()

    def missing() -> None:
        raise fake.NVMLError_LibraryNotFound

    fake.answers = {"nvmlInit": missing}
    assert nvml(fake).read().gpu is None


def test_the_process_behind_the_engines_port_counts_as_ours() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        found = own_pids(f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert found is not None
    assert os.getpid() in found


def test_an_engine_here_whose_process_cannot_be_found_makes_ours_unknown() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert own_pids(f"http://127.0.0.1:{port}") is None
