"""What a film is made of, as settings and disk have it: kept frames, or keyframes painted once more."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from backend.assembly import open_engine
from backend.config import Settings
from backend.core.engine import Engine
from backend.decoder_assembly import open_decoder
from backend.errors import EngineStarting, ExportRefused, NoDaemon
from backend.film.export import Source
from backend.film.held import held
from backend.film.kept_frames import FrameStills, KeptFrame, list_frames
from backend.film.keyframe_files import FOLDER, KeyframeFile, list_keyframes
from backend.film.manners import PoliteManners
from backend.film.recording import Recording, usable
from backend.film.rendering import Rendering
from backend.film.showings import as_shown
from backend.film.spans import Span, chosen
from backend.film.stills import Size
from backend.film.timeline import FADE_S
from backend.film.writers import Words
from backend.interpolation.hybrid_generator import HybridGenerator
from backend.utils.control import SOCKET_NAME, ask
from backend.utils.prompt_manager import Prompt
from backend.utils.status_schema import MAX_TEXT

log = logging.getLogger("dreamloop")

MAX_PIXELS = 64_000_000
_START_S = 180.0
_FRAMES_PER_JOB = 16
"""So that a dream on the same engine never waits long for its turn."""

_ASK_S = 1.0
_THEMES_TOLD, _PROMPTS_TOLD = 50, 20


@dataclass(frozen=True)
class Material:
    """What there is of a span.

    Attributes:
        frames: Those that were shown and are on disk still.
        keyframes: The recorded ones, from the one on with which the span begins, or in whose gap.
        last_s: So many seconds of dream, back from the end, are asked for; None for all.
    """

    frames: Sequence[KeptFrame]
    keyframes: Sequence[KeyframeFile]
    last_s: float | None = None

    @property
    def frames_s(self) -> float:
        """How long the frames last."""
        return sum(frame.seconds for frame in self.frames)

    @property
    def keyframes_s(self) -> float:
        """How much dream lies between the keyframes."""
        return sum(one.gap_s for one in self.keyframes[1:])


@dataclass(frozen=True)
class Footage:
    """What a film is made of, ready to be exported.

    Attributes:
        size: Width and height of its largest picture in pixels.
        is_ring: It leads back to its first picture by itself.
        missing: Tells how many pictures had to be left out.
    """

    source: Source
    size: Size
    words: Words
    is_ring: bool
    missing: Callable[[], int]


def material_of(settings: Settings, span: Span) -> Material:
    """What there is on disk of a span; raises StorageError, or ExportRefused where the span has no sense."""
    output = settings.storage.output
    frames = list_frames(output, 1.0 / settings.display.fps)
    keyframes = as_shown(list_keyframes(output / FOLDER), output / FOLDER)
    picked = chosen(keyframes, span, lambda one: one.at, lambda one: one.gap_s)
    if picked and span.last_s is not None and picked[0] is not keyframes[0]:
        # The gaps are counted; the first one begins at the keyframe before.
        picked = keyframes[keyframes.index(picked[0]) - 1 : keyframes.index(picked[-1]) + 1]
    shown = chosen(frames, span, lambda one: one.at, lambda one: one.seconds)
    return Material(_cut(shown, span.last_s), picked, span.last_s)


def _cut(frames: Sequence[KeptFrame], last_s: float | None) -> Sequence[KeptFrame]:
    """Of the first frame no more than is asked for."""
    excess_s = 0.0 if last_s is None else sum(frame.seconds for frame in frames) - last_s
    if excess_s <= 0.0 or not frames:
        return frames
    first = frames[0]
    return [replace(first, at=first.at + excess_s, seconds=first.seconds - excess_s), *frames[1:]]


@contextlib.contextmanager
def kept_footage(settings: Settings, frames: Sequence[KeptFrame]) -> Iterator[Footage]:
    """A film of kept frames, which are held until the block ends.

    Raises:
        ExportRefused: There are none.
    """
    with held([frame.path for frame in frames], settings.storage.output) as places:
        there = [replace(frame, path=places[frame.path]) for frame in frames if frame.path in places]
        stills = FrameStills(there, MAX_PIXELS)
        size = stills.largest()
        if size is None:
            raise ExportRefused("none of the frames is there any more; ask for a later part of the dream")
        gone = len(frames) - len(there)
        words = _words(there[0].at, there[-1].at, [frame.theme for frame in there], [])
        yield Footage(stills, size, words, False, lambda: gone + stills.missing)


@contextlib.contextmanager
def rendered_footage(
    settings: Settings,
    material: Material,
    *,
    fps: float,
    gap_s: float | None,
    loops: bool,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Footage]:
    """A film of recorded keyframes, which the engine of the settings paints once more.

    Args:
        settings: All of them.
        material: Its keyframes are those of the span.
        fps: Pictures for each second of a walk.
        gap_s: Seconds from keyframe to keyframe; None for those of the dream.
        loops: The last one leads back to the first.
        tell: Told what is being done before there is a picture.

    Raises:
        ExportRefused: There are too few that this engine can paint.
        EngineError: The engine cannot be had.
    """
    keyframes = material.keyframes
    with ExitStack() as stack:
        output = settings.storage.output
        places = stack.enter_context(held([one.path for one in keyframes], output))
        if len(places) < 2:
            raise ExportRefused(_too_few(len(places), 0, ""))
        files = [replace(one, path=places[one.path]) for one in keyframes if one.path in places]
        tell("reaching the engine")
        engine = _engine(settings, stack)
        family = engine.facts.family if engine.facts else None
        fitting, others = usable(files, family.line if family else None, gap_s)
        if len(fitting) < 2:
            raise ExportRefused(_too_few(len(fitting), others, family.name if family else ""))
        if others:
            tell(f"{others} of {len(keyframes)} keyframes are left out: they are of another model, or broken")
        recording = Recording(fitting, loops=loops, fade_s=FADE_S)
        rendering = _rendering(settings, engine, recording, fps, stack)
        if material.last_s is not None and (dreamt_s := material.keyframes_s) > 0.0:
            rendering.shorten(material.last_s * (1.0 if gap_s is None else recording.seconds / dreamt_s))
        tell("painting the first picture")
        size = rendering.first(recording.largest()).picture.size
        words = _words(
            fitting[0].file.at,
            fitting[-1].file.at,
            [one.told.theme for one in fitting],
            [one.told.prompt for one in fitting],
        )
        yield Footage(rendering, size, words, recording.loops, lambda: others)


def _engine(settings: Settings, stack: ExitStack) -> Engine:
    """The engine of the settings, as any other client has it: its files and names are not the daemon's."""
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dreamloop-export-")))
    storage = settings.storage.model_copy(update={"output": scratch})
    # The same names each time, or they would pile up on the server.
    owner = settings.storage.output / "export"
    engine, note = open_engine(settings.model_copy(update={"storage": storage}), stack, owner)
    log.debug("%s", note)
    until = time.monotonic() + _START_S
    while True:
        try:
            engine.connect()
            break
        except EngineStarting:
            if time.monotonic() >= until:
                raise
    engine.client.start()
    stack.callback(engine.client.close)
    return engine


