"""What tests of the painter measure in pictures: plain numbers, made without the painter."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from backend.engine.oklab import linear_from_srgb, oklab_from_hex, oklab_from_linear
from backend.engine.painting import Latent, Pixels
from backend.interpolation.spherical_lerp import slerp

Floats = NDArray[np.float32]


_LINEAR = linear_from_srgb(torch.arange(256) / 255)


def linear(pixels: Pixels) -> torch.Tensor:
    """Linear light ``[3, H, W]``."""
    return _LINEAR[torch.from_numpy(pixels.astype(np.int32)).permute(2, 0, 1)]


def lab(pixels: Pixels) -> Floats:
    """Oklab ``[3, H, W]``."""
    return oklab_from_linear(linear(pixels)).numpy()


def thumbnail(pixels: Pixels) -> Floats:
    """Oklab ``[3, 16, 16]``."""
    return np.stack(
        [np.array(Image.fromarray(c).resize((16, 16), Image.Resampling.BOX)) for c in lab(pixels)]
    )


def lightness_at(pixels: Pixels, share: float) -> float:
    """Lightness below which this share of the picture's squares of 8 pixels lies, light averaged as light."""
    squares = torch.nn.functional.avg_pool2d(linear(pixels), 8)
    return float(oklab_from_linear(squares)[0].quantile(share))


def edge_energy(pixels: Pixels) -> float:
    """Mean slope of lightness between neighbours."""
    light = lab(pixels)[0]
    down, across = np.diff(light, axis=0)[:, 1:], np.diff(light, axis=1)[1:]
    return float(np.sqrt(down * down + across * across).mean())


def step(one: Pixels, other: Pixels) -> float:
    """Mean distance in Oklab."""
    return float(np.abs(lab(one) - lab(other)).mean())


def psnr(one: Floats, other: Floats) -> float:
    """Decibels; pictures within 30 of each other look alike."""
    return float(10 * np.log10(255**2 / max(((one - other) ** 2).mean(), 1e-9)))


def walked(first: Latent, last: Latent, share: float) -> Latent:
    """A latent on the way."""
    return slerp(torch.from_numpy(first), torch.from_numpy(last), torch.tensor([share]))[0].numpy()


def hue_gap(pixels: Pixels, colour: str) -> float:
    """Radians between the picture's mean hue and that of ``rrggbb``."""
    _, green_red, blue_yellow = lab(pixels).mean((1, 2))
    _, wished_a, wished_b = oklab_from_hex(colour)
    gap = np.arctan2(blue_yellow, green_red) - np.arctan2(wished_b, wished_a)
    return abs(float((gap + np.pi) % (2 * np.pi) - np.pi))


def pull_toward(pixels: Pixels, colour: str) -> float:
    """How much of the picture's mean chroma points to the hue of ``rrggbb``."""
    wished = np.array(oklab_from_hex(colour)[1:])
    return float(lab(pixels).mean((1, 2))[1:] @ wished / np.linalg.norm(wished))


def correlation(one: Pixels, other: Pixels) -> float:
    """Of two thumbnails: the least of the three channels, of those in which anything is to be seen."""
    pairs = zip(thumbnail(one), thumbnail(other), strict=True)
    return min(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in pairs if a.std() > 0.005)


def found_again(originals: list[Pixels], copies: list[Pixels]) -> float:
    """Share of copies whose nearest original, among thumbnails, is their own."""
    known = np.stack([thumbnail(p).ravel() for p in originals])
    nearest = [int(np.abs(known - thumbnail(p).ravel()).mean(1).argmin()) for p in copies]
    return float(np.mean([found == own for own, found in enumerate(nearest)]))


def spearman(values: list[float]) -> float:
    """Rank correlation of values with their order."""
    ranks = np.argsort(np.argsort(values))
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])
