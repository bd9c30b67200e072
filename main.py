#!/usr/bin/env python3
"""Dreamloop: a machine that dreams, day and night.

This is the composition root: it reads the settings, builds the parts, starts them in order and stops
them in reverse. What a command prints and asks stands in backend/cli/.
"""

from __future__ import annotations

import argparse
import logging
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from backend.config import Settings
    from backend.core.config_watch import ConfigSource
    from backend.core.supervisor import Supervised
    from backend.display_assembly import Display
    from backend.dream_assembly import Dream
    from backend.dreamloop import Dreamloop
    from backend.shim.process import ShimProcess
    from backend.steering_assembly import Steering
    from backend.utils.renewals import Renewals

log = logging.getLogger("dreamloop")


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
    from backend.display_assembly import begin_to_show, display_of
    from backend.dream_assembly import open_dream
    from backend.dreamloop import Dreamloop, supervise, upkeep_of
    from backend.ground_assembly import ground_of
    from backend.steering_assembly import log_tail, steering_of

    with ExitStack() as stack:
        _own_folders(settings, stack)
        lines = log_tail(stack)
        ground = ground_of(settings, stack)
        display = display_of(settings, frames, ground, stack)
        writer = begin_to_show(settings, ground, display, renewals, stack)
        dream = open_dream(settings, ground, display, renewals, stack)
        steering = steering_of(settings, source, ground, display, dream, writer, lines)
        writer.snapshot = dream.report.body
        stack.callback(writer.publish)
        _start(stack, display, dream, steering)
        shim = _shim(settings, stack)
        faces = [*([] if shim is None else [shim]), *_mqtt(settings, stack)]
        wards = [display.playback.part, *dream.parts, *steering.parts, *faces]
        yield Dreamloop(
            display.finished,
            writer,
            supervise(wards, display.playback, dream.report),
            dream.controller,
            shim,
            steering.watch,
            *upkeep_of(dream.engine, steering.monitor),
            ground.missed,
        )


def _start(stack: ExitStack, display: Display, dream: Dream, steering: Steering) -> None:
    """Start each that is not yet at work, and have it stopped in reverse on the way out."""
    client, watch = dream.engine.client, steering.watch
    parts: list[tuple[Callable[[], object], Callable[[], object]]] = [
        (steering.control.start, steering.control.stop),
        (client.start, client.close),
        (display.playback.wake, display.playback.stop),
        (dream.controller.start, dream.controller.stop),
        (steering.monitor.start, steering.monitor.stop),
        *([] if watch is None else [(watch.start, watch.stop)]),
    ]
    for start, stop in parts:
        start()
        stack.callback(stop)


def _mqtt(settings: Settings, stack: ExitStack) -> list[Supervised]:
    """The bridge to an MQTT broker, where one is wished for."""
    from backend.mqtt_assembly import open_bridge

    bridge = open_bridge(settings, os.environ)
    if bridge is None:
        return []
    bridge.start()
    stack.callback(bridge.stop)
    return [bridge.part]


def _shim(settings: Settings, stack: ExitStack) -> ShimProcess | None:
    """The process that serves the pages, where they are wished for; it is started by the first tick."""
    if settings.shim.serve == "never":
        return None
    from backend.shim.process import ShimProcess
    from backend.shim.spec import ShimSpec

    shim = ShimProcess(ShimSpec.of(settings))
    stack.callback(shim.stop)
    return shim


def _own_folders(settings: Settings, stack: ExitStack) -> None:
    """Hold the folders that only one Dreamloop may write to."""
    from backend.utils.lock import OutputLock

    for folder in dict.fromkeys((settings.storage.output, settings.storage.status)):
        stack.enter_context(OutputLock(folder))


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
