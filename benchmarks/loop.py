"""The real loop on a given engine, with a display that takes every frame at once."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from backend.core.comfyui_api import ComfyUIClient
from backend.core.controller import DreamController
from backend.core.engine import DreamNeeds, Engine, EngineKind
from backend.core.engine_plan import FamilyPlanner, SamplingChoice
from backend.core.frame_buffer import Frame, FrameBuffer, FrameKind
from backend.core.frame_shelf import FrameShelf
from backend.core.gap import GapFiller
from backend.core.generator import DreamGenerator, Keyframe
from backend.core.housekeeping import Housekeeping
from backend.core.model_choice import ModelWish
from backend.core.pace import Pace
from backend.core.playback import Playback
from backend.interpolation.hybrid_generator import HybridGenerator
from backend.interpolation.latent_encoder import LatentEncoder
from backend.utils.prompt_manager import PromptManager

if TYPE_CHECKING:
    from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
FAMILYS_OWN = SamplingChoice()
_NEVER_FULL_S = 1e9
_BUFFER_BYTES = 512_000_000
_MAX_PIXELS = 64_000_000


@dataclass
class Loop:
    """A running loop, and what its display has seen."""

    controller: DreamController
    gaps: GapFiller
    engine: Engine
    frames: int = 0
    first_frame_s: float | None = None
    kinds: dict[FrameKind, int] = field(default_factory=dict)

    def wait_for(self, what: Callable[[Loop], bool], guard_s: float) -> float:
        """Wait until ``what`` holds; returns the seconds that it took."""
        start = time.monotonic()
        while not what(self):
            if time.monotonic() - start > guard_s:
                raise TimeoutError(
                    f"{self.controller.reason.sentence} ({self.controller.keyframes} keyframes)"
                )
            time.sleep(0.005)
        return time.monotonic() - start


def engine_at(client: ComfyUIClient, sampling: SamplingChoice = FAMILYS_OWN) -> Engine:
    """An engine that takes whatever model the server has."""
    house = Housekeeping(client, instance="bench", hour=lambda: "now", clock=time.monotonic)
    planner = FamilyPlanner(ModelWish(), sampling)
    return Engine(client, EngineKind.COMFYUI, planner, house, needs=DreamNeeds(), job_timeout_s=120.0)


@contextmanager
def running_loop(
    url: str,
    *,
    gap_s: float = 4.0,
    fps: float = 10.0,
    size: tuple[int, int] | None = None,
    path: str = "smooth",
    pacing: str = "perceptual",
    keep_s: float = 0.0,
    keyframes_per_theme: int | None = None,
    on_frame: Callable[[Frame], None] = lambda _: None,
    client: ComfyUIClient | None = None,
) -> Iterator[Loop]:
    """Dream on the engine at ``url``, as fast as it can; the buffer is never full.

    Args:
        url: The engine's address.
        gap_s: Seconds of dream from keyframe to keyframe.
        fps: Frames a second of dream.
        size: Width and height in pixels; None for the model's own.
        path: How the walk leads from keyframe to keyframe.
        pacing: How it is paced.
        keep_s: Seconds that the display leaves in the buffer, as where the engine is quick enough.
        keyframes_per_theme: After so many the next theme comes; None for never.
        on_frame: Shown each frame, in order, by the display's thread.
        client: Of the engine, where it is not to be an ordinary one.
    """
    clock, wake, rng = time.monotonic, threading.Event(), random.Random(1)
    client = ComfyUIClient(url) if client is None else client
    engine = engine_at(client)
    buffer, pace = FrameBuffer(_BUFFER_BYTES), Pace()
    with tempfile.TemporaryDirectory(prefix="dreamloop-bench-") as folder:
        shelf = FrameShelf(Path(folder), keep_s=5, budget_bytes=10**9, max_pixels=_MAX_PIXELS, clock=clock)
        playback = Playback(buffer, shelf, pace, fps=fps, clock=clock)
        generator = DreamGenerator(
            engine, mode="hybrid", denoise=0.45, size=size, max_pixels=_MAX_PIXELS, rng=rng
        )
        gaps = GapFiller(
            generator,
            HybridGenerator(LatentEncoder(engine)),
            buffer,
            pace,
            fps=fps,
            gap_s=gap_s,
            max_pixels=_MAX_PIXELS,
            job_timeout_s=300.0,
            path=path,
            pacing=pacing,
            clock=clock,
            wake=wake.set,
        )
        prompts = PromptManager(
            ROOT / "prompts", seconds_per_theme=1e6, seconds_per_prompt=1e6, order="sequential", rng=rng
        )
        controller = DreamController(
            engine,
            generator,
            gaps,
            prompts,
            buffer,
            playback,
            buffer_s=_NEVER_FULL_S,
            clock=clock,
            wall=datetime.now,
            rng=rng,
            wake=wake,
        )
        loop = Loop(controller, gaps, engine)
        if keyframes_per_theme is not None:
            controller.on_keyframe = _ThemeEvery(controller, keyframes_per_theme)
        display = _Display(loop, buffer, keep_s, on_frame)
        client.start()
        display.start()
        controller.start()
        try:
            yield loop
        finally:
            controller.stop()
            display.stop()
            client.close()


class _ThemeEvery:
    """Turns to another theme after so many keyframes, however long they take."""

    def __init__(self, controller: DreamController, keyframes: int) -> None:
        self._controller = controller
        self._keyframes = keyframes

    def __call__(self, keyframe: Keyframe, latent: Tensor | None, /) -> None:
        if self._controller.keyframes % self._keyframes == 0:
            self._controller.next_theme()


class _Display:
    """Takes frames as soon as there are enough."""

    def __init__(
        self, loop: Loop, buffer: FrameBuffer, keep_s: float, on_frame: Callable[[Frame], None]
    ) -> None:
        self._loop = loop
        self._buffer = buffer
        self._keep_s = keep_s
        self._on_frame = on_frame
        self._started = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bench-display", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            enough = self._loop.frames == 0 or self._buffer.ready_s > self._keep_s
            frame = self._buffer.take(time.monotonic()) if enough else None
            if frame is None:
                self._stopping.wait(0.01)
                continue
            loop = self._loop
            loop.frames += 1
            loop.kinds[frame.kind] = loop.kinds.get(frame.kind, 0) + 1
            if loop.first_frame_s is None:
                loop.first_frame_s = time.monotonic() - self._started
            self._on_frame(frame)
