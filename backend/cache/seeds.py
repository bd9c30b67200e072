"""A person's own pictures as seeds: upright, cropped to cover a size, never stretched."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from backend.cache.matching import Identity
from backend.cache.memory_row import Added, NewMemory, Origin, Refused
from backend.errors import PictureRejected, StorageError
from backend.utils.file_ops import read_at_most

log = logging.getLogger(__name__)

MAX_SEED_BYTES = 128 * 2**20
MAX_SEED_PIXELS = 120_000_000
"""More than any camera makes; decoded, it is 360 MB for a moment."""
MAX_SEEDS = 10_000
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"})
_MOST_TOLD = 200

Judge = Callable[[Sequence[bytes]], tuple[NDArray[np.float32], NDArray[np.float32]]]


class Rememberer(Protocol):
    """Where seeds go."""

    @property
    def identity(self) -> Identity: ...

    def add(self, new: NewMemory) -> Added | Refused: ...


@dataclass(frozen=True)
class SeedsReport:
    """What became of a folder of pictures.

    Attributes:
        added: Ids of the new memories.
        refused: How many were not taken.
        reasons: File name and why, of the first of them.
    """

    added: tuple[str, ...]
    refused: int
    reasons: tuple[tuple[str, str], ...]


def import_seeds(
    memory: Rememberer, folder: Path, size_px: tuple[int, int], judge: Judge | None, *, pinned: bool
) -> SeedsReport:
    """Adds each picture of a folder, in the order of names; those that are none are told, others go on.

    Args:
        memory: Where they go.
        folder: What stands directly in it is looked at, as far as its name ends like a picture's.
        size_px: Width and height that each is cropped to.
        judge: Embeds and scores them; None: they are embedded later.
        pinned: They are never evicted, and never too similar.

    Raises:
        StorageError: The folder cannot be read, or the memory not be written.
    """
    added: list[str] = []
    refused: list[tuple[str, str]] = []
    for path in _pictures_in(folder):
        try:
            outcome = memory.add(
                _seed(memory.identity, covering(_bytes_of(path), size_px), judge, pinned=pinned)
            )
        except PictureRejected as error:
            refused.append((path.name, str(error)))
            continue
        if isinstance(outcome, Added):
            added.append(outcome.id)
        else:
            refused.append((path.name, f"{outcome.reason}{': ' if outcome.detail else ''}{outcome.detail}"))
    for name, reason in refused[:_MOST_TOLD]:
        log.warning("%s was not taken as a seed: %s", name, reason)
    return SeedsReport(tuple(added), len(refused), tuple(refused[:_MOST_TOLD]))


def covering(data: bytes, size_px: tuple[int, int]) -> bytes:
    """A picture as a PNG of a size, from its middle, as much of it as fits that aspect; upright, by its EXIF.

    Raises:
        PictureRejected: It is no picture, broken, or would take too much memory.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MAX_SEED_PIXELS:
                raise PictureRejected(
                    "bomb", f"{image.width}x{image.height} is more than {MAX_SEED_PIXELS:,} pixels"
                )
            upright = ImageOps.exif_transpose(image)
            if upright.has_transparency_data:
                upright = Image.alpha_composite(
                    Image.new("RGBA", upright.size, "black"), upright.convert("RGBA")
                )
            covered = ImageOps.fit(upright.convert("RGB"), size_px, Image.Resampling.LANCZOS)
    except PictureRejected:
        raise
    except Exception as error:  # decoders raise whatever they like at broken bytes
        raise PictureRejected("broken", f"{len(data)} bytes: {error or type(error).__name__}") from error
    file = io.BytesIO()
    covered.save(file, "PNG", compress_level=6)
    return file.getvalue()


def _seed(identity: Identity, picture: bytes, judge: Judge | None, *, pinned: bool) -> NewMemory:
    vector, score, whose = None, 0.5, None
    if judge is not None:
        vectors, scores = judge([picture])
        vector, score, whose = vectors[0], float(scores[0]), identity
    return NewMemory(
        picture=picture,
        latent=None,
        embedding=vector,
        identity=whose,
        score=score,
        origin=Origin.SEED,
        pinned=pinned,
    )


def _bytes_of(path: Path) -> bytes:
    try:
        data = read_at_most(path, MAX_SEED_BYTES)
    except OSError as error:
        raise PictureRejected("broken", f"it cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_SEED_BYTES:
        raise PictureRejected("bomb", f"it has more than {MAX_SEED_BYTES:,} bytes")
    return data


def _pictures_in(folder: Path) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208
    except OSError as error:
        raise StorageError(folder, error) from error
    pictures = [name for name in names if Path(name).suffix.lower() in _SUFFIXES and not name.startswith(".")]
    if len(pictures) > MAX_SEEDS:
        log.warning("%s holds %d pictures; the first %d are looked at", folder, len(pictures), MAX_SEEDS)
    for name in pictures[:MAX_SEEDS]:
        yield folder / name
