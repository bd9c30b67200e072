"""The display that the settings ask for: everything between a frame that has arrived and the disk."""

from __future__ import annotations

import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from backend.config import Settings
from backend.core.frame_buffer import FrameBuffer
from backend.core.frame_shelf import FrameShelf
from backend.core.frames_ahead import Ahead
from backend.core.generator import MODES
from backend.core.pace import Pace
from backend.core.playback import Playback
from backend.core.remembering import Remembering
from backend.core.report import first_body
from backend.decoder_assembly import encoding_of
from backend.ground_assembly import Ground
from backend.memory_assembly import DreamMemory, recall_of
from backend.resume_assembly import begin_display
from backend.utils.renewals import Renewals
from backend.utils.status_writer import StatusWriter

MAX_PIXELS = 64_000_000
"""Of any picture, wherever it comes from; larger ones are refused."""
_BUFFER_BYTES = 512_000_000
_TITLE_SIZE = (768, 432)


@dataclass(frozen=True)
class Display:
    """Everything between a frame that has arrived and the disk.

    Attributes:
        remembering: The walk through the memory, if there is one.
        ahead: What an earlier run had ready.
        finished: Set when all the frames are shown that were asked for, or somebody asks for the end.
    """

    buffer: FrameBuffer
    pace: Pace
    shelf: FrameShelf
    playback: Playback
    remembering: Remembering | None
    ahead: Ahead
    finished: threading.Event


def display_of(settings: Settings, frames: int | None, ground: Ground, stack: ExitStack) -> Display:
    """Put the display together; it has what an earlier run had ready, and is not yet started.

    Args:
        settings: All of them.
        frames: Stop after so many shown frames; None for never.
        ground: What is there already.
        stack: Closes it.
    """
    shelf = _shelf_of(settings, ground)
    stack.callback(shelf.close)
    buffer, pace = FrameBuffer(_BUFFER_BYTES, ground.past.spool), Pace()
    remembering = None if ground.memory is None else _remembering_of(settings, ground.memory)
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
    size = size_of(settings) or _TITLE_SIZE
    ahead = begin_display(ground.past, shelf, buffer, pace, playback, size=size, max_pixels=MAX_PIXELS)
    finished = threading.Event()
    playback.on_limit = finished.set
    return Display(buffer, pace, shelf, playback, remembering, ahead, finished)


def begin_to_show(
    settings: Settings, ground: Ground, display: Display, renewals: Renewals | None, stack: ExitStack
) -> StatusWriter:
    """What an earlier run had ready is shown, and told of, while an engine is still looked for."""
    playback = display.playback
    writer = StatusWriter(
        settings.storage.status / "status.json",
        partial(first_body, playback, display.shelf, ground.past.point, renewals),
    )
    playback.on_shown = writer.publish
    writer.publish()
    playback.start()
    stack.callback(playback.stop)
    return writer


def size_of(settings: Settings) -> tuple[int, int] | None:
    """Width and height of keyframes in pixels; None for what suits the model."""
    size = settings.dream.size
    return None if size is None else (size.width, size.height)


def _shelf_of(settings: Settings, ground: Ground) -> FrameShelf:
    return FrameShelf(
        settings.storage.output,
        keep_s=settings.display.keep_seconds,
        budget_bytes=settings.storage.budget,
        max_pixels=MAX_PIXELS,
        clock=time.monotonic,
        spooled=ground.past.spool.shown,
        scarce=lambda: ground.room.scarce,
    )


def _remembering_of(settings: Settings, memory: DreamMemory) -> Remembering:
    return recall_of(
        memory,
        frame_s=1.0 / settings.display.fps,
        fade_s=settings.dream.seconds_per_keyframe,
        max_pixels=MAX_PIXELS,
        rng=random.Random(settings.dream.seed),
        encoding=encoding_of(settings),
    )
