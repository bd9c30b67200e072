"""What a film is made from: pictures with durations, brought to one size."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageOps

from backend.errors import PictureRejected
from backend.utils.picture_colours import rgb_of

Fit = Literal["cover", "contain"]
Size = tuple[int, int]


@dataclass(frozen=True)
class Still:
    """A picture of the dream, RGB, and how many seconds it lasts until the next one."""

    picture: Image.Image
    duration_s: float


def opened(data: bytes, max_pixels: int) -> Image.Image:
    """An encoded picture as RGB.

    Raises:
        PictureRejected: It is broken, or larger than ``max_pixels``.
    """
    try:
        with (
            warnings.catch_warnings(),
            Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image,
        ):
            warnings.simplefilter("error")
            if image.width * image.height > max_pixels:
                raise PictureRejected("large", f"{image.width}x{image.height} pixels")
            return rgb_of(image)
    except (OSError, SyntaxError, ValueError, Warning, Image.DecompressionBombError) as error:
        raise PictureRejected("broken", str(error)) from error


def fitted(picture: Image.Image, size: Size, fit: Fit) -> Image.Image:
    """A picture in another size and in its own proportions.

    Args:
        picture: RGB.
        size: Width and height in pixels.
        fit: ``cover`` fills the size and cuts off what stands over; ``contain`` shows all, with black bars.
    """
    if picture.size == size:
        return picture
    if fit == "cover":
        return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    return ImageOps.pad(picture, size, Image.Resampling.LANCZOS, color=(0, 0, 0))


def all_fitted(stills: Iterable[Still], size: Size, fit: Fit) -> Iterator[Still]:
    """Each in the same size."""
    for still in stills:
        yield Still(fitted(still.picture, size, fit), still.duration_s)
