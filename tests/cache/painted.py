"""Pictures painted by the embedded engine's own painter, and what happens to pictures on their way."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from backend.engine import png
from backend.engine.painter import DreamPainter
from backend.utils.theme_files import Theme, read_theme

SIZE_PX = (384, 216)
THEMES = Path(__file__).resolve().parents[2] / "prompts"
_CFG = 6.0


def themes() -> list[Theme]:
    """All that are shipped, by name of their file."""
    read = [read_theme(file)[0] for file in sorted(THEMES.glob("*.yaml"))]
    return [theme for theme in read if theme is not None]


def painted(theme: Theme, *, prompt: int = 0, seed: int = 0, size_px: tuple[int, int] = SIZE_PX) -> bytes:
    """One keyframe from nothing."""
    return next(dream(theme, prompt=prompt, seed=seed, size_px=size_px))


def dream(
    theme: Theme,
    *,
    denoise: float = 1.0,
    prompt: int = 0,
    seed: int = 0,
    size_px: tuple[int, int] = SIZE_PX,
) -> Iterator[bytes]:
    """Keyframes without end, each started from the one before, as PNG."""
    painter = DreamPainter()
    words, against = painter.text(theme.positive[prompt % len(theme.positive)]), painter.text(theme.negative)
    latent = np.zeros((1, 4, size_px[1] // 8, size_px[0] // 8), np.float32)
    share = 1.0
    while True:
        latent = painter.sample(
            latent, words, against, seed=seed, steps=1, cfg=_CFG, denoise=share, on_step=lambda *_: None
        )
        yield png.encode(next(painter.decode(latent)))
        seed, share = seed + 1, denoise


def as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def of_pixels(pixels: np.ndarray) -> bytes:
    return as_png(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))


def opened(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture)).convert("RGB")


def as_jpeg(picture: bytes, quality: int = 60) -> bytes:
    buffer = io.BytesIO()
    opened(picture).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def cropped(picture: bytes, share: float = 0.02) -> bytes:
    """Without its left and upper edges: harder than a crop around the middle, everything moves."""
    image = opened(picture)
    corner = (round(share * image.width), round(share * image.height))
    return as_png(image.crop((*corner, image.width, image.height)).resize(image.size))


def shifted(picture: bytes, by_px: int = 1) -> bytes:
    return of_pixels(np.roll(np.asarray(opened(picture)), by_px, axis=1))


ALTERATIONS: dict[str, Callable[[bytes], bytes]] = {
    "JPEG q60": as_jpeg,
    "2 % crop": cropped,
    "1 px shift": shifted,
}
