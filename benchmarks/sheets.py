"""``make sheets``: what the embedded engine paints, with the real themes, on sheets to be looked at."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from backend.core.model_families import EMBEDDED
from backend.engine.painter import DreamPainter
from backend.engine.painting import Latent, Pixels
from backend.interpolation.spherical_lerp import slerp
from backend.utils.theme_files import read_theme
from benchmarks import flow_sheets
from benchmarks.contact_sheet import save_jpeg, save_webp, scaled, sheet
from benchmarks.photos import photos

ROOT = Path(__file__).resolve().parents[1]

DENOISE = 0.45
"""As in config.yaml."""
DIALS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
GAP_FRAMES = 24
CHAIN, CHAIN_PROMPT = 40, 15
"""Keyframes in a chain, and how many of them one prompt lasts."""
CLIP_FPS, CLIP_GAP_FRAMES, CLIP_WIDTH_PX = 10, 20, 480
CLIP_BYTES, SHEET_BYTES = 1_500_000, 200_000


class Studio:
    """The painter and the themes, at the size and with the dials of the daemon."""

    def __init__(self, prompts: Path) -> None:
        themes = (read_theme(path)[0] for path in sorted(prompts.glob("*.yaml")))
        self.themes = {theme.name: theme for theme in themes if theme is not None}
        self.painter = DreamPainter()
        self.shape = (1, 4, EMBEDDED.height // 8, EMBEDDED.width // 8)

    def keyframe(
        self, name: str, seed: int, *, prompt: int = 0, start: Latent | None = None, denoise: float = 1.0
    ) -> Latent:
        """A new picture of a theme, or the next one after ``start``."""
        theme = self.themes[name]
        return self.painter.sample(
            np.zeros(self.shape, np.float32) if start is None else start,
            self.painter.text(theme.positive[prompt % len(theme.positive)]),
            self.painter.text(theme.negative),
            seed=seed,
            steps=EMBEDDED.steps,
            cfg=EMBEDDED.cfg,
            denoise=denoise,
            on_step=lambda *_: None,
        )

    def paint(self, latents: Latent) -> list[Pixels]:
        return list(self.painter.decode(latents))

    def gap(self, first: Latent, last: Latent, places: list[float]) -> list[Pixels]:
        """The frames of a walk, as the daemon walks it."""
        walked = slerp(torch.from_numpy(first), torch.from_numpy(last), torch.tensor(places))
        return self.paint(walked[:, 0].numpy())


def gap(studio: Studio) -> Image.Image:
    """24 consecutive frames from one keyframe to the next."""
    first = studio.keyframe("aurora", 3)
    last = studio.keyframe("aurora", 4, start=first, denoise=DENOISE)
    return sheet(studio.gap(first, last, np.linspace(0, 1, GAP_FRAMES).tolist()), 6, 256)


def themes(studio: Studio) -> Image.Image:
    """All themes, side by side."""
    latents = [studio.keyframe(name, 7 + index) for index, name in enumerate(studio.themes)]
    return sheet(studio.paint(np.concatenate(latents)), 5, 320, list(studio.themes))


def prompts(studio: Studio) -> Image.Image:
    """Four pictures of each theme, of different prompts and seeds."""
    latents = [
        studio.keyframe(name, 20 + index, prompt=index) for name in studio.themes for index in range(4)
    ]
    labels = [f"{name} {index + 1}" for name in studio.themes for index in range(4)]
    return sheet(studio.paint(np.concatenate(latents)), 8, 190, labels)


def chain(studio: Studio) -> Image.Image:
    """40 keyframes, each from the latent of the one before."""
    latents = [studio.keyframe("nebula", 100)]
    for index in range(1, CHAIN):
        prompt = index // CHAIN_PROMPT
        latents.append(
            studio.keyframe("nebula", 100 + index, prompt=prompt, start=latents[-1], denoise=DENOISE)
        )
    return sheet(studio.paint(np.concatenate(latents)), 8, 190)


def dial(studio: Studio) -> Image.Image:
    """One picture dreamt on, with denoise from 0 to 1."""
    start = studio.keyframe("deep sea", 1)
    latents = [studio.keyframe("deep sea", 2, start=start, denoise=denoise) for denoise in DIALS]
    labels = [f"denoise {denoise:g}" for denoise in DIALS]
    return sheet(studio.paint(np.concatenate(latents)), 6, 256, labels)


def photo(studio: Studio) -> Image.Image:
    """Photos, what is left of them after encoding and decoding, and the first dream of them."""
    taken = photos(EMBEDDED.width, EMBEDDED.height)
    encoded = [studio.painter.encode(pixels) for pixels in taken.values()]
    dreamt = [studio.keyframe("aurora", 5, start=latent, denoise=DENOISE) for latent in encoded]
    shown = [*taken.values(), *studio.paint(np.concatenate([*encoded, *dreamt]))]
    labels = [f"{name}, {what}" for what in ("photo", "encoded, decoded", "dreamt on") for name in taken]
    return sheet(shown, len(taken), 300, labels)


def clip(studio: Studio) -> list[Image.Image]:
    """Six seconds that end where they begin."""
    first = studio.keyframe("nebula", 100)
    second = studio.keyframe("nebula", 101, prompt=1, start=first, denoise=0.6)
    third = studio.keyframe("nebula", 102, prompt=2, start=second, denoise=0.6)
    places = np.linspace(0, 1, CLIP_GAP_FRAMES, endpoint=False).tolist()
    legs = ((first, second), (second, third), (third, first))
    return [scaled(pixels, CLIP_WIDTH_PX) for leg in legs for pixels in studio.gap(*leg, places)]


SHEETS: dict[str, Callable[[Studio], Image.Image]] = {
    make.__name__: make for make in (gap, themes, prompts, chain, dial, photo)
}


_FILES = {"clip": "dream.webp", "flow": "flow.webp"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.sheets", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs", help="docs by default")
    names = [*SHEETS, "walk", "clip", "flow"]
    parser.add_argument("--only", choices=names, action="append", help="may be named repeatedly")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    studio = Studio(ROOT / "prompts")
    for name in args.only or names:
        start_s = time.monotonic()
        path: Path = args.folder / _FILES.get(name, f"{name}.jpg")
        if name in ("clip", "flow"):
            frames = clip(studio) if name == "clip" else flow_sheets.clip()
            size = save_webp(frames, path, CLIP_FPS, CLIP_BYTES)
        elif name == "walk":
            size = save_jpeg(flow_sheets.sheet(), path, 2 * SHEET_BYTES)
        else:
            size = save_jpeg(SHEETS[name](studio), path, SHEET_BYTES)
        print(f"{path}  {size / 1000:.0f} kB  {time.monotonic() - start_s:.1f} s", flush=True)


if __name__ == "__main__":
    main()
