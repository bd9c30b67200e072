"""Decoding for a walk by whatever makes pictures of latents, without a pop where they meet the keyframes."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from backend.errors import JobFailed
from backend.interpolation.decoder import Anchor, LatentBatch
from backend.interpolation.latent_size import shrunk, shrunk_cells
from backend.interpolation.picture_futures import UNFIT, PicturesInTheMaking
from backend.utils.futures import after, ready
from backend.utils.picture_formats import Encoding, Pixels, pixels_of, size_of
from backend.utils.prompt_manager import Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from backend.interpolation.seam import Seam

Picture: TypeAlias = "bytes | Pixels"
"""Encoded, or RGB pixels ``[height, width, 3]``."""

# Both ends of the gaps at work.
_SEAMS_KEPT = 4
# Tone that is off by more than half of what the keyframe's own varies is of other latents, or grey.
_LARGEST_MISFIT = 0.5


class PictureSource(Protocol):
    """Makes pictures of latents: the engine, or a VAE on this machine."""

    def submit(self, latents: Tensor, prompt: Prompt) -> Sequence[Future[bytes]] | Sequence[Future[Pixels]]:
        """Begin to decode; each picture comes when it is done, on any thread, in order.

        Raises:
            DecoderUnfit: It cannot decode such latents.
            EngineError: The engine does not take the job.
        """
        ...


def finishing_pool() -> ThreadPoolExecutor:
    """Threads that scale, blend and encode pictures; they mostly run outside Python's lock."""
    threads = max(1, min(4, (os.cpu_count() or 2) - 1))
    return ThreadPoolExecutor(threads, thread_name_prefix="finishing")


class SeamlessDecoder:
    """A `Decoder` on top of a source. Not thread-safe: one walk at a time asks it.

    Args:
        source: Makes the pictures.
        pool: Finishes them.
        encoding: How they are encoded, where they are not left as they came.
        scale: Share of each side at which they are decoded; they are enlarged again.
        judged: Whether the source must show at each keyframe that it knows the latents, else it is unfit.
    """

    def __init__(
        self,
        source: PictureSource,
        pool: Executor,
        encoding: Encoding,
        *,
        scale: float = 1.0,
        judged: bool = False,
    ) -> None:
        self._source = source
        self._pool = pool
        self._encoding = encoding
        self._scale = scale
        self._judged = judged
        self._seams: OrderedDict[tuple[bytes, tuple[int, int]], Future[Seam | None]] = OrderedDict()

    def decode(self, batch: LatentBatch) -> PicturesInTheMaking:
        """See `Decoder.decode`.

        Raises:
            DecoderUnfit: The source cannot decode such latents.
            EngineError: The engine does not take the job.
        """
        end = batch.end or batch.start
        size = None if end is None else size_of(end.picture)
        seams = [self._seam(anchor, batch.prompt, size) for anchor in (batch.start, batch.end)]
        pictures: Sequence[Future[Any]] = self._source.submit(
            shrunk(batch.latents, self._scale), batch.prompt
        )
        enlarged = self._enlargement(batch.latents)
        places = batch.t or (0.0,) * len(batch)
        return PicturesInTheMaking(
            [
                after(self._pool, [picture, *seams], partial(self._finished, t, size, enlarged))
                for picture, t in zip(pictures, places, strict=True)
            ]
        )

    def _seam(
        self, anchor: Anchor | None, prompt: Prompt, size: tuple[int, int] | None
    ) -> Future[Seam | None]:
        """What the keyframe has over its latent decoded as the others are; found out once."""
        if anchor is None or size is None:
            return ready(None)
        latent = anchor.latent.detach().cpu().contiguous()
        key = (hashlib.blake2b(latent.numpy().tobytes(), digest_size=16).digest(), size)
        known = self._seams.get(key)
        if known is None or (known.done() and known.exception() is not None):
            (decoded,) = self._source.submit(shrunk(anchor.latent, self._scale), prompt)
            known = after(self._pool, [decoded], partial(self._compared, anchor.picture, size))
        self._seams[key] = known
        self._seams.move_to_end(key)
        while len(self._seams) > _SEAMS_KEPT:
            self._seams.popitem(last=False)
        return known

    def _compared(self, shown: bytes, size: tuple[int, int], decoded: Picture) -> Seam | None:
        from backend.interpolation.seam import Seam, in_size

        seam = Seam.between(in_size(_as_pixels(shown), size), in_size(_as_pixels(decoded), size))
        if self._judged and seam.misfit > _LARGEST_MISFIT:
            at = why = ""
            if self._scale < 1.0:
                at, why = f" at {self._scale:.0%} of its size", " or of one that cannot paint smaller"
            raise JobFailed(
                UNFIT,
                f"what it makes of a keyframe's latent{at} is not that keyframe: its colours are off by "
                f"{seam.misfit:.1f} times their own range, as of another model{why}",
            )
        return seam

    def _finished(
        self,
        t: float,
        size: tuple[int, int] | None,
        enlarged: tuple[float, float],
        picture: Picture,
        start: Seam | None,
        end: Seam | None,
    ) -> bytes:
        from backend.interpolation.seam import in_size, met

        pixels = _as_pixels(picture)
        if size is None:
            height, width, _ = pixels.shape
            size = (round(width * enlarged[0]), round(height * enlarged[1]))
        return self._encoding.encode(met(in_size(pixels, size), t, start, end))

    def _enlargement(self, latents: Tensor) -> tuple[float, float]:
        """Across and down, by how much pictures of the shrunk latents are to be enlarged."""
        rows, columns = latents.shape[-2:]
        small_rows, small_columns = shrunk_cells(rows, self._scale), shrunk_cells(columns, self._scale)
        return columns / small_columns, rows / small_rows


def _as_pixels(picture: Picture) -> Pixels:
    if not isinstance(picture, bytes):
        return picture
    try:
        return pixels_of(picture)
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow says to broken bytes
        raise JobFailed("no_pictures", f"a picture of {len(picture)} bytes is broken: {error}") from error
