#!/usr/bin/env python3
"""Dreamloop: a machine that dreams, day and night.

This is the composition root: it reads the settings, builds the parts, starts them in order and stops
them in reverse. What a command prints and asks stands in backend/cli/.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from backend.config import Settings
    from backend.core.aside import Aside
    from backend.core.config_watch import ConfigSource, ConfigWatch
    from backend.core.controller import DreamController, KeyframeListener
    from backend.core.desk import Desk, Handler
    from backend.core.engine import Engine
    from backend.core.playback import Playback
    from backend.core.report import Report
    from backend.core.scorer import Scorer
    from backend.core.supervisor import Supervised, Supervisor
    from backend.core.upkeep import Upkeep, Usage
    from backend.film.recorder import Recorder
    from backend.memory_assembly import DreamMemory
    from backend.shim.process import ShimProcess
    from backend.utils.control import ControlServer
    from backend.utils.disk_room import DiskRoom
    from backend.utils.logs import LogTail
    from backend.utils.renewals import Renewals
    from backend.utils.status_schema import Status
    from backend.utils.status_writer import StatusWriter
    from backend.utils.system_monitor import SystemMonitor

log = logging.getLogger("dreamloop")


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


@contextmanager
def compose(
    settings: Settings,
    frames: int | None,
    source: ConfigSource | None = None,
    renewals: Renewals | None = None,
) -> Iterator[Dreamloop]:
    """Build the parts, start them in order, and stop them in reverse on the way out.

    Args:
        settings: All of them; each part is handed what it needs.
        frames: Stop after so many shown frames; None for never.
        source: The file of the settings, whose edits are to be taken up; None for none.
        renewals: How often this process has begun anew before; None for never.

    Raises:
        AlreadyRunning: If another Dreamloop owns the output or status folder.
        PromptsError: If there are no themes that can be used.
        StorageError: If the output or status folder cannot be used.
    """
    from backend.assembly import open_engine
    from backend.core.desk import Desk
    from backend.core.memory_report import MemoryReport
    from backend.core.report import first_body
    from backend.live_assembly import LiveParts, open_watch
    from backend.loop_assembly import display_of, loop_of, prompts_of
    from backend.machine_assembly import open_monitor
    from backend.memory_assembly import open_memory
    from backend.resume_assembly import open_past
    from backend.utils.status_writer import StatusWriter

    rng, finished = random.Random(settings.dream.seed), threading.Event()
    with ExitStack() as stack:
        _own_folders(settings, stack)
        lines = _log_tail(stack)
        prompts = prompts_of(settings, rng)
        room = _room(settings)
        past = open_past(settings, lambda: room.scarce)
        memory, problem = open_memory(settings, stack)
        missed = _missed(problem, room)
        display = display_of(settings, frames, memory, past, room, stack)
        playback = display.playback
        writer = StatusWriter(
            settings.storage.status / "status.json",
            partial(first_body, playback, display.shelf, past.point, renewals),
        )
        _begin_to_show(playback, writer, finished, stack)
        engine, note = open_engine(settings, stack)
        controller, report, aside = loop_of(settings, engine, prompts, display, rng, note, past, stack)
        report.renewals = renewals
        report.memory = MemoryReport(memory, problem, enabled=settings.memory.enabled)
        recorder = _record(settings, engine, report, room, stack)
        told_of_keyframes: list[KeyframeListener] = [recorder.offer]
        ask_memory: Handler = partial(_no_memory, problem)
        wards: list[Supervised] = [playback.part, controller.part, *engine.parts, recorder.part]
        if memory is not None:
            scorer, ask_memory = _remember(memory, settings, engine, report, aside, room, stack)
            told_of_keyframes.append(scorer.offer)
            wards.append(scorer.part)
        controller.on_keyframe = lambda *news: [tell(*news) for tell in told_of_keyframes]
        monitor = open_monitor(settings.machine, controller, engine, report, room, display.remembering)
        watch = open_watch(source, LiveParts(report, recorder, display.remembering, memory, monitor))
        writer.snapshot = report.body
        stack.callback(writer.publish)
        desk = Desk(
            controller,
            prompts,
            writer,
            stop=partial(_begin_to_stop, controller, finished),
            memory=ask_memory,
            catalog=lambda: engine.catalog,
            lines=lines,
            clock=time.monotonic,
        )
        if source is not None and watch is not None:
            watch.on_change = writer.publish
            _take_edits(desk, source, watch)
        control = _control(settings, desk)
        _start(
            stack,
            (control.start, control.stop),
            (engine.client.start, engine.client.close),
            (playback.wake, playback.stop),
            (controller.start, controller.stop),
            (monitor.start, monitor.stop),
            *([] if watch is None else [(watch.start, watch.stop)]),
        )
        shim = _shim(settings, stack)
        wards += [
            control.part,
            monitor.part,
            *([] if watch is None else [watch.part]),
            *([] if shim is None else [shim]),
            *_mqtt(settings, stack),
        ]
        yield Dreamloop(
            finished,
            writer,
            _supervise(wards, playback, report),
            controller,
            shim,
            watch,
            *_upkeep(engine, monitor),
            missed,
        )


def _start(stack: ExitStack, *parts: tuple[Callable[[], object], Callable[[], object]]) -> None:
    """Start each, and have it stopped in reverse on the way out."""
    for start, stop in parts:
        start()
        stack.callback(stop)


def _upkeep(engine: Engine, monitor: SystemMonitor) -> tuple[Upkeep, Upkeep]:
    """Who looks at what we, and an engine of ours, take of the machine."""
    from backend.core.upkeep import Upkeep, own_usage, usage_of

    def engines() -> Usage | None:
        return None if engine.own_pid is None else usage_of([engine.own_pid])

    return (
        Upkeep("Dreamloop", own_usage, lambda: monitor.wishes.own_memory, time.monotonic),
        Upkeep("the engine", engines, lambda: monitor.wishes.engine_memory, time.monotonic),
    )


def _missed(problem: str | None, room: DiskRoom) -> Callable[[], str | None]:
    """Who says when a memory that a full disk kept from being opened can be opened."""
    if problem is None or not room.scarce:
        return lambda: None
    return lambda: None if room.scarce else "there is room on the disk for the memory again"


def _supervise(wards: Sequence[Supervised], playback: Playback, report: Report) -> Supervisor:
    """Who looks after all parts; the status tells what hangs."""
    from backend.core.supervisor import Supervisor

    supervisor = Supervisor(wards, [playback])
    report.hangs = lambda: supervisor.stalled
    return supervisor


def _mqtt(settings: Settings, stack: ExitStack) -> list[Supervised]:
    """The bridge to an MQTT broker, where one is wished for."""
    from backend.mqtt_assembly import open_bridge

    bridge = open_bridge(settings, os.environ)
    if bridge is None:
        return []
    bridge.start()
    stack.callback(bridge.stop)
    return [bridge.part]


def _take_edits(desk: Desk, source: ConfigSource, watch: ConfigWatch) -> None:
    """Have settings shown, edited and read again on request."""
    from backend.assembly import check_dream
    from backend.core.config_desk import ConfigDesk

    form = ConfigDesk(watch, source.path, source.environ, check_dream)
    for name, handler in (("reload", watch.obey), ("config", form.show), ("set_config", form.change)):
        desk.also(name, handler)


def _room(settings: Settings) -> DiskRoom:
    """What is free on the disk that the dream writes to."""
    from backend.utils.disk_room import DiskRoom

    room = DiskRoom(settings.storage.output, settings.storage.min_free)
    room.look()
    return room


def _record(settings: Settings, engine: Engine, report: Report, room: DiskRoom, stack: ExitStack) -> Recorder:
    """Have each keyframe's latent kept for films."""
    from backend.film.keyframe_files import FOLDER
    from backend.film.recorder import Recorder

    recorder = Recorder(
        settings.storage.output / FOLDER,
        keep_s=settings.storage.keyframe_hours * 3600.0,
        budget_bytes=settings.storage.keyframe_budget,
        walks=lambda: report.generator.mode.walks,
        gap_s=lambda: report.gaps.opened_s,
        facts=lambda: engine.facts,
        scarce=lambda: room.scarce,
    )
    report.recorded = recorder.recorded
    recorder.start()
    stack.callback(recorder.stop)
    return recorder


