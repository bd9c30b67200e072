"""What the machine is busy with: processes, memory, battery, and the GPU by NVIDIA's library."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psutil

from backend.utils.probe import Probe

_LOOK_BACK_US = 5_000_000
"""Samples of who used the GPU older than this are not of now."""
_LIBRARY_AGAIN_S = 60.0
"""A driver may be installed while we run; to look for its library costs more than all else."""


@dataclass(frozen=True)
class GpuReading:
    """One GPU, or the sum of several.

    Attributes:
        name: As its driver calls it.
        total_bytes: Of its memory.
        used_bytes: Of it, by anybody.
        load: Share of the time that it was at work, 0 to 1.
        others_bytes: Of its memory, by programs that have nothing to do with the dream; None if unknown.
        others_load: Share of the time that these used it; None if unknown.
    """

    name: str
    total_bytes: int
    used_bytes: int
    load: float | None = None
    others_bytes: int | None = None
    others_load: float | None = None


@dataclass(frozen=True)
class Reading:
    """The machine at one moment; what could not be had is None.

    Attributes:
        processes: Names of the programs that run, in small letters; None also where nobody wants to know.
        cpu: Share of all cores that is busy, 0 to 1.
        memory_free: Share of the memory that programs could still have.
        on_battery: Whether it runs on its battery.
        gpu: None where there is none, or its driver does not answer.
    """

    processes: frozenset[str] | None = None
    cpu: float | None = None
    memory_free: float | None = None
    on_battery: bool | None = None
    gpu: GpuReading | None = None


@dataclass
class Machine:
    """Reads the machine; each question has a deadline.

    Args:
        engine_url: Where the engine answers, whose use of the GPU is the dream's own.
        wants_names: Whether it matters which programs run; to list them all takes time.
        wall: Seconds since the epoch, by which drivers stamp their samples.
        clock: Monotonic seconds.
    """

    engine_url: Callable[[], str]
    wants_names: Callable[[], bool] = lambda: True
    wall: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._processes = Probe("what runs", _process_names)
        self._load = Probe("how busy the machine is", _load)
        self._battery = Probe("the battery", _on_battery)
        self._gpu = Probe("what uses the GPU", self._read_gpu)
        self._no_library_until = float("-inf")

    def read(self) -> Reading:
        """One reading; takes as long as the slowest driver, at most some seconds."""
        cpu, memory_free = self._load() or (None, None)
        names = self._processes() if self.wants_names() else None
        gpu = None if self.clock() < self._no_library_until else self._gpu()
        return Reading(names, cpu, memory_free, self._battery(), gpu)

    def _read_gpu(self) -> GpuReading | None:
        import pynvml

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError_LibraryNotFound:
            self._no_library_until = self.clock() + _LIBRARY_AGAIN_S
            return None
        try:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(at) for at in range(pynvml.nvmlDeviceGetCount())]
            own = own_pids(self.engine_url())
            return _summed(
                [_read_one(pynvml, handle, own, int(self.wall() * 1e6) - _LOOK_BACK_US) for handle in handles]
            )
        finally:
            pynvml.nvmlShutdown()


def own_pids(engine_url: str) -> frozenset[int] | None:
    """Processes of the dream and of its engine; None where the engine's process is not known.

    An engine on another machine uses another GPU: then only we ourselves are meant.
    """
    ours = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    where = urlsplit(engine_url)
    if where.hostname not in ("127.0.0.1", "localhost", "::1") or where.port is None:
        return frozenset(ours)
    listening: list[int | None] = [
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == where.port
    ]
    known = [pid for pid in listening if pid is not None]
    if not known or len(known) < len(listening):
        return None
    for pid in known:
        ours |= {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    return frozenset(ours)


def _process_names() -> frozenset[str]:
    found = (process.info["name"] for process in psutil.process_iter(["name"]))
    return frozenset(name.lower().removesuffix(".exe") for name in found if name)


def _load() -> tuple[float, float]:
    memory = psutil.virtual_memory()
    return psutil.cpu_percent(None) / 100.0, memory.available / memory.total


def _on_battery() -> bool:
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return battery is not None and battery.power_plugged is False


def _read_one(nvml: Any, handle: Any, own: frozenset[int] | None, since_us: int) -> GpuReading:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name = nvml.nvmlDeviceGetName(handle)
    others = None if own is None else _others_bytes(nvml, handle, own)
    return GpuReading(
        name=name.decode() if isinstance(name, bytes) else str(name),
        total_bytes=int(memory.total),
        used_bytes=int(memory.used),
        load=_maybe(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100.0),
        others_bytes=others,
        others_load=None if own is None else _others_load(nvml, handle, own, since_us),
    )


def _others_bytes(nvml: Any, handle: Any, own: frozenset[int]) -> int | None:
    """Memory of programs that are not ours; None where the driver does not say whose it is (containers)."""
    held: dict[int, int] = {}
    for ask in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
        for one in _maybe(nvml, lambda ask=ask: ask(handle)) or []:  # type: ignore[misc]
            if one.usedGpuMemory is None:
                return None
            held[one.pid] = max(held.get(one.pid, 0), int(one.usedGpuMemory))
    return sum(size for pid, size in held.items() if pid not in own)


def _others_load(nvml: Any, handle: Any, own: frozenset[int], since_us: int) -> float | None:
    samples = _maybe(nvml, lambda: nvml.nvmlDeviceGetProcessUtilization(handle, since_us))
    if samples is None:
        return None
    newest: dict[int, tuple[int, float]] = {}
    for one in samples:
        if one.timeStamp >= newest.get(one.pid, (0, 0.0))[0]:
            newest[one.pid] = (one.timeStamp, one.smUtil / 100.0)
    return min(1.0, sum(share for pid, (_, share) in newest.items() if pid not in own))


def _maybe(nvml: Any, ask: Callable[[], Any]) -> Any:
    """What the driver says; None for what this GPU does not tell."""
    try:
        return ask()
    except nvml.NVMLError:
        return None


def _summed(found: Iterable[GpuReading]) -> GpuReading | None:
    """Several GPUs as one: memories together, the highest load."""
    gpus = list(found)
    if not gpus:
        return None
    return GpuReading(
        name=" + ".join(gpu.name for gpu in gpus),
        total_bytes=sum(gpu.total_bytes for gpu in gpus),
        used_bytes=sum(gpu.used_bytes for gpu in gpus),
        load=_most([gpu.load for gpu in gpus]),
        others_bytes=None
        if any(gpu.others_bytes is None for gpu in gpus)
        else sum(gpu.others_bytes or 0 for gpu in gpus),
        others_load=_most([gpu.others_load for gpu in gpus]),
    )


def _most(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None
