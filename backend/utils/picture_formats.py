"""The picture formats that frames come and go in: one entry each.

numpy and Pillow are imported only when first needed: settings and status read the names here.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from backend.utils.picture_colours import rgb_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Pixels: TypeAlias = "NDArray[np.uint8]"

_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"


@dataclass(frozen=True)
class PictureFormat:
    """All that is to be known of a format.

    Attributes:
        suffix: Of its files.
        media_type: For HTTP.
        encode: RGB pixels ``[height, width, 3]`` and a quality of 1 to 100, to bytes; by any thread.
        damage: What is wrong with the bytes that Pillow would forgive and a display's decoder may not; None
            where nothing is.
    """

    suffix: str
    media_type: str
    encode: Callable[[Pixels, int], bytes]
    damage: Callable[[bytes], str | None] = lambda _: None


def by_pillow(pixels: Pixels, name: str, **options: object) -> bytes:
    """Encode with one of Pillow's writers, which let other threads run meanwhile."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, name, **options)
    return file.getvalue()


def _png(pixels: Pixels, _quality: int) -> bytes:
    from backend.utils.png_writer import png_of

    return png_of(pixels)


def _jpeg(pixels: Pixels, quality: int) -> bytes:
    """Colours in full resolution: at half, the edges of saturated forms bleed."""
    return by_pillow(pixels, "JPEG", quality=quality, subsampling=0)


def _webp(pixels: Pixels, quality: int) -> bytes:
    """By the quickest method: the best one takes four times longer for a tenth fewer bytes."""
    return by_pillow(pixels, "WEBP", quality=quality, method=0)


def _png_damage(data: bytes) -> str | None:
    """Walks the chunks: length, type, body, CRC-32 (https://www.w3.org/TR/png-3/#5Chunk-layout)."""
    if not data.endswith(_PNG_END):
        return "the PNG is cut off, or something follows it"
    view = memoryview(data)
    at = len(_PNG_HEAD)
    while at < len(data):
        end = at + 8 + int.from_bytes(view[at : at + 4], "big")
        if end + 4 > len(data) or zlib.crc32(view[at + 4 : end]) != int.from_bytes(
            view[end : end + 4], "big"
        ):
            return f"a chunk of the PNG is damaged near byte {at}"
        at = end + 4
    return None


def _jpeg_damage(data: bytes) -> str | None:
    return None if data.endswith(_JPEG_END) else "the JPEG is cut off"


def _webp_damage(data: bytes) -> str | None:
    whole = int.from_bytes(data[4:8], "little") + 8 == len(data)
    return None if whole else "the WebP is cut off, or something follows it"


FORMATS: dict[str, PictureFormat] = {
    "png": PictureFormat(".png", "image/png", _png, _png_damage),
    "jpeg": PictureFormat(".jpg", "image/jpeg", _jpeg, _jpeg_damage),
    "webp": PictureFormat(".webp", "image/webp", _webp, _webp_damage),
}
"""By the names that settings and status use, which are Pillow's in lower case."""


@dataclass(frozen=True)
class Encoding:
    """How pictures are to be encoded for the display.

    Attributes:
        format: A key of FORMATS; None leaves pictures as they came, and makes PNGs of new ones.
        quality: 1 to 100, for formats that lose something.
    """

    format: str | None = None
    quality: int = 90

    def encode(self, pixels: Pixels) -> bytes:
        """Encode RGB pixels of shape ``[height, width, 3]``."""
        return FORMATS[self.format or "png"].encode(pixels, self.quality)

    def changes(self, format: str) -> bool:
        """Whether a picture of this format is to be encoded anew."""
        return self.format not in (None, format)


AS_IT_COMES = Encoding()


def pixels_of(data: bytes) -> Pixels:
    """RGB pixels of an encoded picture that is known to be whole, shape ``[height, width, 3]``."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(rgb_of(image))


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of an encoded picture; nothing is decoded."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return image.size


def format_of(data: bytes) -> str:
    """The name of its format, a key of FORMATS if it is one of them."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return (image.format or "").lower()
