"""The display and the dream loop that the settings ask for."""

from __future__ import annotations

import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from backend.config import Settings
from backend.core.aside import Aside
from backend.core.controller import DreamController
from backend.core.engine import Engine
from backend.core.frame_buffer import FrameBuffer
from backend.core.frame_shelf import FrameShelf
from backend.core.frames_ahead import Ahead
from backend.core.gap import GapFiller
from backend.core.generator import MODES, DreamGenerator
from backend.core.pace import Pace
from backend.core.playback import Playback
from backend.core.remembering import Remembering
from backend.core.report import Report
from backend.core.resuming import Resuming
from backend.decoder_assembly import encoding_of, open_decoder
from backend.interpolation.hybrid_generator import HybridGenerator
from backend.memory_assembly import DreamMemory, recall_of
from backend.resume_assembly import Past, begin_display
from backend.utils.disk_room import DiskRoom
from backend.utils.prompt_manager import PromptManager

_BUFFER_BYTES = 512_000_000
_MAX_PIXELS = 64_000_000
_TITLE_SIZE = (768, 432)


def prompts_of(settings: Settings, rng: random.Random) -> PromptManager:
    """The themes, in the order that is wished for."""
    return PromptManager(
        settings.prompts.folder,
        seconds_per_theme=settings.prompts.seconds_per_theme,
        seconds_per_prompt=settings.prompts.seconds_per_prompt,
        order=settings.prompts.order,
        rng=rng,
    )


@dataclass(frozen=True)
class Display:
    """Everything between a frame that has arrived and the disk."""

    buffer: FrameBuffer
    pace: Pace
    shelf: FrameShelf
    playback: Playback
    remembering: Remembering | None
    ahead: Ahead


def display_of(
    settings: Settings,
    frames: int | None,
    memory: DreamMemory | None,
    past: Past,
    room: DiskRoom,
    stack: ExitStack,
) -> Display:
    """Everything between a frame that has arrived and the disk; it shows what an earlier run had ready."""
    shelf = FrameShelf(
        settings.storage.output,
        keep_s=settings.display.keep_seconds,
        budget_bytes=settings.storage.budget,
        max_pixels=_MAX_PIXELS,
        clock=time.monotonic,
        spooled=past.spool.shown,
        scarce=lambda: room.scarce,
    )
    stack.callback(shelf.close)
    buffer, pace = FrameBuffer(_BUFFER_BYTES, past.spool), Pace()
    remembering = None
    if memory is not None:
        remembering = recall_of(
            memory,
            frame_s=1.0 / settings.display.fps,
            fade_s=settings.dream.seconds_per_keyframe,
            max_pixels=_MAX_PIXELS,
            rng=random.Random(settings.dream.seed),
            encoding=encoding_of(settings),
        )
    playback = Playback(
        buffer,
        shelf,
        pace,
        fps=settings.display.fps,
        # Stills that are shown again change no faster than they did.
        replay_s=None if MODES[settings.dream.mode].walks else settings.dream.seconds_per_keyframe,
        recall=None if remembering is None else remembering.frames,
        limit=frames,
        encoding=encoding_of(settings),
        clock=time.monotonic,
    )
    ahead = begin_display(
        past,
        shelf,
        buffer,
        pace,
        playback,
        size=_size(settings) or _TITLE_SIZE,
        max_pixels=_MAX_PIXELS,
    )
    return Display(buffer, pace, shelf, playback, remembering, ahead)


def loop_of(
    settings: Settings,
    engine: Engine,
    prompts: PromptManager,
    display: Display,
    rng: random.Random,
    note: str,
    past: Past,
    stack: ExitStack,
) -> tuple[DreamController, Report, Aside]:
    """The dream loop on an engine, who tells of it, and what is dreamt beside it."""
    decoder = open_decoder(settings, engine, stack)
    wake = threading.Event()
    generator = DreamGenerator(
        engine,
        mode=settings.dream.mode,
        denoise=settings.dream.denoise,
        size=_size(settings),
        max_pixels=_MAX_PIXELS,
        rng=rng,
    )
    gaps = GapFiller(
        generator,
        HybridGenerator(decoder, settings.interpolation.frames_per_job),
        display.buffer,
        display.pace,
        fps=settings.display.fps,
        gap_s=settings.dream.seconds_per_keyframe,
        max_pixels=_MAX_PIXELS,
        job_timeout_s=settings.comfyui.job_timeout_seconds,
        path=settings.interpolation.path,
        pacing=settings.interpolation.pacing,
        encoding=encoding_of(settings),
        clock=time.monotonic,
        wake=wake.set,
    )
    resuming = Resuming(
        past.store,
        generator,
        prompts,
        display.buffer,
        display.pace,
        rng,
        seed=settings.dream.seed,
        max_pixels=_MAX_PIXELS,
        clock=time.monotonic,
    )
    aside = Aside(
        generator,
        lambda: prompts.beside(time.monotonic(), datetime.now()),
        clock=time.monotonic,
        wake=wake.set,
    )
    controller = DreamController(
        engine,
        generator,
        gaps,
        prompts,
        display.buffer,
        display.playback,
        buffer_s=settings.display.buffer_seconds,
        clock=time.monotonic,
        wall=datetime.now,
        rng=rng,
        wake=wake,
        resuming=resuming,
        resumed=None if past.point is None else resuming.take_up(past.point, display.ahead),
        aside=aside,
    )
    report = Report(
        engine,
        generator,
        controller,
        gaps,
        prompts,
        display.buffer,
        display.shelf,
        display.playback,
        fps=settings.display.fps,
        note=" ".join(filter(None, (note, past.note))),
        decoder=decoder,
    )
    return controller, report, aside


def _size(settings: Settings) -> tuple[int, int] | None:
    size = settings.dream.size
    return None if size is None else (size.width, size.height)
