"""What keyframes lose on the way through many of them: from latent to latent, and through PNG and VAE.

``python -m benchmarks.generation_loss PLOT`` asks the embedded engine. With ``--comfyui-url URL`` a real
ComfyUI is asked, too; where there is no GPU and no model, train one that knows as much as this asks for, in
a quarter of an hour, and let both chains begin with a painted picture, since it dreams none from nothing::

    python -m benchmarks.small_checkpoint COMFYUI/models/checkpoints/small-sd15.safetensors
    python -m benchmarks.generation_loss docs/loss.png --comfyui-url URL --size 256x144 \\
        --steps 4 --cfg 1 --painted
"""

from __future__ import annotations

import argparse
import io
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from backend.core.comfyui_api import ComfyUIClient
from backend.core.engine_plan import SamplingChoice
from backend.core.generator import DreamGenerator, Keyframe
from backend.engine import png
from backend.engine.process import EngineProcess
from backend.utils.picture_check import inspect_picture
from backend.utils.prompt_manager import Prompt
from benchmarks.judges import oklab
from benchmarks.loop import FAMILYS_OWN, engine_at
from benchmarks.painted_engine import Painting

KEYFRAMES = 200
DENOISE = 0.1
SIZE = (256, 144)
PROMPT = Prompt("aurora", "northern lights over a frozen lake, aurora, stars", "text")
_SEED = 1_000_000
_MAX_PIXELS = 10**7
_GUARD_S = 600.0
_COLOURS = ("#5fb3d9", "#f2b463")
_ENDS = 20
"""Keyframes at the beginning and at the end that are compared."""


@dataclass(frozen=True)
class Chain:
    """What is measured of each keyframe.

    Attributes:
        sharpness: Mean slope of the lightness, in Oklab a pixel.
        chroma: Mean distance from grey.
        lightness: Mean, 0 to 1.
    """

    sharpness: NDArray[np.float64]
    chroma: NDArray[np.float64]
    lightness: NDArray[np.float64]

    @property
    def kept(self) -> float:
        """Sharpness at the end, as a share of that at the beginning; above 1 where something rings."""
        ends = self.sharpness[-_ENDS:].mean() / self.sharpness[:_ENDS].mean()
        return float(ends)

    @property
    def lost_a_step(self) -> float:
        """Share of the sharpness that a step loses, from the first to the worst stretch."""
        steps = max(1, len(self.sharpness) - _ENDS)
        return 1.0 - self.kept ** (1.0 / steps)

    @property
    def colour_drift(self) -> float:
        """How far the mean colour at the end is from that at the beginning, in Oklab."""
        apart = [values[-_ENDS:].mean() - values[:_ENDS].mean() for values in (self.chroma, self.lightness)]
        return float(np.hypot(*apart))


@dataclass(frozen=True)
class Server:
    """A real ComfyUI, and how it is asked.

    Attributes:
        size: Width and height in pixels; None for the model's own.
        sampling: What is not as the model's family likes it.
        painted: Begin with a picture of the embedded painter's, for a model that knows low noise only.
    """

    url: str
    size: tuple[int, int] | None = None
    sampling: SamplingChoice = FAMILYS_OWN
    painted: bool = False


Pair: TypeAlias = tuple[Chain, Chain]
"""By the latent, and by PNG and VAE."""


def chain(
    generator: DreamGenerator, keyframes: int, *, by_pictures: bool, begin: Keyframe | None = None
) -> Chain:
    """Dream so many keyframes from one another, and the first from ``begin`` where it is given."""
    told: list[tuple[float, float, float]] = []
    previous = begin
    for _ in range(keyframes):
        start = replace(previous, latent=None) if previous is not None and by_pictures else previous
        pending = generator.request(PROMPT, start)
        pending.job.result(_GUARD_S)
        keyframe = generator.collect(pending)
        told.append(_measures(keyframe.picture))
        if previous is not None:
            generator.retire(previous)
        previous = keyframe
    return Chain(*np.array(told).T)


def painted(size: tuple[int, int]) -> Keyframe:
    """A picture of the embedded painter's to begin with; it has no latent on any server."""
    painting = Painting(size)
    picture = png.encode(painting.picture(painting.fresh((PROMPT.positive, PROMPT.negative), _SEED)))
    facts = inspect_picture(picture, max_pixels=_MAX_PIXELS)
    return Keyframe(0, picture, facts, None, PROMPT, _SEED, 1.0, None, 0.0, size)


def _measures(picture: bytes) -> tuple[float, float, float]:
    lab = oklab(np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")))
    slopes = (np.abs(np.diff(lab[..., 0], axis=axis)).mean() for axis in (0, 1))
    return sum(slopes), float(np.hypot(lab[..., 1], lab[..., 2]).mean()), float(lab[..., 0].mean())


@contextmanager
def _embedded() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="dreamloop-bench-") as folder:
        process = EngineProcess(Path(folder))
        try:
            yield Server(process.ensure_running(60.0), SIZE)
        finally:
            process.stop()


