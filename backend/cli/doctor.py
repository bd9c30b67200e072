"""``main.py doctor``: is everything there that a dream needs? One line a check, and what to do next."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backend.errors import DreamloopError, StorageError

if TYPE_CHECKING:  # `main.py --help` must not wait for pydantic and numpy
    from backend.config import Settings
    from backend.core.engine import Engine
    from backend.core.generator import DreamGenerator, Keyframe
    from backend.utils.prompt_manager import Prompt

_PICTURE_S = 300.0
_MAX_PIXELS = 64_000_000

OpenEngine = Callable[["Settings", ExitStack], tuple["Engine", str]]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the command."""
    return subparsers.add_parser("doctor", help="check the whole chain up to a test picture")


@dataclass
class _Table:
    """Prints each check as it ends, and remembers whether all went well."""

    failed: bool = False

    def check(self, what: str, run: Callable[[], str]) -> bool:
        """Run one check; what it returns is said behind its name, what it raises is the fault."""
        start = time.monotonic()
        try:
            found, mark = run(), "ok"
        except (DreamloopError, TimeoutError, ValueError) as error:
            found, mark, self.failed = str(error), "FAIL", True
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
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dreamloop-doctor-")))
        storage = settings.storage.model_copy(update={"output": scratch})
        engine, note = open_engine(settings.model_copy(update={"storage": storage}), stack)
        print(f"     {note}")
        if table.check("engine", lambda: _connect(engine)):
            engine.client.start()
            stack.callback(engine.client.close)
            _dream(table, settings, engine)
    print(
        "\nall is well: `python main.py` dreams"
        if not table.failed
        else "\nsee FAIL above for what to do next"
    )
    return int(table.failed)


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


def _connect(engine: Engine) -> str:
    facts = engine.connect()
    return f"{facts.version} at {facts.url} on {facts.device}; model {facts.checkpoint} ({facts.family.name})"


def _dream(table: _Table, settings: Settings, engine: Engine) -> None:
    """A picture from words, the next one from its latent, and a way through the VAE and back."""
    from backend.core.generator import DreamGenerator
    from backend.interpolation.latent_encoder import LatentEncoder
    from backend.utils.picture_check import inspect_picture
    from backend.utils.prompt_manager import Prompt

    size = None if settings.dream.size is None else (settings.dream.size.width, settings.dream.size.height)
    generator = DreamGenerator(
        engine,
        mode="hybrid",
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
        return f"{newest.facts.width}x{newest.facts.height}, {newest.seconds:.2f} s at the engine"

    def round_trip() -> str:
        encoder = LatentEncoder(engine)
        latent = encoder.encode(made[-1].picture, _PICTURE_S)
        job = encoder.decode(latent, prompt)
        until = time.monotonic() + _PICTURE_S
        while not job.done() and time.monotonic() < until:
            time.sleep(0.05)
        facts = inspect_picture(job.pictures()[0], max_pixels=_MAX_PIXELS)
        return f"picture -> {'x'.join(map(str, latent.shape))} -> {facts.width}x{facts.height}"

    if table.check("test picture", picture) and table.check("dream step", picture):
        table.check("latent round trip", round_trip)
        table.check("socket", lambda: f"pictures come over the WebSocket: {engine.client.connection.socket}")
    for keyframe in made:
        generator.retire(keyframe)


def _keyframe(generator: DreamGenerator, prompt: Prompt, previous: Keyframe | None) -> Keyframe:
    pending = generator.request(prompt, previous)
    pending.job.result(_PICTURE_S)
    return generator.collect(pending)