def _with_time(settings: Settings) -> Settings:
    """A film has time: it is decoded whole, wherever in-betweens are decoded, and as nothing was lost yet."""
    whole = settings.interpolation.model_copy(update={"scale": 1.0, "tiny_vae": None})
    untouched = settings.display.model_copy(update={"format": None})
    return settings.model_copy(update={"interpolation": whole, "display": untouched})


def _rendering(
    settings: Settings, engine: Engine, recording: Recording, fps: float, stack: ExitStack
) -> Rendering:
    decoder = open_decoder(_with_time(settings), engine, stack)
    hybrid = HybridGenerator(decoder, settings.interpolation.frames_per_job)
    return Rendering(
        recording,
        decoder,
        fps=fps,
        path=settings.interpolation.path,
        pacing=settings.interpolation.pacing,
        frames_per_job=min(_FRAMES_PER_JOB, hybrid.frames_per_job(recording.latent(recording.largest()))),
        manners=PoliteManners(engine.client.others_have_jobs),
        words=_DaemonsWords(settings.storage.status / SOCKET_NAME, engine.client.url).instead_of,
        max_pixels=MAX_PIXELS,
    )


class _DaemonsWords:
    """The words that a dream on the same engine has at the moment.

    ComfyUI keeps the encoded words of its last prompt only: with other words than the dream's, each of our
    jobs would make it encode those again, and for a large model load its text encoders for that.
    """

    def __init__(self, socket: Path, engine_url: str) -> None:
        self._socket = socket
        self._engine_url = engine_url
        self._there = True

    def instead_of(self, own: Prompt) -> Prompt:
        """The daemon's words, or our own where no daemon dreams on this engine."""
        if not self._there:
            return own
        try:
            status = ask(self._socket, {"command": "status"}, _ASK_S)["status"]
            url, dream = status["engine"]["url"], status["dream"]
            theme, prompt, negative = (str(dream[key]) for key in ("theme", "prompt", "negative"))
        except (NoDaemon, KeyError, TypeError):
            self._there = False
            return own
        whole = 0 < len(prompt) < MAX_TEXT and len(negative) < MAX_TEXT
        return Prompt(theme, prompt, negative) if url == self._engine_url and whole else own


def _too_few(fitting: int, others: int, family: str) -> str:
    if others:
        return (
            f"{fitting} recorded keyframes of this part are of a model that the engine of these settings can "
            f"decode ({family}), {others} are of others, or broken; choose the model that painted them"
        )
    return (
        "at least two recorded keyframes are needed: let it dream longer, or see storage.keyframe_hours in "
        "config.yaml; of a dream whose workflow gives no latents nothing can be recorded"
    )


def _words(begin: float, end: float, themes: Sequence[str], prompts: Sequence[str]) -> Words:
    first, last = (datetime.fromtimestamp(at).astimezone() for at in (begin, end))
    until = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    told = list(dict.fromkeys(theme for theme in themes if theme))[:_THEMES_TOLD]
    lines = [f"themes: {', '.join(told)}"] if told else []
    lines += list(dict.fromkeys(prompt for prompt in prompts if prompt))[:_PROMPTS_TOLD]
    return Words(
        title=f"Dreamloop, {first:%Y-%m-%d %H:%M} to {until}",
        comment="\n".join(lines),
        created=f"{first.astimezone(UTC):%Y-%m-%dT%H:%M:%S.000000Z}",
    )
