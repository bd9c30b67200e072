"""How much of its time an engine of a certain speed is at work, under our loop and under an older policy."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from backend.core.comfyui_api import ComfyUIClient
from backend.core.engine import Engine
from backend.core.engine_jobs import finished, latent_file
from backend.core.workflow_builder import DreamStep, TextToImage
from backend.interpolation.latent_encoder import read_latents, write_latents
from backend.interpolation.spherical_lerp import slerp
from backend.utils.picture_check import inspect_picture
from backend.utils.prompt_manager import Prompt
from benchmarks.loop import engine_at, running_loop
from benchmarks.paced import paced_engine

SIZE = (512, 288)
STEPS = 40
_PROMPT = Prompt("bench", "a quiet lake", "text")
_GUARD_S = 900.0


@dataclass(frozen=True)
class Busy:
    """What one policy made of the engine."""

    share: float
    frames_per_s: float


def our_loop(keyframes: int) -> Busy:
    """The dream loop, its buffer never full."""
    with paced_engine() as engine, running_loop(engine.url, size=SIZE) as loop:
        loop.wait_for(lambda now: now.controller.keyframes >= keyframes, _GUARD_S)
        busy, frames = engine.busyness(), loop.frames
    return Busy(busy.busy_s / busy.wall_s, frames / busy.wall_s)


def one_by_one(keyframes: int) -> Busy:
    """As earlier daemons did: generate, wait, fetch; decode each in-between alone and wait for it.

    With the same client and the same engine, so that only the policy differs.
    """
    with paced_engine() as server:
        client = ComfyUIClient(server.url)
        engine = engine_at(client)
        client.start()
        try:
            engine.connect()
            frames = _dream_one_by_one(engine, keyframes)
            busy = server.busyness()
        finally:
            client.close()
    return Busy(busy.busy_s / busy.wall_s, frames / busy.wall_s)


def _dream_one_by_one(engine: Engine, keyframes: int) -> int:
    frames, previous, latent = 0, None, None
    for number in range(keyframes):
        words = (_PROMPT.positive, _PROMPT.negative, number)
        request = TextToImage(*words, *SIZE) if latent is None else DreamStep(latent, *words, denoise=0.45)
        job, workflow = engine.submit(request)
        end = finished(job.result(_GUARD_S))
        inspect_picture(end.pictures[0].data, max_pixels=10**7)
        latent = latent_file(end, workflow)
        newest = read_latents(engine.fetch_latent(latent))
        if previous is not None:
            for between in slerp(previous, newest, torch.arange(1, STEPS) / STEPS)[:, 0]:
                _decode_alone(engine, write_latents(between[None]))
                frames += 1
        frames += 1
        previous = newest
    return frames


def _decode_alone(engine: Engine, latent: bytes) -> None:
    job = engine.submit_decode(latent, 1, _PROMPT)
    until = time.monotonic() + _GUARD_S
    while not job.done() and time.monotonic() < until:
        time.sleep(0.0005)
    inspect_picture(job.pictures()[0], max_pixels=10**7)
