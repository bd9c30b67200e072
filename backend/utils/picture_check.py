"""Is this a picture fit to be shown? Decodes it fully and refuses what is broken, black or flat.

A VAE that overflowed in half precision paints black (NaN cast to 0) or one colour. A dark picture is not
that: even a night has noise, gradients, many nearly black colours. So the judgement is by variety, never
by brightness alone.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.errors import PictureRejected
from backend.utils.picture_colours import rgb_of
from backend.utils.picture_formats import FORMATS, Encoding, pixels_of
from backend.utils.png_writer import png_of

# Statistics look at this many pixels at most, evenly spread: enough to tell 97 % from 99 %, and quick.
_SAMPLE_PX = 10_000
_BLACK_LEVEL = 6  # of 255: what a screen shows as black
_MIN_STD_DEV = 0.8  # of 255: below, there is only rounding and compression noise
_MIN_COLOURS = 8
_MAX_SHARE = 0.97  # of the pixels in one exact colour
_MIN_ENTROPY_BITS = 0.35  # of the brightness; 99 % of one value and 1 % of everything has 0.15


@dataclass(frozen=True)
class PictureFacts:
    """What is known of a picture that passed: its size in pixels, and its format, a key of FORMATS."""

    width: int
    height: int
    format: str


def inspect_picture(data: bytes, *, max_pixels: int) -> PictureFacts:
    """Looks at a picture as hard as a display would.

    Args:
        data: A picture encoded in one of FORMATS.
        max_pixels: More are refused before anything is decoded.

    Raises:
        PictureRejected: With the reason "broken", "black" or "flat".
    """
    return look_at(data, max_pixels=max_pixels)[0]


def look_at(data: bytes, *, max_pixels: int) -> tuple[PictureFacts, Image.Image]:
    """As inspect_picture(), and gives what was decoded to whoever wants to look on."""
    image = _decode(data, max_pixels)
    _judge(_sample(image))
    return PictureFacts(image.width, image.height, _format(image)), image


def to_png(data: bytes) -> bytes:
    """The same picture as a PNG, quickly rather than smally packed.

    Raises:
        PictureRejected: With the reason "broken".
    """
    image = _decode(data, max_pixels=Image.MAX_IMAGE_PIXELS or 2**27)
    return png_of(np.asarray(rgb_of(image)))


def encoded_for(encoding: Encoding, data: bytes, facts: PictureFacts) -> tuple[bytes, PictureFacts]:
    """A picture that passed, as the display wants it: as it came, where nothing else is asked for."""
    if encoding.format is None or not encoding.changes(facts.format):
        return data, facts
    return encoding.encode(pixels_of(data)), replace(facts, format=encoding.format)


def _decode(data: bytes, max_pixels: int) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=[name.upper() for name in FORMATS])
        pixels = image.width * image.height
        if pixels > max_pixels:
            raise PictureRejected("broken", f"{image.width}x{image.height} is more than {max_pixels} pixels")
        damage = FORMATS[_format(image)].damage(data)
        if damage is not None:
            raise PictureRejected("broken", damage)
        image.load()
    except PictureRejected:
        raise
    except Exception as error:  # decoders raise whatever they like at broken bytes
        raise PictureRejected("broken", f"{len(data)} bytes: {error or type(error).__name__}") from error
    return image


def _format(image: Image.Image) -> str:
    return (image.format or "").lower()


def _sample(image: Image.Image) -> NDArray[np.uint8]:
    """Some of its pixels, exact and evenly spread: ``[n, 3]`` RGB."""
    shrink = max(1.0, (image.width * image.height / _SAMPLE_PX) ** 0.5)
    size = (max(1, round(image.width / shrink)), max(1, round(image.height / shrink)))
    small = image.resize(size, Image.Resampling.NEAREST) if shrink > 1.0 else image
    return np.asarray(rgb_of(small)).reshape(-1, 3)


def _judge(pixels: NDArray[np.uint8]) -> None:
    brightest = int(pixels.max())
    if brightest <= _BLACK_LEVEL:
        raise PictureRejected("black", f"its brightest of {len(pixels)} sampled pixels is {brightest} of 255")
    colours, counts = np.unique(_packed(pixels), return_counts=True)
    commonest = int(colours[counts.argmax()])
    share = float(counts.max()) / len(pixels)
    if share > _MAX_SHARE:
        raise PictureRejected(_hue_of(commonest), f"{share:.1%} of it is the one colour #{commonest:06x}")
    if len(colours) < _MIN_COLOURS:
        raise PictureRejected("flat", f"it has only {len(colours)} colours")
    shares = _shares(pixels)
    std_dev = _std_dev(shares)
    if std_dev < _MIN_STD_DEV:
        raise PictureRejected("flat", f"its colours differ by only {std_dev:.2f} of 255")
    entropy = _entropy_bits(shares)
    if entropy < _MIN_ENTROPY_BITS:
        raise PictureRejected(_hue_of(commonest), f"it holds only {entropy:.2f} bits of brightness a pixel")


def _packed(pixels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """One number 0xRRGGBB a pixel."""
    packed: NDArray[np.uint32] = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return packed


def _hue_of(colour: int) -> str:
    return "black" if max(colour.to_bytes(3, "big")) <= _BLACK_LEVEL else "flat"


def _shares(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Of each channel, how much of it each of its 256 values is: ``[3, 256]``."""
    counts = [np.bincount(channel, minlength=256) for channel in pixels.T]
    return np.array(counts) / len(pixels)


def _std_dev(shares: NDArray[np.float64]) -> float:
    """Of the channel that varies most; from the shares, which is quicker than from the pixels."""
    values = np.arange(256.0)
    means = shares @ values
    variances = shares @ values**2 - means**2
    return float(np.sqrt(max(0.0, variances.max())))


def _entropy_bits(shares: NDArray[np.float64]) -> float:
    """Shannon entropy of the strongest channel, in bits a pixel: a red picture is not empty."""
    bits = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return float(-(shares * bits).sum(axis=1).min())
