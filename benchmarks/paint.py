"""Pictures a second of the embedded painter, beside a plain warp of noise by noise in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom

from backend.engine.oklab import linear_from_oklab, srgb_from_linear
from backend.engine.painter import DreamPainter
from backend.engine.painting import Latent, Pixels
from backend.utils.theme_files import read_theme

DEFAULT_THEME = "aurora"
SIZES = ((512, 512), (768, 432))
_OCTAVES = 5
_PROMPTS = Path(__file__).resolve().parents[1] / "prompts"


@dataclass(frozen=True)
class Painted:
    """Milliseconds for one picture of each theme, and of the plain warp, taken in turns."""

    width: int
    height: int
    theme_ms: dict[str, float]
    plain_ms: float


def compare(width: int, height: int, rounds: int) -> Painted:
    """Medians over ``rounds``, in which every theme and the warp have their turn."""
    painter = DreamPainter()
    works: dict[str, Callable[[], object]] = {
        name: _decoding(painter, latent) for name, latent in _latents(painter, width, height).items()
    }
    lattices = [
        torch.randn(3, 3, 4 * 2**i, 4 * 2**i, generator=torch.Generator().manual_seed(i))
        for i in range(_OCTAVES)
    ]
    works[""] = lambda: plain_warp(lattices, width, height)
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:  # the first one warms up
                taken[name].append(1e3 * (time.perf_counter() - start))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    return Painted(width, height, medians, medians.pop(""))


def plain_warp(lattices: list[torch.Tensor], width: int, height: int) -> Pixels:
    """Fractal noise, bent twice by fractal noise, and three colours: what a sketch of a painter does."""
    with torch.inference_mode():
        down, across = torch.meshgrid(
            torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
        )
        place = torch.stack([across, down], -1)
        for lattice in (0, 1):
            bend = _fbm(lattices, lattice, place)
            place = place + 0.2 * bend[:2].permute(1, 2, 0)
        light, red, blue = _fbm(lattices, 2, place)
        lab = torch.stack([0.5 + 0.2 * torch.tanh(light), 0.05 * red, 0.05 * blue])
        rgb = srgb_from_linear(linear_from_oklab(lab))
        return rgb.mul_(255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _fbm(lattices: list[torch.Tensor], which: int, place: torch.Tensor) -> torch.Tensor:
    octaves = [
        0.5**i
        * F.grid_sample(
            lattice[which : which + 1], place[None], "bilinear", "reflection", align_corners=False
        )
        for i, lattice in enumerate(lattices)
    ]
    return torch.stack(octaves).sum(0)[0]


def _latents(painter: DreamPainter, width: int, height: int) -> dict[str, Latent]:
    empty = np.zeros((1, 4, height // 8, width // 8), np.float32)
    said = {"seed": 3, "steps": 1, "cfg": 7.0, "denoise": 1.0, "on_step": lambda *_: None}
    themes = [read_theme(path)[0] for path in sorted(_PROMPTS.glob("*.yaml"))]
    return {
        theme.name: painter.sample(
            empty, painter.text(theme.positive[0]), painter.text(theme.negative), **said
        )
        for theme in themes
        if theme is not None
    }


def _decoding(painter: DreamPainter, latent: Latent) -> Callable[[], object]:
    return lambda: next(painter.decode(latent))