def _begin_to_show(
    playback: Playback, writer: StatusWriter, finished: threading.Event, stack: ExitStack
) -> None:
    """What an earlier run had ready is shown while an engine is still looked for."""
    playback.on_shown, playback.on_limit = writer.publish, finished.set
    writer.publish()
    playback.start()
    stack.callback(playback.stop)


def _remember(
    memory: DreamMemory,
    settings: Settings,
    engine: Engine,
    report: Report,
    aside: Aside,
    room: DiskRoom,
    stack: ExitStack,
) -> tuple[Scorer, Handler]:
    """Have each keyframe judged and remembered; gives the judge, and who answers about the memory."""
    from backend.interpolation.latent_encoder import LatentEncoder
    from backend.memory_assembly import commands_of, scorer_of

    scorer = scorer_of(memory, settings, report.generator, LatentEncoder(engine).encode, aside)
    report.memory.scorer, report.memory.aside = scorer, aside
    scorer.scarce = lambda: room.scarce
    scorer.start()
    stack.callback(scorer.stop)
    return scorer, commands_of(memory, lambda: report.generator.full_size, scorer.wish).obey


def _control(settings: Settings, desk: Desk) -> ControlServer:
    """Where commands for a running dream come in."""
    from backend.utils.control import SOCKET_NAME, ControlServer

    return ControlServer(settings.storage.status / SOCKET_NAME, desk.obey)


