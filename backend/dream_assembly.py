"""The dream that the settings ask for: an engine, the loop on it, who tells of it and who is told."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from backend.assembly import open_engine
from backend.config import Settings
from backend.core.controller import DreamController
from backend.core.desk import Handler
from backend.core.engine import Engine
from backend.core.generator import Keyframe
from backend.core.report import Report
from backend.core.scorer import Scorer
from backend.core.shown_gaps import ShownGaps
from backend.core.supervisor import Supervised
from backend.display_assembly import Display
from backend.errors import MemoryOff
from backend.film.keyframe_files import FOLDER
from backend.film.recorder import Recorder
from backend.ground_assembly import Ground
from backend.interpolation.latent_encoder import LatentEncoder
from backend.loop_assembly import Loop, loop_of, report_of
from backend.memory_assembly import commands_of, scorer_of
from backend.utils.disk_room import DiskRoom
from backend.utils.renewals import Renewals

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Dream:
    """Whoever has a part in it.

    Attributes:
        report: Tells of it.
        recorder: Keeps each keyframe for films.
        scorer: Judges and remembers; None where there is no memory.
        ask_memory: Answers what people ask of the memory.
    """

    engine: Engine
    controller: DreamController
    report: Report
    recorder: Recorder
    scorer: Scorer | None
    ask_memory: Handler

    @property
    def parts(self) -> list[Supervised]:
        """Their threads, and the engine's process where that is ours."""
        scorer = [] if self.scorer is None else [self.scorer.part]
        return [self.controller.part, *self.engine.parts, self.recorder.part, *scorer]

    def hear(self, keyframe: Keyframe, latent: Tensor | None) -> None:
        """Tell whoever wants to know of each keyframe that one has come."""
        self.recorder.offer(keyframe, latent)
        if self.scorer is not None:
            self.scorer.offer(keyframe, latent)


def open_dream(
    settings: Settings, ground: Ground, display: Display, renewals: Renewals | None, stack: ExitStack
) -> Dream:
    """Put it together and start who listens; the loop and the engine's client are not yet started.

    Args:
        settings: All of them.
        ground: What is there before there is an engine.
        display: Where the frames go.
        renewals: How often this process has begun anew before; None for never.
        stack: Stops and closes it.
    """
    engine, note = open_engine(settings, stack)
    loop = loop_of(settings, engine, ground, display, stack)
    report = report_of(settings, engine, note, ground, display, loop, renewals)
    recorder = _recorder_of(settings, engine, report, ground.room)
    recorder.start()
    stack.callback(recorder.stop)
    display.buffer.on_taken = ShownGaps(recorder.shown).taken
    scorer, ask_memory = _judged(settings, engine, ground, loop, report, stack)
    dream = Dream(engine, loop.controller, report, recorder, scorer, ask_memory)
    loop.controller.on_keyframe = dream.hear
    return dream


def _recorder_of(settings: Settings, engine: Engine, report: Report, room: DiskRoom) -> Recorder:
    """Has each keyframe's latent kept for films."""
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
    return recorder


def _judged(
    settings: Settings, engine: Engine, ground: Ground, loop: Loop, report: Report, stack: ExitStack
) -> tuple[Scorer | None, Handler]:
    """Have each keyframe judged and remembered; gives the judge, and who answers about the memory."""
    memory = ground.memory
    if memory is None:
        return None, partial(_no_memory, ground.memory_problem)
    scorer = scorer_of(memory, settings, loop.generator, LatentEncoder(engine).encode, loop.aside)
    report.memory.scorer, report.memory.aside = scorer, loop.aside
    scorer.scarce = lambda: ground.room.scarce
    scorer.start()
    stack.callback(scorer.stop)
    return scorer, commands_of(memory, lambda: loop.generator.full_size, scorer.wish).obey


def _no_memory(problem: str | None, _request: Mapping[str, Any]) -> dict[str, Any]:
    return {"ok": False, "error": f"this dream has no memory: {problem or MemoryOff()}"}
