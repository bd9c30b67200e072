"""Many pictures on one sheet, and sheets as small files."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from backend.engine.painting import Pixels

GAP_PX = 4
LABEL_PX = 18
_GROUND = (14, 14, 18)
_INK = (196, 196, 204)
_QUALITIES = (90, 85, 80, 75, 68, 60, 50, 40)


def sheet(pictures: Sequence[Pixels], columns: int, width_px: int, labels: Sequence[str] = ()) -> Image.Image:
    """Pictures in reading order, each ``width_px`` wide, with a line of text below where there are labels."""
    small = [scaled(pixels, width_px) for pixels in pictures]
    high = small[0].height + (LABEL_PX if labels else 0)
    rows = math.ceil(len(small) / columns)
    size = (columns * (width_px + GAP_PX) - GAP_PX, rows * (high + GAP_PX) - GAP_PX)
    whole = Image.new("RGB", size, _GROUND)
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(12)
    for index, picture in enumerate(small):
        x, y = index % columns * (width_px + GAP_PX), index // columns * (high + GAP_PX)
        whole.paste(picture, (x, y))
        if labels:
            draw.text((x + 3, y + picture.height + 2), labels[index], _INK, font)
    return whole


def scaled(pixels: Pixels, width_px: int) -> Image.Image:
    """A picture in another width, in proportion."""
    image = Image.fromarray(pixels)
    return image.resize((width_px, round(image.height * width_px / image.width)), Image.Resampling.LANCZOS)


def save_jpeg(image: Image.Image, path: Path, most_bytes: int) -> int:
    """Bytes written: the best quality that fits."""

    def encode(quality: int) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
        return buffer.getvalue()

    return _save_fitting(encode, path, most_bytes)


def save_webp(frames: Sequence[Image.Image], path: Path, fps: int, most_bytes: int) -> int:
    """Bytes written: an endless animation in the best quality that fits."""

    def encode(quality: int) -> bytes:
        buffer = io.BytesIO()
        options = {"duration": 1000 // fps, "loop": 0, "quality": quality, "method": 4}
        frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], **options)
        return buffer.getvalue()

    return _save_fitting(encode, path, most_bytes)


def _save_fitting(encode: Callable[[int], bytes], path: Path, most_bytes: int) -> int:
    for quality in _QUALITIES:
        data = encode(quality)
        if len(data) <= most_bytes:
            path.write_bytes(data)
            return len(data)
    raise ValueError(f"{path.name} does not fit {most_bytes} bytes")
