"""Who looks at the machine, as the settings ask for it."""

from __future__ import annotations

import time
from datetime import datetime
from functools import partial
from urllib.parse import urlsplit

from backend.config import MachineSettings
from backend.core.controller import DreamController
from backend.core.engine import Engine, EngineKind
from backend.core.remembering import Remembering
from backend.core.report import Report
from backend.utils.disk_room import DiskRoom
from backend.utils.machine import Machine
from backend.utils.status_schema import GpuStatus, MachineStatus, Reason
from backend.utils.system_monitor import SystemMonitor

_HERE = ("127.0.0.1", "localhost", "::1")


def open_monitor(
    wishes: MachineSettings,
    controller: DreamController,
    engine: Engine,
    report: Report,
    room: DiskRoom,
    remembering: Remembering | None,
) -> SystemMonitor:
    """Has the dream rest when somebody else needs the machine, and the report tell of it; not yet started."""

    def rest(reason: Reason | None) -> None:
        if remembering is not None:
            remembering.sparing = reason is not None
        controller.rest(reason, dark=monitor.wishes.display == "dark")

    monitor = SystemMonitor(
        Machine(lambda: engine.client.url, wants_names=lambda: bool(monitor.wishes.yield_to)),
        wishes,
        uses_gpu=partial(uses_gpu_here, engine),
        rest=rest,
        clock=time.monotonic,
        wall=datetime.now,
        beside=room.look,
    )
    report.room = room
    report.machine = partial(machine_status, monitor)
    return monitor


def uses_gpu_here(engine: Engine) -> bool:
    """Whether the engine computes on a GPU of this machine."""
    facts = engine.facts
    if facts is None or facts.kind is EngineKind.EMBEDDED or facts.device.startswith("cpu"):
        return False
    return urlsplit(facts.url).hostname in _HERE


def machine_status(monitor: SystemMonitor) -> MachineStatus:
    """What the status tells of the machine."""
    reading, why = monitor.reading, monitor.yields
    gpu = reading.gpu
    return MachineStatus(
        yields=why is not None,
        why=None if why is None else why.sentence,
        cpu=reading.cpu,
        memory_free=reading.memory_free,
        on_battery=reading.on_battery,
        gpu=None
        if gpu is None
        else GpuStatus(
            name=gpu.name,
            memory_total=gpu.total_bytes,
            memory_used=gpu.used_bytes,
            memory_of_others=gpu.others_bytes,
            load=gpu.load,
            load_of_others=gpu.others_load,
        ),
    )
