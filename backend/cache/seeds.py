"""A person's own pictures as seeds: upright, cropped to cover a size, never stretched."""

from __future__ import annotations

import io
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from backend.cache.matching import Identity
from backend.cache.memory_row import Added, NewMemory, Origin, Refusal, Refused
from backend.cache.thumbnail import undecodable
from backend.errors import PictureRejected, StorageError
from backend.utils.file_ops import read_at_most
from backend.utils.picture_check import inspect_picture
from backend.utils.picture_colours import eight_bits_of, rgb_of

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

    def pin(self, memory_id: str, pinned: bool) -> bool: ...


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


class SeedsImport:
    """The pictures of a folder on their way into a memory, one a turn, in the order of their names.

    Args:
        memory: Where they go.
        folder: What stands directly in it is looked at, as far as its name ends like a picture's.
        size_px: Width and height that each is cropped to.
        judge: Embeds and scores them; None: they are embedded later.
        pinned: They are never evicted, and never too similar.

    Raises:
        StorageError: The folder cannot be read.
    """

    def __init__(
        self, memory: Rememberer, folder: Path, size_px: tuple[int, int], judge: Judge | None, *, pinned: bool
    ) -> None:
        self._memory = memory
        self._size_px = size_px
        self._judge = judge
        self._pinned = pinned
        self._waiting = deque(_pictures_in(folder))
        self._added: list[str] = []
        self._refused: list[tuple[str, str]] = []

    @property
    def report(self) -> SeedsReport:
        """What became of them so far."""
        return SeedsReport(tuple(self._added), len(self._refused), tuple(self._refused[:_MOST_TOLD]))

    def turn(self) -> bool:
        """Add the next; what is no picture is told. False if there is none left.

        Raises:
            StorageError: The memory cannot be written; the picture comes again with the next turn.
            MatcherUnfit: The judge was just replaced; as above.
        """
        if not self._waiting:
            return False
        path = self._waiting[0]
        try:
            self._add(path)
        except PictureRejected as error:
            self._refuse(path, str(error))
        self._waiting.popleft()
        if not self._waiting:
            log.info("%d pictures of your own are new, %d are not", len(self._added), len(self._refused))
        return True

    def _add(self, path: Path) -> None:
        picture = covering(_bytes_of(path), self._size_px)
        inspect_picture(picture, max_pixels=MAX_SEED_PIXELS)  # what no display would show is no seed
        outcome = self._memory.add(_seed(self._memory.identity, picture, self._judge, pinned=self._pinned))
        if isinstance(outcome, Added):
            self._added.append(outcome.id)
        elif outcome.reason is Refusal.KNOWN and outcome.nearest_id is not None:
            if self._pinned:
                self._memory.pin(outcome.nearest_id, True)
            self._refused.append((path.name, outcome.reason.value))
        else:
            self._refuse(path, f"{outcome.reason}{': ' if outcome.detail else ''}{outcome.detail}")

    def _refuse(self, path: Path, reason: str) -> None:
        if len(self._refused) < _MOST_TOLD:
            log.info("%r was not taken as a seed: %s", path.name, reason)
        self._refused.append((path.name, reason))


def import_seeds(
    memory: Rememberer, folder: Path, size_px: tuple[int, int], judge: Judge | None, *, pinned: bool
) -> SeedsReport:
    """Adds each picture of a folder; see :class:`SeedsImport`.

    Raises:
        StorageError: The folder cannot be read, or the memory not be written.
        MatcherUnfit: The judge was just replaced.
    """
    seeds = SeedsImport(memory, folder, size_px, judge, pinned=pinned)
    while seeds.turn():
        pass
    return seeds.report


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
            upright = eight_bits_of(ImageOps.exif_transpose(image))
            if upright.has_transparency_data:
                upright = Image.alpha_composite(
                    Image.new("RGBA", upright.size, "black"), upright.convert("RGBA")
                )
            covered = ImageOps.fit(rgb_of(upright), size_px, Image.Resampling.LANCZOS)
    except PictureRejected:
        raise
    except Exception as error:  # decoders raise whatever they like at broken bytes
        raise undecodable(data, error) from error
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
