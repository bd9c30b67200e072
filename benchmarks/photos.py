"""Pictures as a camera would bring them home, made of numbers: nothing the painter ever painted."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from backend.engine.painting import Pixels

Light = NDArray[np.float32]
"""float32 ``[height, width, 3]``, 0 to 255."""


def photos(width: int, height: int) -> dict[str, Pixels]:
    """Five photo-like pictures by name, with lens blur and grain."""
    return {name: _developed(make(width, height), seed) for seed, (name, make) in enumerate(_MOTIFS.items())}


def _developed(image: Image.Image, seed: int) -> Pixels:
    lit = np.asarray(image.convert("RGB"), np.float32)
    grain = np.random.default_rng(seed).normal(0.0, 3.0, lit.shape[:2])[..., None]
    return np.clip(lit + grain, 0, 255).astype(np.uint8)


def _gradient(width: int, height: int, stops: list[tuple[float, tuple[int, int, int]]]) -> Image.Image:
    down = np.linspace(0.0, 1.0, height)
    at, colours = [stop for stop, _ in stops], np.array([colour for _, colour in stops], np.float32)
    column = np.stack([np.interp(down, at, colours[:, i]) for i in range(3)], axis=1)
    return Image.fromarray(np.repeat(column[:, None], width, axis=1).astype(np.uint8))


def _rough(width: int, seed: int, octaves: int = 6) -> Light:
    """A line like a ridge, about -1 to 1."""
    rng = np.random.default_rng(seed)
    at = np.linspace(0.0, 1.0, width)
    total = np.zeros(width)
    for octave in range(octaves):
        waves = 2**octave
        total += np.interp(at, np.linspace(0, 1, 3 * waves), rng.uniform(-1, 1, 3 * waves)) / waves
    return (total / 1.6).astype(np.float32)


def _ridge(image: Image.Image, base: float, height: float, colour: tuple[int, int, int], seed: int) -> None:
    line = (base - height * _rough(image.width, seed)) * image.height
    points = [(0, image.height), *enumerate(map(float, line)), (image.width, image.height)]
    ImageDraw.Draw(image).polygon(points, fill=colour)


def _glow(image: Image.Image, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> Image.Image:
    """Light added around a point; lengths in picture heights, x from the left edge."""
    down, across = np.mgrid[0 : image.height, 0 : image.width] / image.height
    spot = np.exp(-((across - x) ** 2 + (down - y) ** 2) / radius**2)[..., None]
    lit = np.asarray(image, np.float32) + spot * np.array(colour, np.float32)
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def _sunset(width: int, height: int) -> Image.Image:
    stops = [(0.0, (38, 52, 96)), (0.35, (176, 98, 96)), (0.52, (250, 176, 96)), (0.53, (150, 96, 84))]
    image = _gradient(width, height, [*stops, (1.0, (20, 26, 46))])
    image = _glow(image, 1.15, 0.46, 0.09, (255, 230, 180))
    image = _glow(image, 1.15, 0.5, 0.35, (70, 40, 10))
    draw, rng = ImageDraw.Draw(image), np.random.default_rng(3)
    for _ in range(260):
        y = 0.54 + 0.46 * rng.random() ** 1.6
        x = 1.15 + (0.05 + 0.5 * (y - 0.53)) * rng.normal()
        long = (0.01 + 0.05 * (y - 0.5)) * height
        draw.line((x * height - long, y * height, x * height + long, y * height), fill=(240, 170, 110))
    hill = [(0, 0.4 * height), (0.12 * width, 0.44 * height), (0.3 * width, 0.535 * height)]
    draw.polygon([*hill, (0, 0.56 * height)], fill=(30, 26, 40))
    return image.filter(ImageFilter.GaussianBlur(1.0))


def _mountains(width: int, height: int) -> Image.Image:
    image = _gradient(width, height, [(0.0, (92, 142, 204)), (0.6, (206, 222, 234)), (1.0, (220, 226, 226))])
    for index, base in enumerate((0.45, 0.58, 0.72, 0.86)):
        near = index / 3
        red, green, blue = (round((1 - near) * far + near * close) for far, close in _HAZE)
        _ridge(image, base, 0.16 - 0.03 * index, (red, green, blue), 11 + index)
        image = image.filter(ImageFilter.GaussianBlur(0.8))
    return image


_HAZE = ((150, 34), (172, 62), (196, 36))


def _portrait(width: int, height: int) -> Image.Image:
    image = _gradient(width, height, [(0.0, (88, 104, 92)), (1.0, (54, 66, 62))])
    image = _glow(image, 0.35, 0.3, 0.4, (70, 70, 40))
    draw, middle = ImageDraw.Draw(image), width / 2

    def oval(x: float, y: float, wide: float, high: float, colour: tuple[int, int, int]) -> None:
        x, y, wide, high = middle + x * height, y * height, wide * height, high * height
        draw.ellipse((x - wide, y - high, x + wide, y + high), fill=colour)

    oval(0, 1.12, 0.46, 0.36, (122, 44, 48))
    oval(0, 0.40, 0.24, 0.31, (46, 30, 24))
    oval(0, 0.72, 0.09, 0.16, (190, 140, 114))
    oval(0, 0.45, 0.175, 0.235, (218, 168, 138))
    oval(0.06, 0.47, 0.11, 0.2, (200, 146, 118))
    oval(0, 0.25, 0.19, 0.09, (52, 34, 26))
    for side in (-0.07, 0.07):
        oval(side, 0.42, 0.028, 0.013, (240, 232, 224))
        oval(side, 0.42, 0.012, 0.012, (52, 40, 32))
    oval(0, 0.575, 0.05, 0.016, (168, 78, 76))
    return image.filter(ImageFilter.GaussianBlur(height / 140))


def _city(width: int, height: int) -> Image.Image:
    image = _gradient(width, height, [(0.0, (12, 18, 44)), (0.7, (44, 44, 82)), (1.0, (18, 18, 28))])
    draw, rng = ImageDraw.Draw(image), np.random.default_rng(8)
    left = 0.0
    while left < width:
        wide, top = rng.uniform(0.05, 0.16) * height, rng.uniform(0.15, 0.6) * height
        draw.rectangle((left, top, left + wide, 0.86 * height), fill=(14, 16, 26))
        for y in np.arange(top + 6, 0.82 * height, 11):
            for x in np.arange(left + 4, left + wide - 6, 9):
                if rng.random() < 0.4:
                    draw.rectangle((x, y, x + 4, y + 6), fill=(236, 190 + int(40 * rng.random()), 120))
        left += wide + 2
    for _ in range(14):
        x, tone = rng.uniform(0, width / height), (255, 140, 60) if rng.random() < 0.6 else (90, 180, 255)
        image = _glow(image, x, 0.9 + 0.06 * rng.random(), 0.03, tone)
    return image.filter(ImageFilter.GaussianBlur(0.7))


def _flower(width: int, height: int) -> Image.Image:
    image = _gradient(width, height, [(0.0, (62, 104, 52)), (1.0, (28, 56, 34))])
    rng = np.random.default_rng(4)
    for _ in range(9):
        image = _glow(
            image, rng.uniform(0, width / height), rng.random(), rng.uniform(0.08, 0.2), (50, 70, 20)
        )
    for ring, colour in enumerate(((196, 52, 104), (226, 92, 138), (244, 150, 176))):
        long = (0.42 - 0.11 * ring) * height
        petal = Image.new("RGBA", image.size)
        draw = ImageDraw.Draw(petal)
        for leaf in range(9):
            angle = math.tau * (leaf + 0.5 * ring) / 9
            x, y = width / 2 + 0.6 * long * math.cos(angle), height / 2 + 0.6 * long * math.sin(angle)
            shade = tuple(round(c * (0.82 + 0.18 * math.sin(angle - 2.0))) for c in colour)
            draw.ellipse((x - 0.36 * long, y - 0.36 * long, x + 0.36 * long, y + 0.36 * long), fill=shade)
        petal = petal.filter(ImageFilter.GaussianBlur(2.0))
        image.paste(petal, (0, 0), petal)
    return _glow(image, width / height / 2, 0.5, 0.07, (120, 150, 10))


_MOTIFS: dict[str, Callable[[int, int], Image.Image]] = {
    "sunset": _sunset,
    "mountains": _mountains,
    "portrait": _portrait,
    "city": _city,
    "flower": _flower,
}
