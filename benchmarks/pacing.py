"""What it costs the engine that the eye sets the pace: frames, jobs and time, beside uniform pacing.

The real loop in virtual time on the painter, over the same keyframes for both: what is decoded for each gap
is counted. What a frame, a job and a keyframe take is that of the paced engine, whose job is measured.
"""

from __future__ import annotations

import json
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from backend.config import settings_from
from backend.core.comfyui_api import ComfyUIClient
from backend.core.engine import Engine
from backend.core.frame_buffer import FrameKind
from backend.core.generator import Keyframe
from backend.interpolation.decoder import LatentBatch, PicturesJob
from backend.interpolation.latent_encoder import write_latents
from backend.utils.prompt_manager import Prompt
from benchmarks.loop import ROOT, engine_at
from benchmarks.paced import DECODE_S, KEYFRAME_S, paced_engine
from benchmarks.painted_engine import PaintedEngine, Painting, PaintingDecoder
from benchmarks.virtual_dream import VirtualClock, loop_of

if TYPE_CHECKING:
    from torch import Tensor

Row = tuple[str, str, str]

SIZE = (96, 64)
FPS, GAP_S = 10, 4
_LEFT_OUT_KEYFRAMES = 3
_THEME_KEYFRAMES = 10
_JOBS = 40
_PROMPT = Prompt("bench", "a quiet lake", "text")
_GUARD_S = 120.0


@dataclass
class Cost:
    """What one pacing asked of the engine, over some gaps.

    Attributes:
        keyframes: The latents that were walked to.
        dream_s: Seconds of dream that came of it.
    """

    keyframes: list[bytes] = field(default_factory=list)
    frames: int = 0
    jobs: int = 0
    dream_s: float = 0.0

    def engine_s(self, job_s: float, *, keyframes: bool) -> float:
        """Seconds of the engine for each second of dream.

        Args:
            job_s: What a job takes beside its frames.
            keyframes: Whether keyframes count, too: the longer the gaps, the fewer there are.
        """
        work_s = self.frames * DECODE_S + self.jobs * job_s
        if keyframes:
            work_s += len(self.keyframes) * (KEYFRAME_S + job_s)
        return work_s / self.dream_s


@dataclass
class _Counting:
    """Notes how many frames and jobs each keyframe was walked to with."""

    paints: PaintingDecoder
    asked: dict[bytes, list[int]] = field(default_factory=dict)

    def decode(self, batch: LatentBatch) -> PicturesJob:
        assert batch.end is not None  # the loop gives it
        self.asked.setdefault(batch.end.picture, []).append(len(batch))
        return self.paints.decode(batch)


def cost(pacing: str, gaps: int) -> Cost:
    """Dream so many gaps; the first ones, of which little is known when they are shown, do not count."""
    with tempfile.TemporaryDirectory(prefix="dreamloop-bench-") as folder:
        settings = settings_from(json.dumps(_tree(pacing)).encode(), Path(folder) / "c.yaml", {}).settings
        painting, clock, made = Painting(SIZE), VirtualClock(), Cost()
        decoder = _Counting(PaintingDecoder(painting))
        loop = loop_of(settings, PaintedEngine(painting), decoder, clock)
        noted: dict[int, tuple[bytes, bytes]] = {}

        def note(keyframe: Keyframe, latent: Tensor | None) -> None:
            assert latent is not None  # the painter gives it
            noted[keyframe.number] = keyframe.picture, latent.numpy().tobytes()
            if len(noted) % _THEME_KEYFRAMES == 0:
                loop.controller.next_theme()

        loop.controller.on_keyframe = note
        shown = 0
        while len(made.keyframes) < gaps:
            if loop.controller.turn():
                continue
            frame = loop.buffer.take(clock.now)
            clock.now += 0.1 if frame is None else frame.duration_s
            if frame is None:
                continue
            if frame.kind is FrameKind.KEYFRAME:
                shown += 1
                if shown > _LEFT_OUT_KEYFRAMES:
                    picture, latent = noted[frame.keyframe]
                    made.keyframes.append(latent)
                    made.frames += sum(decoder.asked.get(picture, []))
                    made.jobs += len(decoder.asked.get(picture, []))
            if shown >= _LEFT_OUT_KEYFRAMES and len(made.keyframes) < gaps:
                made.dream_s += frame.duration_s
    return made


def job_s() -> float:
    """Seconds that a job takes the paced engine beside its frames."""
    with paced_engine() as server:
        client = ComfyUIClient(server.url)
        engine = engine_at(client)
        client.start()
        try:
            engine.connect()
            latents = torch.randn(_JOBS, 4, SIZE[1] // 8, SIZE[0] // 8)
            _decode(engine, latents[:1])
            spent = [server.busyness().busy_s]
            for parts in (latents.split(1), [latents]):
                for part in parts:
                    _decode(engine, part)
                spent.append(server.busyness().busy_s)
        finally:
            client.close()
    one_each, together = spent[1] - spent[0], spent[2] - spent[1]
    return max(0.0, one_each - together) / (_JOBS - 1)


def rows(quick: bool) -> list[Row]:
    """Both, over the same keyframes."""
    gaps = 12 if quick else 50
    uniform, seen = cost("uniform", gaps), cost("perceptual", gaps)
    if uniform.keyframes != seen.keyframes:
        raise RuntimeError("they did not dream the same keyframes")
    beside_s = job_s()
    told: list[Row] = []
    for name, one in (("uniform", uniform), ("perceptual", seen)):
        told += [
            (f"{name}: frames a second of dream", f"{one.frames / one.dream_s:.2f}", ""),
            ("    jobs a gap, seconds a gap", f"{one.jobs / gaps:.2f} {one.dream_s / gaps:.2f}", ""),
        ]
    told.append(("a job beside its frames, on the paced engine, ms", f"{beside_s * 1e3:.1f}", ""))
    for what, keyframes in (("in-betweens alone", False), ("keyframes included", True)):
        ratio = seen.engine_s(beside_s, keyframes=keyframes) / uniform.engine_s(beside_s, keyframes=keyframes)
        told.append((f"engine time, perceptual : uniform, {what}", f"{ratio:.3f}", "at most 1.02"))
    return told


def _tree(pacing: str) -> dict[str, object]:
    never_s = 86_400
    return {
        "dream": {"size": "{}x{}".format(*SIZE), "seed": 1, "seconds_per_keyframe": GAP_S},
        "interpolation": {"pacing": pacing},
        "display": {"fps": FPS},
        "prompts": {
            "folder": str(ROOT / "prompts"),
            "order": "sequential",
            "seconds_per_prompt": never_s,
            "seconds_per_theme": never_s,
        },
    }


def _decode(engine: Engine, latents: torch.Tensor) -> None:
    job, ended = engine.submit_decode(write_latents(latents), len(latents), _PROMPT), threading.Event()
    job.add_done_callback(ended.set)
    if not ended.wait(_GUARD_S):
        raise TimeoutError("the paced engine does not decode")
    job.pictures()
