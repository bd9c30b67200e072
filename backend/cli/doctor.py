"""``main.py doctor``: is everything there that a dream needs? One line a check, and what to do next."""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backend.errors import DreamloopError, JobFailed, StorageError

if TYPE_CHECKING:  # `main.py --help` must not wait for pydantic and numpy
    from torch import Tensor

    from backend.config import Settings
    from backend.core.comfyui_answers import SystemStats
    from backend.core.engine import Engine
    from backend.core.generator import DreamGenerator, Keyframe
    from backend.interpolation.decoder import PicturesJob
    from backend.interpolation.latent_encoder import LatentEncoder
    from backend.utils.prompt_manager import Prompt

_PICTURE_S = 300.0
# What a ComfyUI of ours may take until it answers; custom nodes and slow disks make it long.
_START_S = 180.0
_MAX_PIXELS = 64_000_000
# What must not run again while the words stay the same: a server that runs it every time is cold.
_COSTLY = ("Loader", "TextEncode")

OpenEngine = Callable[["Settings", ExitStack, Path], tuple["Engine", str]]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the command."""
    return subparsers.add_parser("doctor", help="check the whole chain up to a test picture")


@dataclass
class _Table:
    """Prints each check as it ends, and remembers whether all went well and what to do next."""

    next_step: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.next_step)

    def check(self, what: str, run: Callable[[], str]) -> bool:
        """Run one check; what it returns is said behind its name, what it raises is the fault."""
        start = time.monotonic()
        try:
            found, mark = run(), "ok"
        except (DreamloopError, TimeoutError, ValueError) as error:
            found, mark = str(error), "FAIL"
            self.next_step = self.next_step or _advice(error)
        print(f"{mark:<5}{what:<18}{found}  ({time.monotonic() - start:.1f} s)")
        return mark == "ok"


def run(settings: Settings, open_engine: OpenEngine) -> int:
    """Check from the near to the far; returns 0 if a dream can begin, else 1."""
    table = _Table()
    table.check("prompts", lambda: _prompts(settings))
    for name, folder in (
        ("output folder", settings.storage.output),
        ("status folder", settings.storage.status),
    ):
        table.check(name, lambda folder=folder: _writable(folder))  # type: ignore[misc]
    if settings.mqtt.broker is not None:
        from backend.mqtt_assembly import try_broker

        table.check("MQTT broker", lambda: try_broker(settings, os.environ))
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dreamloop-doctor-")))
        storage = settings.storage.model_copy(update={"output": scratch})
        # Names of its own on the server, not the daemon's; the same ones each time, or they would pile up.
        owner = settings.storage.output / "doctor"
        engine, note = open_engine(settings.model_copy(update={"storage": storage}), stack, owner)
        print(f"     {note}")
        if _look_at(table, engine):
            engine.client.start()
            stack.callback(engine.client.close)
            _dream(table, settings, engine)
    print(f"\nnext: {table.next_step}" if table.failed else "\nall is well: `python main.py` dreams")
    return int(table.failed)


def _advice(error: Exception) -> str:
    """What to do about the first fault; the others may come from it."""
    from backend.core.owned_comfyui import NAME
    from backend.errors import (
        BrokerTrouble,
        EngineAnswerError,
        EngineUnreachable,
        GraphRejected,
        ModelMissing,
        PromptsError,
    )

    match error:
        case PromptsError():
            return "correct the themes in prompts.folder as told above"
        case BrokerTrouble():
            return "start the broker, or correct the mqtt section of config.yaml; the dream does without"
        case StorageError():
            return "make that folder writable, or name another one in config.yaml (storage)"
        case EngineUnreachable(url=url) if url == NAME:
            return (
                "correct comfyui.launch in config.yaml, which must start a ComfyUI at comfyui.url; "
                "all that it says is in comfyui.log in the status folder"
            )
        case EngineUnreachable(own=True):
            return "look into the log above; the embedded engine needs nothing but its Python packages"
        case EngineUnreachable():
            return (
                "start ComfyUI there (python main.py in its folder), or correct comfyui.url in config.yaml; "
                "with comfyui.url: auto Dreamloop dreams without one, on its embedded engine"
            )
        case EngineAnswerError():
            return "comfyui.url must be the address of a ComfyUI, as its own page shows it in the browser"
        case ModelMissing(folder=folder):
            return (
                f"put the file into ComfyUI's models/{folder} folder, or name one that it has in config.yaml "
                "(comfyui.checkpoint, diffusion_model, text_encoders, vae)"
            )
        case GraphRejected():
            return (
                "change in config.yaml what the line above names (dream or comfyui section), "
                "or update ComfyUI if it lacks the node"
            )
    return "ComfyUI's own log tells more about this; with too little memory, make dream.size smaller"


def _look_at(table: _Table, engine: Engine) -> bool:
    """What the server is and has, and whether it would take our graphs; nothing is run."""
    if not table.check("reachable", lambda: _reached(engine)):
        return False
    if not table.check("model", lambda: _model(engine)):
        return False
    table.check("nodes", lambda: f"{len(engine.catalog.names)} classes; all that the dream needs are there")
    facts = engine.facts
    if facts is not None and facts.kind == "comfyui":
        table.check("node pack", lambda: facts.pack.sentence)
    return True


def _reached(engine: Engine) -> str:
    stats = _stats(engine)
    total, free = stats.vram_total / 2**30, stats.vram_free / 2**30
    return f"{stats.version} at {engine.client.url} on {stats.device}, {free:.1f} of {total:.1f} GiB free"


def _stats(engine: Engine) -> SystemStats:
    """What the server says of itself, once it has started where it is ours."""
    from backend.errors import EngineStarting

    until = time.monotonic() + _START_S
    while True:
        try:
            return engine.reach()
        except EngineStarting:
            if time.monotonic() >= until:
                raise


def _model(engine: Engine) -> str:
    facts = engine.connect()
    size = f"{facts.family.width}x{facts.family.height}"
    return f"{facts.checkpoint} (family {facts.family.name}, {size} by default)"


def _prompts(settings: Settings) -> str:
    from backend.utils.prompt_manager import PromptManager

    chosen = settings.prompts
    manager = PromptManager(
        chosen.folder,
        seconds_per_theme=chosen.seconds_per_theme,
        seconds_per_prompt=chosen.seconds_per_prompt,
        order=chosen.order,
        rng=random.Random(0),
    )
    return f"{len(manager.themes)} themes: {', '.join(manager.themes)}"


def _writable(folder: Path) -> str:
    from backend.utils.file_ops import write_atomic

    probe = folder / ".dreamloop-doctor"
    write_atomic(probe, b"a probe of the doctor's\n")
    try:
        probe.unlink()
    except OSError as error:
        raise StorageError(probe, error) from error
    return f"{folder} can be written"


def _dream(table: _Table, settings: Settings, engine: Engine) -> None:
    """A picture from words, the next one from its latent, and a way through the VAE and back."""
    from backend.core.generator import DreamGenerator
    from backend.interpolation.latent_encoder import LatentEncoder
    from backend.utils.picture_check import inspect_picture
    from backend.utils.prompt_manager import Prompt

    size = None if settings.dream.size is None else (settings.dream.size.width, settings.dream.size.height)
    generator = DreamGenerator(
        engine,
        mode=settings.dream.mode,
        denoise=settings.dream.denoise,
        size=size,
        max_pixels=_MAX_PIXELS,
        rng=random.Random(settings.dream.seed),
    )
    prompt = Prompt("doctor", "a quiet lake at dawn, soft light", "text, watermark")
    made: list[Keyframe] = []

    def picture() -> str:
        made.append(_keyframe(generator, prompt, made[-1] if made else None))
        newest = made[-1]
        if newest.latent is not None:
            generator.latent(newest)  # as the dream does: is it finite, and is its folder in reach?
        return f"{newest.facts.width}x{newest.facts.height}, {newest.seconds:.2f} s at the engine"

    encoder = LatentEncoder(engine)

    def round_trip() -> str:
        latent = encoder.encode(made[-1].picture, _PICTURE_S)
        facts = inspect_picture(_decoded(encoder, latent, prompt), max_pixels=_MAX_PIXELS)
        return f"picture -> {'x'.join(map(str, latent.shape))} -> {facts.width}x{facts.height}"

    def warm() -> str:
        _decoded(encoder, generator.latent(made[-1]), prompt)
        return _warm(generator, prompt, made)

    if table.check("test picture", picture) and table.check("dream step", picture):
        table.check("socket", lambda: _socket(engine))
        if generator.mode.walks:
            table.check("warm path", warm)
            table.check("VAE round trip", round_trip)
            if made[-1].latent is not None:
                table.check("in-betweens", lambda: _in_betweens(settings, engine, generator, made[-2:]))
        if engine.facts is not None and engine.facts.pack.used:
            table.check("streamed walk", lambda: _streamed(encoder, generator, made))
    for keyframe in made:
        generator.retire(keyframe)
    if made:
        table.check("housekeeping", lambda: _left_behind(engine, settings.dream.seconds_per_keyframe))


def _socket(engine: Engine) -> str:
    if engine.client.connection.socket == "open":
        return "pictures come over the WebSocket"
    return f"it is {engine.client.connection.socket}: pictures are fetched one by one, which is slower"


def _decoded(encoder: LatentEncoder, latent: Tensor, prompt: Prompt) -> bytes:
    from backend.interpolation.decoder import LatentBatch

    return _ended(encoder.decode(LatentBatch(latent, prompt)))[0]


def _ended(job: PicturesJob) -> tuple[bytes, ...]:
    until = time.monotonic() + _PICTURE_S
    while not job.done() and time.monotonic() < until:
        time.sleep(0.05)
    return job.pictures()


def _streamed(encoder: LatentEncoder, generator: DreamGenerator, made: list[Keyframe]) -> str:
    """Frames of a walk that the server computes by itself, between the newest two keyframes."""
    import torch

    from backend.interpolation.decoder import LatentBatch
    from backend.interpolation.walk import Knot, Walk, Waypoint

    points = [
        Waypoint(generator.latent(one), one.latent.annotated if one.latent else None) for one in made[-2:]
    ]
    walk, t = Walk("smooth", Knot(points[0]), Knot(points[1]), 1.0), torch.arange(1, 4) / 4
    start = time.monotonic()
    frames = _ended(
        encoder.decode(LatentBatch(walk.latents(t), made[-1].prompt, tuple(t.tolist()), walk=walk))
    )
    size = sum(map(len, frames)) / len(frames)
    return f"{len(frames)} frames of {size / 1000:.0f} kB came in {time.monotonic() - start:.2f} s"


def _in_betweens(settings: Settings, engine: Engine, generator: DreamGenerator, ends: list[Keyframe]) -> str:
    """Who decodes them: whoever is wished for, or the engine, and why."""
    from backend.decoder_assembly import open_decoder
    from backend.interpolation.decoder import Anchor, LatentBatch
    from backend.interpolation.decoder_choice import decoder_told

    start, end = (Anchor(generator.latent(keyframe), keyframe.picture) for keyframe in ends)
    batch = LatentBatch(end.latent, ends[-1].prompt, (1.0,), start, end)
    with ExitStack() as stack:
        decoder = open_decoder(settings, engine, stack)
        begun = time.monotonic()
        try:
            _ended(decoder.decode(batch))
        except JobFailed:  # it is known now who cannot; the next best can
            _ended(decoder.decode(batch))
        used, problem = decoder_told(decoder)
    told = f"decoded by {used}, the first in {time.monotonic() - begun:.2f} s"
    return told if problem is None else f"{told}, since {problem}"


def _warm(generator: DreamGenerator, prompt: Prompt, made: list[Keyframe]) -> str:
    """Whether a keyframe after in-betweens loads no model and encodes no text again."""
    pending = generator.request(prompt, made[-1])
    end = pending.job.result(_PICTURE_S)
    made.append(generator.collect(pending))
    classes = {pending.workflow.graph[node]["class_type"] for node in getattr(end, "executed", ())}
    again = sorted(name for name in classes if name != "LoadLatent" and any(word in name for word in _COSTLY))
    if again:
        return f"cold: {', '.join(again)} ran again; another program's jobs may have come between"
    return "nothing is loaded or encoded twice while the words stay the same"


def _left_behind(engine: Engine, gap_s: float) -> str:
    if engine.house.deletes:
        return "spent latents are deleted, uploads take turns under 16 names: nothing grows"
    return (
        "spent latents are emptied, since ComfyUI deletes nothing and its folder is out of reach from here: "
        f"at most {86_400 / gap_s:,.0f} empty files a day in its output/dreamloop"
    )


def _keyframe(generator: DreamGenerator, prompt: Prompt, previous: Keyframe | None) -> Keyframe:
    pending = generator.request(prompt, previous)
    pending.job.result(_PICTURE_S)
    return generator.collect(pending)
