"""How many distinct pictures there are, judged by what no matcher of the memory uses."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from backend.engine.oklab import oklab_from_srgb
from backend.engine.painting import Pixels

Floats = NDArray[np.float64]


def thumbnail(picture: Pixels) -> Floats:
    """Oklab of 16x16 squares, ``[768]``."""
    lab = oklab_from_srgb(torch.from_numpy(picture.astype(np.float32) / 255.0).permute(2, 0, 1)).numpy()
    small = [np.array(Image.fromarray(one).resize((16, 16), Image.Resampling.BOX)) for one in lab]
    return np.stack(small).ravel().astype(np.float64)


def edge_directions(picture: Pixels) -> Floats:
    """How much of each of 8 directions of edges there is in each of 4x4 parts, ``[128]``, of length 1."""
    light = picture.astype(np.float64).mean(2)
    down, across = np.gradient(light)
    angle = np.mod(np.arctan2(down, across), np.pi) * (8 / np.pi)
    height, width = light.shape
    rows, columns = np.mgrid[0:height, 0:width]
    cell = rows * 4 // height * 4 + columns * 4 // width
    place = cell * 8 + np.minimum(angle.astype(np.int64), 7)
    counts = np.bincount(place.ravel(), np.hypot(down, across).ravel(), 128)
    return counts / max(float(np.linalg.norm(counts)), 1e-9)


def vendi(features: Floats, scale: float) -> float:
    """Effective number of distinct rows of ``[N, D]``; rows ``scale`` apart are alike to 1/e."""
    squares = (features**2).sum(1)
    apart = np.maximum(squares[:, None] + squares[None] - 2.0 * features @ features.T, 0.0)
    shares = np.linalg.eigvalsh(np.exp(-apart / scale**2) / len(features))
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))
