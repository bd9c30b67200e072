"""In-betweens through the whole loop, beside the bare work that they are made of."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from backend.core.comfyui_api import ComfyUIClient
from backend.core.engine import Engine
from backend.core.frame_buffer import FrameKind
from backend.core.model_families import EMBEDDED
from backend.engine import png
from backend.engine.painter import DreamPainter
from backend.engine.painting import Pixels
from backend.engine.process import EngineProcess
from backend.interpolation.latent_encoder import write_latents
from backend.interpolation.spherical_lerp import slerp
from backend.utils.picture_check import inspect_picture
from backend.utils.prompt_manager import Prompt
from benchmarks.loop import engine_at, running_loop

STEPS = 40
_GUARD_S = 600.0


@dataclass(frozen=True)
class Walked:
    """Seconds for the same number of gaps."""

    loop_s: float
    in_betweens_s: float
    keyframes_s: float
    one_by_one_s: float
    frames_per_s: float
    first_frame_s: float


def through_the_loop(gaps: int) -> tuple[float, float, float, Prompt]:
    """Seconds for ``gaps`` gaps once it is warm, frames per second, seconds to the first, the words."""
    with tempfile.TemporaryDirectory(prefix="dreamloop-bench-") as folder:
        process = EngineProcess(Path(folder))
        try:
            start = time.monotonic()
            # In slow motion, so that an engine of any speed is asked for every frame; and with enough ready
            # that some frames of each gap are looked at before the others are asked for.
            with running_loop(
                process.ensure_running(60.0), gap_s=float(STEPS), fps=1.0, keep_s=2.0 * STEPS
            ) as loop:
                loop.wait_for(lambda now: now.frames > 0, _GUARD_S)
                first_frame_s = time.monotonic() - start
                loop.wait_for(lambda now: now.kinds.get(FrameKind.IN_BETWEEN, 0) >= STEPS - 1, _GUARD_S)
                warm = loop.frames
                seconds = loop.wait_for(lambda now: now.frames >= warm + gaps * STEPS, _GUARD_S)
                frames = loop.frames - warm
                assert loop.controller.newest is not None
                prompt = loop.controller.newest.prompt
        finally:
            process.stop()
    return seconds * gaps * STEPS / frames, frames / seconds, first_frame_s, prompt


def bare(gaps: int, prompt: Prompt) -> tuple[float, float]:
    """Seconds that the in-betweens, and the keyframes, of ``gaps`` gaps take in one process alone."""
    painter = DreamPainter()
    words, empty = painter.text(prompt.positive), painter.text(prompt.negative)
    shape = (1, 4, EMBEDDED.height // 8, EMBEDDED.width // 8)
    sampling = {"steps": EMBEDDED.steps, "cfg": EMBEDDED.cfg, "on_step": lambda *_: None}
    latent = painter.sample(torch.zeros(shape).numpy(), words, empty, seed=0, denoise=1.0, **sampling)
    _finish(painter.decode(latent))
    in_betweens_s = keyframes_s = 0.0
    for seed in range(1, gaps + 1):
        start = time.perf_counter()
        newer = painter.sample(latent, words, empty, seed=seed, denoise=0.45, **sampling)
        _finish(painter.decode(newer))
        keyframes_s += time.perf_counter() - start
        start = time.perf_counter()
        between = slerp(torch.from_numpy(latent), torch.from_numpy(newer), torch.arange(1, STEPS) / STEPS)
        _finish(painter.decode(between[:, 0].numpy()))
        in_betweens_s += time.perf_counter() - start
        latent = newer
    return in_betweens_s, keyframes_s


def one_by_one(prompt: Prompt) -> float:
    """Seconds for the in-betweens of a gap as jobs of one latent each, one after the other."""
    with tempfile.TemporaryDirectory(prefix="dreamloop-bench-") as folder:
        process = EngineProcess(Path(folder))
        client = ComfyUIClient(process.ensure_running(60.0))
        engine = engine_at(client)
        client.start()
        try:
            engine.connect()
            latents = torch.randn(STEPS, 4, EMBEDDED.height // 8, EMBEDDED.width // 8)
            _decoded(engine, latents[:1], prompt)
            start = time.perf_counter()
            for latent in latents[1:].split(1):
                _decoded(engine, latent, prompt)
            return time.perf_counter() - start
        finally:
            client.close()
            process.stop()


def _decoded(engine: Engine, latents: torch.Tensor, prompt: Prompt) -> None:
    job = engine.submit_decode(write_latents(latents), len(latents), prompt)
    ended = threading.Event()
    job.add_done_callback(ended.set)
    if not ended.wait(_GUARD_S):
        raise TimeoutError("the engine does not decode")
    for picture in job.pictures():
        inspect_picture(picture, max_pixels=10**7)


def _finish(pictures: Iterator[Pixels]) -> None:
    for pixels in pictures:
        inspect_picture(png.encode(pixels), max_pixels=10**7)


def compare(gaps: int) -> Walked:
    """Both, one after the other."""
    loop_s, frames_per_s, first_frame_s, prompt = through_the_loop(gaps)
    in_betweens_s, keyframes_s = bare(gaps, prompt)
    one_by_one_s = gaps * one_by_one(prompt)
    return Walked(loop_s, in_betweens_s, keyframes_s, one_by_one_s, frames_per_s, first_frame_s)
