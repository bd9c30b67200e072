"""Small moving pictures to make films of."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
from PIL import Image

SIZE = (64, 48)


def moving(place: float, size: tuple[int, int] = SIZE) -> Image.Image:
    """A coloured wave; what lies near each other in ``place`` looks alike."""
    x = np.linspace(0, 2 * np.pi, size[0])[None, :]
    y = np.linspace(0, np.pi, size[1])[:, None]
    waves = [127 + 110 * np.sin(x + y * turn + place / 5 + turn) for turn in (0.5, 1.1, 1.9)]
    return Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))


def encoded(picture: Image.Image, format: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture.save(file, format)
    return file.getvalue()


def decoded(film: Path) -> list[Image.Image]:
    """Every frame of a film, whichever kind it is of."""
    if film.is_dir():
        return [Image.open(path).convert("RGB") for path in sorted(film.glob("*.png"))]
    if film.suffix == ".webp":
        with Image.open(film) as image:
            made = []
            for number in range(image.n_frames):
                image.seek(number)
                made.append(image.convert("RGB"))
            return made
    with av.open(str(film)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures, 0 to 255."""
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())
