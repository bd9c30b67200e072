"""The real loop with its real memory, dreaming on the painter in virtual time: no thread, no waiting.

Everything between the words and the latents of the in-betweens is the product's own: controller, generator,
gaps, prompts, scorer, policy, memory. The display alone is missing: each frame only moves the clock on.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from backend.config import Settings, settings_from
from backend.core.aside import Aside
from backend.core.controller import DreamController
from backend.core.frame_buffer import FrameBuffer
from backend.core.frame_shelf import FrameShelf
from backend.core.gap import GapFiller
from backend.core.generator import DreamGenerator, Keyframe
from backend.core.pace import Pace
from backend.core.playback import Playback
from backend.core.scorer import Scorer
from backend.engine import png
from backend.engine.painting import Pixels
from backend.interpolation.decoder import Decoder
from backend.interpolation.hybrid_generator import HybridGenerator
from backend.memory_assembly import open_memory, scorer_of
from backend.utils.picture_check import look_at
from backend.utils.prompt_manager import PromptManager
from benchmarks.painted_engine import PaintedEngine, Painting, RecordingDecoder, WalkedGap

if TYPE_CHECKING:
    from torch import Tensor

_MAX_PIXELS = 1_000_000
_NEVER_S = 86_400
_BEGUN = datetime(2026, 1, 1, 12, tzinfo=UTC)
_LOAD_S = 60.0


@dataclass(frozen=True)
class Wishes:
    """What is dreamt.

    Attributes:
        prompts: Folder of themes.
        seconds_per_prompt: None for the first prompt of the first theme for ever.
        seeds: Somebody's own pictures, which the memory begins with.
        memory: Whether anything is folded in.
    """

    prompts: Path
    seed: int
    denoise: float
    keyframes: int
    size: tuple[int, int]
    memory: bool
    fps: int = 10
    seconds_per_prompt: int | None = None
    seconds_per_theme: int | None = None
    seeds: Sequence[Pixels] = ()


@dataclass
class Told:
    """What a dream showed.

    Attributes:
        touched: For each keyframe, whether something was folded into it.
        gaps: The latents of each gap between two keyframes.
        levels: The detector's.
        reasons: A sentence for each injection.
        decided: For each injection, the place of the keyframe on which it was decided.
        fresh: Pictures that were dreamt beside the loop.
    """

    pictures: list[Pixels] = field(default_factory=list)
    touched: list[bool] = field(default_factory=list)
    gaps: list[WalkedGap] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    decided: list[int] = field(default_factory=list)
    fresh: int = 0

    def end_at(self, keyframes: int) -> None:
        """Forget what came after so many keyframes."""
        for row in (self.pictures, self.touched, self.levels):
            del row[keyframes:]
        del self.gaps[keyframes - 1 :]

    def touched_share(self) -> float:
        return float(np.mean(self.touched))

    def touched_time_share(self) -> float:
        """Of the time that is shown, the share in gaps that end at a touched keyframe."""
        frames = np.array([len(gap.latents) - 1 for gap in self.gaps])
        return float(frames[np.array(self.touched[1:])].sum() / frames.sum())


class VirtualClock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> datetime:
        return _BEGUN + timedelta(seconds=self.now)


@dataclass(frozen=True)
class VirtualLoop:
    """The parts of the loop."""

    controller: DreamController
    generator: DreamGenerator
    gaps: GapFiller
    buffer: FrameBuffer
    aside: Aside


def dream(wishes: Wishes, folder: Path) -> Told:
    """Dream all of it; ``folder`` is empty, and where memory and display would lie."""
    settings = _settings(wishes, folder)
    painting, clock, told = Painting(wishes.size), VirtualClock(), Told()
    usual = round(settings.dream.seconds_per_keyframe * wishes.fps)
    engine, decoder = PaintedEngine(painting), RecordingDecoder(painting, usual)
    told.gaps = decoder.gaps
    with ExitStack() as stack:
        loop = loop_of(settings, engine, decoder, clock)
        controller, generator, buffer, aside = loop.controller, loop.generator, loop.buffer, loop.aside
        listeners: list[Callable[[Keyframe, Tensor | None], object]] = []
        scorer = None
        if wishes.memory:
            scorer = _remembering(settings, wishes.seeds, engine, generator, aside, clock, stack)
            listeners.append(scorer.offer)

        def note(keyframe: Keyframe, latent: Tensor | None) -> None:
            told.pictures.append(png.decode(keyframe.picture))
            told.touched.append(keyframe.folded is not None)
            for listener in listeners:
                listener(keyframe, latent)

        controller.on_keyframe = note
        with patch("backend.core.gap.look_at", cache(look_at)):  # of the one stand-in
            # A gap is complete once two more were begun: it waits for a keyframe, and is seen in part first.
            while len(told.gaps) <= wishes.keyframes:
                _step(controller, scorer, buffer, clock, told)
        told.fresh = aside.dreamt
    told.end_at(wishes.keyframes)
    return told


def _step(
    controller: DreamController, scorer: Scorer | None, buffer: FrameBuffer, clock: VirtualClock, told: Told
) -> None:
    """One turn of everybody; the display takes a frame where nothing else is to be done."""
    busy, injections = controller.turn(), 0 if scorer is None else scorer.injections
    while scorer is not None and scorer.judged < len(told.pictures):
        scorer.turn()
        told.levels.append(scorer.state.level)
    if scorer is not None and scorer.turn():
        busy = True
    if scorer is not None and scorer.injections > injections:
        told.reasons.append(scorer.events[-1].reason)
        told.decided.append(len(told.pictures) - 1)
    if not busy:
        frame = buffer.take(clock.now)
        clock.now += frame.duration_s if frame is not None else 0.1


def _settings(wishes: Wishes, folder: Path) -> Settings:
    tree = {
        "dream": {
            "mode": "hybrid",
            "denoise": wishes.denoise,
            "size": "{}x{}".format(*wishes.size),
            "seed": wishes.seed,
        },
        "display": {"fps": wishes.fps},
        "prompts": {
            "folder": str(wishes.prompts),
            "order": "sequential",
            "seconds_per_prompt": wishes.seconds_per_prompt or _NEVER_S,
            "seconds_per_theme": wishes.seconds_per_theme or _NEVER_S,
        },
        "memory": {"matcher": "perceptual", "folder": str(folder / "memory")},
        "storage": {"output": str(folder / "output"), "status": str(folder / "status")},
    }
    return settings_from(json.dumps(tree).encode(), folder / "config.yaml", {}).settings


def loop_of(settings: Settings, engine: PaintedEngine, decoder: Decoder, clock: VirtualClock) -> VirtualLoop:
    """The parts of the loop, on a clock in the hand."""
    rng, wake = random.Random(settings.dream.seed), threading.Event()
    buffer, pace = FrameBuffer(10**9), Pace()
    shelf = FrameShelf(
        settings.storage.output, keep_s=5.0, budget_bytes=10**8, max_pixels=_MAX_PIXELS, clock=clock
    )
    playback = Playback(buffer, shelf, pace, fps=settings.display.fps, clock=clock)
    size = settings.dream.size
    assert size is not None
    generator = DreamGenerator(
        engine,
        mode=settings.dream.mode,
        denoise=settings.dream.denoise,
        size=(size.width, size.height),
        max_pixels=_MAX_PIXELS,
        rng=rng,
    )
    gaps = GapFiller(
        generator,
        HybridGenerator(decoder),
        buffer,
        pace,
        fps=settings.display.fps,
        gap_s=settings.dream.seconds_per_keyframe,
        max_pixels=_MAX_PIXELS,
        job_timeout_s=300.0,
        path=settings.interpolation.path,
        pacing=settings.interpolation.pacing,
        clock=clock,
        wake=wake.set,
    )
    prompts = PromptManager(
        settings.prompts.folder,
        seconds_per_theme=settings.prompts.seconds_per_theme,
        seconds_per_prompt=settings.prompts.seconds_per_prompt,
        order=settings.prompts.order,
        rng=rng,
    )
    aside = Aside(generator, lambda: prompts.beside(clock(), clock.wall()), clock=clock, wake=wake.set)
    controller = DreamController(
        engine,
        generator,
        gaps,
        prompts,
        buffer,
        playback,
        buffer_s=settings.display.buffer_seconds,
        clock=clock,
        wall=clock.wall,
        rng=rng,
        wake=wake,
        aside=aside,
    )
    return VirtualLoop(controller, generator, gaps, buffer, aside)


def _remembering(
    settings: Settings,
    seeds: Sequence[Pixels],
    engine: PaintedEngine,
    generator: DreamGenerator,
    aside: Aside,
    clock: VirtualClock,
    stack: ExitStack,
) -> Scorer:
    memory, problem = open_memory(settings, stack, wall=clock.wall)
    if memory is None:
        raise RuntimeError(problem)
    if not (memory.matcher.wait(_LOAD_S) and memory.cache.wait_ready(_LOAD_S)):
        raise TimeoutError("the memory is not loaded")
    if seeds:
        _bring(memory.cache.import_pictures, memory.embed, seeds, settings)
    return scorer_of(memory, settings, generator, engine.encoded, aside, clock=clock, wall=clock.wall)


def _bring(importing, embed, seeds: Sequence[Pixels], settings: Settings) -> None:
    folder = settings.storage.output / "seeds"
    folder.mkdir(parents=True)
    for number, pixels in enumerate(seeds):
        (folder / f"{number}.png").write_bytes(png.encode(pixels))
    size = settings.dream.size
    told = importing(folder, (size.width, size.height), embed)
    if len(told.added) < len(seeds):
        raise RuntimeError(f"{told.refused} seed pictures are not taken: {told.reasons}")


def shown_steps(
    painting: Painting, gap: WalkedGap, look: Callable[[Pixels], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """How far the picture moves from frame to frame of a gap, by a measure ``[D]`` of pictures: root mean
    square, ``[N - 1]``."""
    looks = np.array([look(picture) for picture in painting.painter.decode(gap.latents)])
    return np.sqrt(((looks[1:] - looks[:-1]) ** 2).mean(1))
