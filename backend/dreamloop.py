"""A dream that has been started; its process sees to it that all parts live and none grows too large."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from backend.core.config_watch import ConfigWatch
from backend.core.controller import DreamController
from backend.core.engine import Engine
from backend.core.playback import Playback
from backend.core.report import Report
from backend.core.supervisor import Supervised, Supervisor
from backend.core.upkeep import Upkeep, Usage, own_usage, usage_of
from backend.utils.status_schema import Status
from backend.utils.status_writer import StatusWriter
from backend.utils.system_monitor import SystemMonitor

if TYPE_CHECKING:
    from backend.shim.process import ShimProcess


@dataclass
class Dreamloop:
    """A dream that has been started.

    Attributes:
        finished: Set when it has shown all the frames that were asked for, or was told to stop.
        watch: Takes up edits of the settings; None where they come from no file.
        upkeep: Says when this process has become too large; engine_upkeep, when an engine of ours has.
        missed: Says when what could not be had at the start can be had now.
        renewal: Why this process is to end and to begin anew; None while it need not.
    """

    finished: threading.Event
    writer: StatusWriter
    supervisor: Supervisor
    controller: DreamController
    shim: ShimProcess | None = None
    watch: ConfigWatch | None = None
    upkeep: Upkeep | None = None
    engine_upkeep: Upkeep | None = None
    missed: Callable[[], str | None] = lambda: None
    renewal: str | None = None

    @property
    def status(self) -> Status:
        """The newest status."""
        return self.writer.latest

    @property
    def stalled(self) -> str | None:
        """Who hangs; None while frames are shown or rest is legitimate: a watchdog may be told so."""
        return self.supervisor.stalled

    @property
    def given_up(self) -> str | None:
        """Why the process must end and be started anew; None while all can be kept going."""
        return self.supervisor.given_up

    @property
    def pages(self) -> str | None:
        """The address of the pages; None while they are not served."""
        return None if self.shim is None else self.shim.url

    def tick(self) -> None:
        """Look after the parts, and keep the status file younger than a second."""
        self.supervisor.look(time.monotonic())
        if self.given_up is not None:
            self.controller.give_up(self.given_up)
        self.writer.tick()
        if self.shim is not None:
            self.shim.tick()
        self._look_after_memory()

    def _look_after_memory(self) -> None:
        if self.upkeep is not None and self.renewal is None:
            self.renewal = self.missed() or self.upkeep.look()
        if self.engine_upkeep is not None and (why := self.engine_upkeep.look()) is not None:
            self.controller.renew_engine(why)
            self.engine_upkeep.begun_anew()

    def reload(self) -> Callable[[], bool]:
        """Have settings and themes read again; does not wait, but gives who says whether that is done."""
        if self.watch is None:
            self.controller.look_at_prompts()
            return lambda: True
        return partial(self.watch.answered, self.watch.ask())


def supervise(wards: Sequence[Supervised], playback: Playback, report: Report) -> Supervisor:
    """Who looks after all parts; the status tells what hangs."""
    supervisor = Supervisor(wards, [playback])
    report.hangs = lambda: supervisor.stalled
    return supervisor


def upkeep_of(engine: Engine, monitor: SystemMonitor) -> tuple[Upkeep, Upkeep]:
    """Who looks at what we, and an engine of ours, take of the machine."""

    def engines() -> Usage | None:
        return None if engine.own_pid is None else usage_of([engine.own_pid])

    return (
        Upkeep("Dreamloop", own_usage, lambda: monitor.wishes.own_memory, time.monotonic),
        Upkeep("the engine", engines, lambda: monitor.wishes.engine_memory, time.monotonic),
    )