def _shim(settings: Settings, stack: ExitStack) -> ShimProcess | None:
    """The process that serves the pages, where they are wished for; it is started by the first tick."""
    if settings.shim.serve == "never":
        return None
    from backend.shim.process import ShimProcess
    from backend.shim.spec import ShimSpec

    shim = ShimProcess(ShimSpec.of(settings))
    stack.callback(shim.stop)
    return shim


def _log_tail(stack: ExitStack) -> LogTail:
    """The newest lines of the log, for whoever asks."""
    from backend.utils.logs import LogTail

    lines = LogTail()
    logging.getLogger().addHandler(lines)
    stack.callback(logging.getLogger().removeHandler, lines)
    return lines


def _begin_to_stop(controller: DreamController, finished: threading.Event) -> None:
    controller.announce_stop()
    finished.set()


def _own_folders(settings: Settings, stack: ExitStack) -> None:
    """Hold the folders that only one Dreamloop may write to."""
    from backend.utils.lock import OutputLock

    for folder in dict.fromkeys((settings.storage.output, settings.storage.status)):
        stack.enter_context(OutputLock(folder))


def _no_memory(problem: str | None, _request: Mapping[str, Any]) -> dict[str, Any]:
    from backend.errors import MemoryOff

    return {"ok": False, "error": f"this dream has no memory: {problem or MemoryOff()}"}


def _run(args: argparse.Namespace) -> int:
    from backend.cli import run
    from backend.utils.renewals import Renewals

    signals, renewals = run.Signals(), Renewals.taken_from(os.environ)
    source = _source(args)
    composed = partial(compose, source=source, renewals=renewals)
    return run.run(args, source.loaded.settings, composed, signals, renewals)


def _doctor(args: argparse.Namespace) -> int:
    from backend.assembly import open_engine
    from backend.cli import doctor

    return doctor.run(_settings(args), open_engine)


def _settings(args: argparse.Namespace) -> Settings:
    return _source(args).loaded.settings


def _source(args: argparse.Namespace) -> ConfigSource:
    from backend.config import DEFAULT_PATH, load_settings
    from backend.core.config_watch import ConfigSource
    from backend.utils.logs import FileStream, form_of, set_up_logging

    loaded = load_settings(args.config, os.environ)
    log_file = getattr(args, "log_file", None)
    wishes = loaded.settings.log
    form = form_of(wishes.format or "auto", os.environ)
    set_up_logging(wishes.level, FileStream(log_file) if log_file else None, form)
    return ConfigSource(args.config or DEFAULT_PATH, loaded, os.environ)


def _parser() -> argparse.ArgumentParser:
    from backend.cli import (
        comfyui,
        config,
        control,
        doctor,
        engine,
        export,
        memory,
        run,
        service,
        setting,
        shim,
        status,
    )

    parser = argparse.ArgumentParser(
        prog="main.py", description="Dreamloop: a machine that dreams, day and night."
    )
    parser.add_argument(
        "--config", type=Path, metavar="PATH", help="settings file (config.yaml beside main.py)"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    run.add_parser(commands).set_defaults(handler=_run)
    doctor.add_parser(commands).set_defaults(handler=_doctor)
    for module in (status, control, setting, service, memory, comfyui, shim, config, engine, export):
        module.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, `run` where none is named; returns the exit status."""
    from backend.cli import exit_codes
    from backend.errors import ConfigError

    # torch's idle threads spin while they wait; on a small machine they take the core that the engine
    # or the display needs (measured: fifteen times longer a picture). Read when torch is first loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parser = _parser()
    args = parser.parse_args(arguments)
    if not hasattr(args, "handler"):
        args = parser.parse_args(["run"], args)
    try:
        return int(args.handler(args))
    except ConfigError as error:
        print(f"the settings cannot be used:\n{error}", file=sys.stderr)
        return exit_codes.CONFIG


def _leave(status: int) -> NoReturn:
    """All is closed by now, and Python would take another second or two to take torch apart."""
    logging.shutdown()
    if "torch" in sys.modules:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


def _is_cut_off(pipe: int) -> bool:
    """Whether nobody reads any more what is written there."""
    looking = select.poll()
    looking.register(pipe, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in looking.poll(0))


def _until_nobody_reads() -> int:
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        if not _is_cut_off(sys.stdout.fileno()):
            raise
        # `main.py status | head`: whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


if __name__ == "__main__":
    _leave(_until_nobody_reads())
