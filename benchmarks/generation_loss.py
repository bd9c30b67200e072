"""What keyframes lose on the way through many of them: from latent to latent, and through PNG and VAE."""

from __future__ import annotations

import argparse
import io
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from backend.core.comfyui_api import ComfyUIClient
from backend.core.generator import DreamGenerator, Keyframe
from backend.engine.process import EngineProcess
from backend.utils.prompt_manager import Prompt
from benchmarks.judges import oklab
from benchmarks.loop import engine_at

KEYFRAMES = 200
DENOISE = 0.1
SIZE = (256, 144)
PROMPT = Prompt("aurora", "northern lights over a frozen lake, aurora, stars", "text")
_GUARD_S = 600.0
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
        """Sharpness at the end, as a share of that at the beginning."""
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


def chain(generator: DreamGenerator, keyframes: int, *, by_pictures: bool) -> Chain:
    """Dream so many keyframes from one another."""
    told: list[tuple[float, float, float]] = []
    previous: Keyframe | None = None
    for _ in range(keyframes):
        pending = generator.request(PROMPT, previous)
        pending.job.result(_GUARD_S)
        keyframe = generator.collect(pending)
        told.append(_measures(keyframe.picture))
        if previous is not None:
            generator.retire(previous)
        previous = replace(keyframe, latent=None) if by_pictures else keyframe
    return Chain(*np.array(told).T)


def _measures(picture: bytes) -> tuple[float, float, float]:
    lab = oklab(np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")))
    slopes = (np.abs(np.diff(lab[..., 0], axis=axis)).mean() for axis in (0, 1))
    return sum(slopes), float(np.hypot(lab[..., 1], lab[..., 2]).mean()), float(lab[..., 0].mean())


@contextmanager
def _generator(url: str | None, size: tuple[int, int] | None) -> Iterator[DreamGenerator]:
    with tempfile.TemporaryDirectory(prefix="dreamloop-bench-") as folder:
        process = None if url else EngineProcess(Path(folder))
        client = ComfyUIClient(url or (process.ensure_running(60.0) if process else ""))
        engine = engine_at(client)
        client.start()
        try:
            engine.connect()
            yield DreamGenerator(
                engine, mode="hybrid", denoise=DENOISE, size=size, max_pixels=10**7, rng=random.Random(1)
            )
        finally:
            client.close()
            if process is not None:
                process.stop()


def compare(keyframes: int, url: str | None = None) -> tuple[Chain, Chain]:
    """By the latent, and by pictures, with the same seeds; on the embedded engine, or on a ComfyUI."""
    chains = []
    for by_pictures in (False, True):
        with _generator(url, SIZE if url is None else None) as generator:
            chains.append(chain(generator, keyframes, by_pictures=by_pictures))
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


def plot(latent: Chain, pictures: Chain, path: Path) -> None:
    """Sharpness and colour of both, keyframe by keyframe, each as a share of its beginning; a small PNG."""
    image = Image.new("RGB", (720, 300), "#101418")
    pen = ImageDraw.Draw(image)
    panels = (("sharpness", 40), ("chroma", 395))
    for name, left in panels:
        shares = [getattr(one, name) / getattr(one, name)[:_ENDS].mean() for one in (latent, pictures)]
        top = max(1.5, *(float(np.percentile(one, 99)) for one in shares))
        for value in np.arange(0.0, top, 0.5):
            y = 250 - 210 * value / top
            pen.line((left, y, left + 300, y), fill="#242a31")
            pen.text((left - 26, y - 6), f"{value:.1f}", fill="#8a929c")
        for share, colour in zip(shares, ("#5fb3d9", "#f2b463"), strict=True):
            x = left + 300 * np.arange(len(share)) / max(1, len(share) - 1)
            y = 250 - 210 * np.minimum(share, top) / top
            pen.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=colour, width=2)
        pen.text((left, 260), f"{name}, of its beginning; {len(shares[0])} keyframes", fill="#c8ced6")
    pen.text((40, 8), "from latent to latent", fill="#5fb3d9")
    pen.text((200, 8), "through PNG and VAE", fill="#f2b463")
    image.quantize(64).save(path, optimize=True)


def main() -> None:
    """Both chains, and the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plot", type=Path, help="where the plot goes")
    parser.add_argument("--keyframes", type=int, default=KEYFRAMES)
    parser.add_argument("--comfyui-url", metavar="URL", help="a real ComfyUI with a checkpoint")
    args = parser.parse_args()
    latent, pictures = compare(args.keyframes, args.comfyui_url)
    for name, one in (("by the latent", latent), ("by PNG and VAE", pictures)):
        print(
            f"{name}: sharpness kept {one.kept:.0%}, lost a step {one.lost_a_step:.3%}, "
            f"colour drift {one.colour_drift:.4f}"
        )
    plot(latent, pictures, args.plot)


if __name__ == "__main__":
    main()
