"""In-betweens through the whole loop, beside the bare work that they are made of."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from backend.core.frame_buffer import FrameKind
from backend.core.model_families import EMBEDDED
from backend.engine import png
from backend.engine.painter import DreamPainter
from backend.engine.painting import Pixels
from backend.engine.process import EngineProcess
from backend.interpolation.spherical_lerp import slerp
from backend.utils.picture_check import inspect_picture
from backend.utils.prompt_manager import Prompt
from benchmarks.loop import running_loop

STEPS = 40
_GUARD_S = 600.0


@dataclass(frozen=True)
class Walked:
    """Seconds for the same number of gaps."""

    loop_s: float
    in_betweens_s: float
    keyframes_s: float
    frames_per_s: float
    first_frame_s: float


def through_the_loop(gaps: int) -> tuple[float, float, float, Prompt]:
    """Seconds for ``gaps`` gaps once it is warm, frames per second, seconds to the first, the words."""
    with tempfile.TemporaryDirectory(prefix="dreamloop-bench-") as folder:
        process = EngineProcess(Path(folder))
        try:
            start = time.monotonic()
            with running_loop(process.ensure_running(60.0)) as loop:
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


def _finish(pictures: Iterator[Pixels]) -> None:
    for pixels in pictures:
        inspect_picture(png.encode(pixels), max_pixels=10**7)


def compare(gaps: int) -> Walked:
    """Both, one after the other."""
    loop_s, frames_per_s, first_frame_s, prompt = through_the_loop(gaps)
    in_betweens_s, keyframes_s = bare(gaps, prompt)
    return Walked(loop_s, in_betweens_s, keyframes_s, frames_per_s, first_frame_s)