@contextmanager
def _generator(server: Server) -> Iterator[DreamGenerator]:
    client = ComfyUIClient(server.url)
    engine = engine_at(client, server.sampling)
    client.start()
    try:
        engine.connect()
        yield DreamGenerator(
            engine,
            mode="hybrid",
            denoise=DENOISE,
            size=server.size,
            max_pixels=_MAX_PIXELS,
            rng=random.Random(1),
        )
    finally:
        client.close()


def compare(keyframes: int, server: Server | None = None) -> Pair:
    """By the latent, and by pictures, with the same seeds; on the embedded engine, or on a ComfyUI."""
    chains = []
    for by_pictures in (False, True):
        with nullcontext(server) if server else _embedded() as asked, _generator(asked) as generator:
            begin = painted(generator.size) if asked.painted else None
            chains.append(chain(generator, keyframes, by_pictures=by_pictures, begin=begin))
    return chains[0], chains[1]


def rows(quick: bool) -> list[tuple[str, str, str]]:
    keyframes = 60 if quick else KEYFRAMES
    latent, pictures = compare(keyframes)
    return [
        (f"sharpness kept over {keyframes} keyframes, by the latent", f"{latent.kept:.0%}", ""),
        ("    by PNG and VAE", f"{pictures.kept:.0%}", ""),
        ("sharpness lost a step, by the latent", f"{latent.lost_a_step:.3%}", ""),
        ("    by PNG and VAE", f"{pictures.lost_a_step:.3%}", ""),
        ("colour drift, Oklab, by the latent", f"{latent.colour_drift:.4f}", ""),
        ("    by PNG and VAE", f"{pictures.colour_drift:.4f}", ""),
    ]


def plot(engines: Mapping[str, Pair], path: Path) -> None:
    """Sharpness and colour of both, keyframe by keyframe, each as a share of its beginning; a small PNG."""
    image = Image.new("RGB", (720, 20 + 270 * len(engines)), "#101418")
    pen = ImageDraw.Draw(image)
    for row, (engine, pair) in enumerate(engines.items()):
        for what, left in (("sharpness", 40), ("chroma", 395)):
            shares = [getattr(one, what) / getattr(one, what)[:_ENDS].mean() for one in pair]
            _panel(pen, shares, (left, 40 + 270 * row))
            told = f"{engine}: {what}, of its beginning; {len(shares[0])} keyframes"
            pen.text((left, 260 + 270 * row), told, fill="#c8ced6")
    pen.text((40, 8), "from latent to latent", fill=_COLOURS[0])
    pen.text((200, 8), "through PNG and VAE", fill=_COLOURS[1])
    image.quantize(64).save(path, optimize=True)


def _panel(pen: ImageDraw.ImageDraw, shares: Sequence[NDArray[np.float64]], corner: tuple[int, int]) -> None:
    """Lines on a grid of 300 by 210 pixels."""
    left, bottom = corner[0], corner[1] + 210
    top = max(1.5, *(float(np.percentile(one, 99)) for one in shares))
    for value in np.arange(0.0, top, 0.5):
        y = bottom - 210 * value / top
        pen.line((left, y, left + 300, y), fill="#242a31")
        pen.text((left - 26, y - 6), f"{value:.1f}", fill="#8a929c")
    for share, colour in zip(shares, _COLOURS, strict=True):
        x = left + 300 * np.arange(len(share)) / max(1, len(share) - 1)
        y = bottom - 210 * np.minimum(share, top) / top
        pen.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=colour, width=2)


def _size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


def _server(args: argparse.Namespace) -> Server:
    sampling = SamplingChoice(steps=args.steps, cfg=args.cfg)
    return Server(args.comfyui_url, args.size, sampling, args.painted)


def main() -> None:
    """Both chains on each engine, and the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plot", type=Path, help="where the plot goes")
    parser.add_argument("--keyframes", type=int, default=KEYFRAMES)
    parser.add_argument("--comfyui-url", metavar="URL", help="a real ComfyUI with a checkpoint")
    parser.add_argument("--size", type=_size, metavar="WxH", help="there; else the model's own")
    parser.add_argument("--steps", type=int, help="of its sampler; else as many as the model's family takes")
    parser.add_argument(
        "--cfg", type=float, help="likewise; 1 where the model reads no words, at half the time"
    )
    parser.add_argument("--painted", action="store_true", help="begin there with a painted picture")
    args = parser.parse_args()
    engines = {"embedded engine": compare(args.keyframes)}
    if args.comfyui_url:
        engines["ComfyUI"] = compare(args.keyframes, _server(args))
    for engine, pair in engines.items():
        for way, one in zip(("by the latent", "by PNG and VAE"), pair, strict=True):
            print(
                f"{engine}, {way}: sharpness kept {one.kept:.0%}, lost a step {one.lost_a_step:.3%}, "
                f"colour drift {one.colour_drift:.4f}"
            )
    plot(engines, args.plot)


if __name__ == "__main__":
    main()
