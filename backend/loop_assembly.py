"""The dream loop that the settings ask for, on an engine that was opened for it."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from backend.config import Settings
from backend.core.aside import Aside
from backend.core.controller import DreamController
from backend.core.engine import Engine
from backend.core.gap import GapFiller
from backend.core.generator import DreamGenerator
from backend.core.memory_report import MemoryReport
from backend.core.report import Report
from backend.core.resuming import Resumed, Resuming
from backend.decoder_assembly import encoding_of, open_decoder
from backend.display_assembly import MAX_PIXELS, Display, size_of
from backend.ground_assembly import Ground
from backend.interpolation.decoder import Decoder
from backend.interpolation.hybrid_generator import HybridGenerator
from backend.utils.renewals import Renewals


@dataclass(frozen=True)
class Loop:
    """The dream loop, and those of its parts that others must know.

    Attributes:
        decoder: Of in-betweens.
        aside: What is dreamt beside the loop.
    """

    controller: DreamController
    generator: DreamGenerator
    gaps: GapFiller
    decoder: Decoder
    aside: Aside


def loop_of(settings: Settings, engine: Engine, ground: Ground, display: Display, stack: ExitStack) -> Loop:
    """Put the loop together, on this engine and for this display; it is not yet started."""
    decoder, wake = open_decoder(settings, engine, stack), threading.Event()
    generator = _generator_of(settings, engine, ground)
    gaps = _gaps_of(settings, generator, decoder, display, wake)
    resuming = _resuming_of(settings, generator, ground, display)
    aside = _aside_of(generator, ground, wake)
    controller = DreamController(
        engine,
        generator,
        gaps,
        ground.prompts,
        display.buffer,
        display.playback,
        buffer_s=settings.display.buffer_seconds,
        clock=time.monotonic,
        wall=datetime.now,
        rng=ground.rng,
        wake=wake,
        resuming=resuming,
        resumed=_resumed(resuming, ground, display),
        aside=aside,
    )
    return Loop(controller, generator, gaps, decoder, aside)


def report_of(
    settings: Settings,
    engine: Engine,
    note: str,
    ground: Ground,
    display: Display,
    loop: Loop,
    renewals: Renewals | None,
) -> Report:
    """Who tells of the dream.

    Args:
        settings: All of them.
        engine: Who paints.
        note: What is worth knowing about it.
        ground: What was there before it.
        display: Where the frames go.
        loop: What dreams.
        renewals: How often this process has begun anew before; None for never.
    """
    return Report(
        engine,
        loop.generator,
        loop.controller,
        loop.gaps,
        ground.prompts,
        display.buffer,
        display.shelf,
        display.playback,
        fps=settings.display.fps,
        note=" ".join(filter(None, (note, ground.past.note))),
        decoder=loop.decoder,
        memory=MemoryReport(ground.memory, ground.memory_problem, enabled=settings.memory.enabled),
        renewals=renewals,
    )


def _generator_of(settings: Settings, engine: Engine, ground: Ground) -> DreamGenerator:
    return DreamGenerator(
        engine,
        mode=settings.dream.mode,
        denoise=settings.dream.denoise,
        size=size_of(settings),
        max_pixels=MAX_PIXELS,
        rng=ground.rng,
    )


def _gaps_of(
    settings: Settings, generator: DreamGenerator, decoder: Decoder, display: Display, wake: threading.Event
) -> GapFiller:
    return GapFiller(
        generator,
        HybridGenerator(decoder, settings.interpolation.frames_per_job),
        display.buffer,
        display.pace,
        fps=settings.display.fps,
        gap_s=settings.dream.seconds_per_keyframe,
        max_pixels=MAX_PIXELS,
        job_timeout_s=settings.comfyui.job_timeout_seconds,
        path=settings.interpolation.path,
        pacing=settings.interpolation.pacing,
        encoding=encoding_of(settings),
        clock=time.monotonic,
        wake=wake.set,
    )


def _resuming_of(settings: Settings, generator: DreamGenerator, ground: Ground, display: Display) -> Resuming:
    return Resuming(
        ground.past.store,
        generator,
        ground.prompts,
        display.buffer,
        display.pace,
        ground.rng,
        seed=settings.dream.seed,
        max_pixels=MAX_PIXELS,
        clock=time.monotonic,
    )


def _resumed(resuming: Resuming, ground: Ground, display: Display) -> Resumed | None:
    point = ground.past.point
    return None if point is None else resuming.take_up(point, display.ahead)


def _aside_of(generator: DreamGenerator, ground: Ground, wake: threading.Event) -> Aside:
    return Aside(
        generator,
        lambda: ground.prompts.beside(time.monotonic(), datetime.now()),
        clock=time.monotonic,
        wake=wake.set,
    )
