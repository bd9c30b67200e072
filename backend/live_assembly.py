"""Which part of a running dream takes which settings at once; what none of them takes waits for a restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from backend.assembly import check_dream, needs_of, planner_for
from backend.config import MachineSettings, Settings
from backend.core.config_watch import ConfigSource, ConfigWatch, config_status
from backend.core.engine_plan import Planner
from backend.core.generator import MODES
from backend.core.live_settings import LiveSettings
from backend.core.remembering import Remembering
from backend.core.report import Report
from backend.core.scorer import Scorer
from backend.errors import EngineError, EngineUnreachable
from backend.film.recorder import Recorder
from backend.memory_assembly import DreamMemory, injection_of
from backend.utils.logs import set_level
from backend.utils.system_monitor import SystemMonitor

Refuse = Callable[[Sequence[str], Settings, Settings, EngineError], None]
"""Told of keys for which the engine cannot go by the first settings: it still goes by the second."""

_PLANNED = (
    "comfyui.node_pack",
    "dream.mode",
    "dream.size",
    "dream.adapters",
    "dream.steps",
    "dream.cfg",
    "dream.sampler",
    "dream.scheduler",
)
"""What the engine is looked at for: it may lack a sampler, or the model of an adapter."""


@dataclass(frozen=True)
class LiveParts:
    """The parts that settings concern while they run.

    Attributes:
        report: Knows most of them.
        remembering: The walk through the memory, if there is one.
    """

    report: Report
    recorder: Recorder
    remembering: Remembering | None
    memory: DreamMemory | None
    monitor: SystemMonitor


def open_watch(source: ConfigSource | None, parts: LiveParts) -> ConfigWatch | None:
    """Who takes up edits of the settings, where they have a file, and tells the status; not yet started."""
    if source is None:
        return None
    live = LiveSettings()
    watch = ConfigWatch(source, live, check=check_dream, clock=time.monotonic, wall=lambda: datetime.now(UTC))
    register_parts(live, source.loaded.settings, parts, watch.refuse)
    watch.on_forced = parts.report.controller.look_at_prompts
    parts.report.config = lambda: config_status(watch.state)
    return watch


def register_parts(live: LiveSettings, settings: Settings, parts: LiveParts, refuse: Refuse) -> None:
    """Say who takes what of an edit.

    Args:
        live: Where to.
        settings: Those that the dream began with.
        parts: Who is there.
        refuse: Told of what the engine cannot do.
    """
    report = parts.report
    live.register(
        ("prompts.folder", "prompts.order", "prompts.seconds_per_theme", "prompts.seconds_per_prompt"),
        partial(_take_prompts, report),
    )
    live.register(_PLANNED, _Replan(settings, report, refuse).take)
    live.register(("dream.mode", "dream.denoise", "dream.size"), partial(_take_dream, report))
    live.register(
        ("display.fps", "display.buffer_seconds", "dream.seconds_per_keyframe", "dream.mode"),
        partial(_take_time, report, parts.remembering),
    )
    live.register(
        ("comfyui.job_timeout_seconds", "interpolation.frames_per_job"), partial(_take_jobs, report)
    )
    live.register(("interpolation.path", "interpolation.pacing"), partial(_take_walk, report))
    live.register(
        ("display.keep_seconds", "storage.budget", "storage.min_free"), partial(_take_shelf, report)
    )
    live.register(
        ("memory.max_entries", "memory.max_size", "memory.min_score"), partial(_take_memory, parts.memory)
    )
    live.register(
        ("memory.injection", "memory.cooldown_seconds", "dream.mode"),
        partial(_take_injection, report.memory.scorer),
    )
    live.register(
        ("storage.keyframe_hours", "storage.keyframe_budget"), partial(_take_recorder, parts.recorder)
    )
    live.register(
        tuple(f"machine.{name}" for name in MachineSettings.model_fields),
        partial(_take_machine, parts.monitor),
    )
    live.register(("log.level",), lambda new: set_level(new.log.level))


def _take_machine(monitor: SystemMonitor, new: Settings) -> None:
    monitor.wishes = new.machine
    monitor.look_again()


def _take_prompts(report: Report, new: Settings) -> None:
    """Raises PromptsError."""
    report.prompts.use(
        new.prompts.folder,
        seconds_per_theme=new.prompts.seconds_per_theme,
        seconds_per_prompt=new.prompts.seconds_per_prompt,
        order=new.prompts.order,
    )


def _take_dream(report: Report, new: Settings) -> None:
    size = new.dream.size
    report.generator.use(
        mode=new.dream.mode,
        denoise=new.dream.denoise,
        size=None if size is None else (size.width, size.height),
    )


def _take_time(report: Report, remembering: Remembering | None, new: Settings) -> None:
    fps, gap_s = new.display.fps, new.dream.seconds_per_keyframe
    report.fps = fps
    report.gaps.retime(fps, gap_s)
    report.controller.headroom.wished_s = new.display.buffer_seconds
    report.playback.retime(fps, None if MODES[new.dream.mode].walks else gap_s)
    if remembering is not None:
        remembering.retime(1.0 / fps, gap_s)


def _take_jobs(report: Report, new: Settings) -> None:
    report.engine.job_timeout_s = report.gaps.job_timeout_s = new.comfyui.job_timeout_seconds
    report.gaps.hybrid.send_at_most(new.interpolation.frames_per_job)


def _take_walk(report: Report, new: Settings) -> None:
    report.gaps.layout.path = new.interpolation.path
    report.gaps.layout.pacing = new.interpolation.pacing


def _take_shelf(report: Report, new: Settings) -> None:
    report.shelf.keep_s, report.shelf.budget_bytes = new.display.keep_seconds, new.storage.budget
    if report.room is not None:
        report.room.reserve_bytes = new.storage.min_free


def _take_recorder(recorder: Recorder, new: Settings) -> None:
    recorder.limit(new.storage.keyframe_hours * 3600.0, new.storage.keyframe_budget)


def _take_memory(memory: DreamMemory | None, new: Settings) -> None:
    if memory is not None:
        memory.take(new.memory)


def _take_injection(scorer: Scorer | None, new: Settings) -> None:
    if scorer is not None:
        scorer.use(injection_of(new))


class _Replan:
    """Has the engine go by another plan, on the thread that talks to it.

    The engine may refuse. Then it goes by the plan before, and so must the other parts.
    """

    def __init__(self, settings: Settings, report: Report, refuse: Refuse) -> None:
        self._report = report
        self._refuse = refuse
        self._wished = self._agreed = settings

    def take(self, new: Settings) -> None:
        """Raises ConfigError for what no server could do."""
        planner = planner_for(new, self._report.engine.kind)
        self._wished = new
        self._report.controller.soon(partial(self._adopt, planner, new))

    def _adopt(self, planner: Planner, new: Settings) -> None:
        if new is not self._wished:  # there has been another edit since
            return
        try:
            self._report.engine.adopt(planner, needs_of(new))
        except EngineUnreachable:
            pass  # the loop finds out by itself, and plans so as soon as somebody answers
        except EngineError as error:
            self._refuse(_PLANNED, new, self._agreed, error)
            return
        self._agreed = new
