"""A walk through the memory while the engine is away: each picture fades into one that is near it."""

from __future__ import annotations

import io
import logging
import random
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from PIL import Image, ImageOps

from backend.cache.matching import Vectors
from backend.cache.memory_row import Memory
from backend.core.crossfade import crossfade
from backend.core.frame_buffer import Frame, FrameKind
from backend.errors import DreamloopError
from backend.utils.picture_check import PictureFacts, encoded_for, inspect_picture
from backend.utils.picture_formats import AS_IT_COMES, Encoding, format_of

log = logging.getLogger(__name__)

# Fewer would be seen to come round again at once; kept frames are the better pastime then.
_LEAST = 3
_NEIGHBOURS = 32
# Of so many nearest that were not on display lately, one by chance: the very nearest would lead in circles.
_CHOICE = 4
_LONGEST_PAST = 2000
_TRIES = 8
# A step of a fade costs some tens of milliseconds. Pages blend from each to the next, so it is smooth there.
_SPARING_FRAME_S = 4.0
_SPARING_STEPS = 6


class Album(Protocol):
    """The memory, as far as a walk needs it."""

    def __len__(self) -> int: ...

    def get(self, memory_id: str) -> Memory | None: ...

    def picture(self, memory_id: str) -> bytes: ...

    def nearest_to(self, memory_id: str, k: int) -> list[tuple[str, float]]: ...

    def some(self, count: int, rng: random.Random) -> list[str]: ...


class MemoryShelf(Protocol):
    """The CacheManager, as far as an album is made of it."""

    @property
    def size(self) -> int: ...

    def get(self, memory_id: str) -> Memory | None: ...

    def picture(self, memory_id: str) -> bytes: ...

    def vector(self, memory_id: str) -> Vectors | None: ...

    def nearest(self, vector: Vectors, k: int) -> list[tuple[str, float]]: ...

    def iterate(self, offset: int = 0, limit: int = 100) -> list[Memory]: ...


class MemoryAlbum:
    """A memory as an album to walk through."""

    def __init__(self, memory: MemoryShelf) -> None:
        self._memory = memory

    def __len__(self) -> int:
        return self._memory.size

    def get(self, memory_id: str) -> Memory | None:
        """All that is known of it."""
        return self._memory.get(memory_id)

    def picture(self, memory_id: str) -> bytes:
        """Its picture; raises DreamloopError."""
        return self._memory.picture(memory_id)

    def nearest_to(self, memory_id: str, k: int) -> list[tuple[str, float]]:
        """The memories most like it; none where it has no embedding to compare."""
        vector = self._memory.vector(memory_id)
        return [] if vector is None else self._memory.nearest(vector, k)

    def some(self, count: int, rng: random.Random) -> list[str]:
        """Any of them: a page that begins anywhere."""
        size = len(self)
        begin = rng.randrange(max(1, size - count + 1))
        found = [memory.id for memory in self._memory.iterate(begin, count)]
        rng.shuffle(found)
        return found


class Remembering:
    """Frames without end from the pictures of a memory.

    Args:
        album: The memory.
        frame_s: Seconds that each frame is shown.
        fade_s: Seconds from one picture to the next.
        max_pixels: Larger pictures are refused.
        rng: Chooses the way.
        encoding: Of the frames.

    Attributes:
        sparing: Whether the machine is somebody else's now: then pictures fade slowly, in few steps.
    """

    def __init__(
        self,
        album: Album,
        *,
        frame_s: float,
        fade_s: float,
        max_pixels: int,
        rng: random.Random,
        encoding: Encoding = AS_IT_COMES,
    ) -> None:
        self._album = album
        self._max_pixels = max_pixels
        self._rng = rng
        self._encoding = encoding
        self._past: deque[str] = deque(maxlen=_LONGEST_PAST)
        self.sparing = False
        self.retime(frame_s, fade_s)

    def retime(self, frame_s: float, fade_s: float) -> None:
        """Go by these from the next picture on; arguments as at the beginning."""
        self._frame_s, self._steps = frame_s, max(1, round(fade_s / frame_s))

    def frames(self, start: bytes) -> Iterator[Frame]:
        """From the picture on display on and on; ends where the memory has too little to walk through."""
        older = start
        while len(self._album) >= _LEAST:
            found = self._next(older)
            if found is None:
                return
            memory, newer, facts = found
            steps, frame_s = self._fade
            for data in crossfade(older, newer, steps - 1, self._encoding):
                # Not judged: both were found good, and to decode it once more costs as much as to make it.
                between = PictureFacts(facts.width, facts.height, format_of(data))
                yield Frame(data, between, FrameKind.REPLAY, memory.theme, frame_s)
            yield Frame(newer, facts, FrameKind.REPLAY, memory.theme, frame_s)
            older = newer

    @property
    def _fade(self) -> tuple[int, float]:
        """From one picture to the next: steps, and the seconds of each."""
        if self.sparing and self._frame_s < _SPARING_FRAME_S:
            return _SPARING_STEPS, _SPARING_FRAME_S
        return self._steps, self._frame_s

    def _next(self, older: bytes) -> tuple[Memory, bytes, PictureFacts] | None:
        """The next memory of the walk that is fit to be shown, in the size of the picture before, and as the
        display wants it; None where there is none.
        """
        for _ in range(_TRIES):
            memory_id = self._choose()
            memory = None if memory_id is None else self._album.get(memory_id)
            if memory is None:
                continue
            self._past.append(memory.id)
            try:
                newer = _fitted(self._album.picture(memory.id), older)
                facts = inspect_picture(newer, max_pixels=self._max_pixels)
                return memory, *encoded_for(self._encoding, newer, facts)
            except (DreamloopError, OSError, ValueError, Image.DecompressionBombError) as error:
                log.warning("memory %s cannot be shown: %s", memory.id[:12], error)
        return None

    def _choose(self) -> str | None:
        """A neighbour of the last one that was not shown for as long as the memory allows."""
        lately = set(list(self._past)[-(len(self._album) // 2) :]) if self._past else set()
        here = self._past[-1] if self._past else None
        near = [] if here is None else self._album.nearest_to(here, _NEIGHBOURS)
        fresh = [name for name, _ in near if name != here and name not in lately][:_CHOICE]
        # Where all neighbours are worn, the walk goes elsewhere.
        fresh = fresh or [name for name in self._album.some(_NEIGHBOURS, self._rng) if name not in lately]
        return self._rng.choice(fresh) if fresh else None


def _fitted(picture: bytes, like: bytes) -> bytes:
    """The picture in the size of another, cropped to cover it; as it is where the size is right."""
    with Image.open(io.BytesIO(like)) as opened:
        size = opened.size
    with Image.open(io.BytesIO(picture)) as opened:
        if opened.size == size and opened.format == "PNG":
            return picture
        fitted = ImageOps.fit(opened.convert("RGB"), size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    fitted.save(file, "PNG", compress_level=1)
    return file.getvalue()
