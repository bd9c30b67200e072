"""Who may change the course of a dream: people at the desk, edits of the settings, others on the machine."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from backend.assembly import check_dream
from backend.config import Settings
from backend.core.config_desk import ConfigDesk
from backend.core.config_watch import ConfigSource, ConfigWatch
from backend.core.desk import Desk
from backend.display_assembly import Display
from backend.dream_assembly import Dream
from backend.ground_assembly import Ground
from backend.live_assembly import LiveParts, open_watch
from backend.machine_assembly import open_monitor
from backend.utils.control import SOCKET_NAME, ControlServer
from backend.utils.logs import LogTail
from backend.utils.part import Part
from backend.utils.status_writer import StatusWriter
from backend.utils.system_monitor import SystemMonitor


@dataclass(frozen=True)
class Steering:
    """Who steers.

    Attributes:
        control: The socket where people ask.
        monitor: Has the dream rest when somebody else needs the machine.
        watch: Takes up edits of the settings; None where they come from no file.
    """

    control: ControlServer
    monitor: SystemMonitor
    watch: ConfigWatch | None

    @property
    def parts(self) -> list[Part]:
        """Their threads."""
        return [self.control.part, self.monitor.part, *([] if self.watch is None else [self.watch.part])]


def log_tail(stack: ExitStack) -> LogTail:
    """The newest lines of the log, for whoever asks; the stack ends it."""
    lines = LogTail()
    logging.getLogger().addHandler(lines)
    stack.callback(logging.getLogger().removeHandler, lines)
    return lines


def steering_of(
    settings: Settings,
    source: ConfigSource | None,
    ground: Ground,
    display: Display,
    dream: Dream,
    writer: StatusWriter,
    lines: LogTail,
) -> Steering:
    """Put together who steers this dream, and have the report tell of them; not yet started."""
    report, remembering = dream.report, display.remembering
    monitor = open_monitor(settings.machine, dream.controller, dream.engine, report, ground.room, remembering)
    watch = open_watch(source, LiveParts(report, dream.recorder, remembering, ground.memory, monitor))
    desk = _desk_of(ground, display, dream, writer, lines)
    if source is not None and watch is not None:
        watch.on_change = writer.publish
        _take_edits(desk, source, watch)
    control = ControlServer(settings.storage.status / SOCKET_NAME, desk.obey)
    return Steering(control, monitor, watch)


def _desk_of(ground: Ground, display: Display, dream: Dream, writer: StatusWriter, lines: LogTail) -> Desk:
    return Desk(
        dream.controller,
        ground.prompts,
        writer,
        stop=partial(_begin_to_stop, display, dream),
        memory=dream.ask_memory,
        catalog=lambda: dream.engine.catalog,
        lines=lines,
        clock=time.monotonic,
    )


def _begin_to_stop(display: Display, dream: Dream) -> None:
    dream.controller.announce_stop()
    display.finished.set()


def _take_edits(desk: Desk, source: ConfigSource, watch: ConfigWatch) -> None:
    """Have settings shown, edited and read again on request."""
    form = ConfigDesk(watch, source.path, source.environ, check_dream)
    for name, handler in (("reload", watch.obey), ("config", form.show), ("set_config", form.change)):
        desk.also(name, handler)
