"""Who gets into the memory, at its own door: different pictures, the same again, and nearly the same."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from PIL import Image

from backend.cache.manager import CacheManager
from backend.cache.memory_row import Added, NewMemory
from backend.cache.perceptual_matcher import PerceptualMatcher
from backend.cache.policy import MemoryLimits, Policy
from backend.cache.vector_index import open_index
from benchmarks.matching import distinct
from tests.cache.painted import ALTERATIONS

Row = tuple[str, str, str]

PICTURES = 1_000
_EXACT_LIMIT = 100_000
_GUARD_S = 60.0


@dataclass(frozen=True)
class Admitted:
    """Shares that were let in.

    Attributes:
        different: Of pictures that are none of the others, while there is room.
        same_bytes: Of the very same files again.
        same_pixels: Of the same pictures in other files, whose bytes do not tell it.
        nearly: Of those altered in each way.
    """

    different: float
    same_bytes: float
    same_pixels: float
    nearly: dict[str, float]


def admitted(pictures: int, altered: int) -> Admitted:
    """Bring so many different pictures, all of them again, and some of them altered."""
    brought = list(islice(distinct(), pictures))
    some = brought[:: max(1, pictures // altered)]
    matcher = PerceptualMatcher()
    with (
        tempfile.TemporaryDirectory(prefix="dreamloop-bench-") as name,
        CacheManager.open(
            Path(name),
            identity=matcher.identity,
            limits=MemoryLimits(10 * pictures, 10**10),
            policy=Policy(admit_below=matcher.thresholds.duplicate),
            index=partial(open_index, exact_limit=_EXACT_LIMIT),
            durable=False,
        ) as memory,
    ):
        memory.wait_ready(_GUARD_S)
        let_in = partial(_let_in, memory, matcher)
        return Admitted(
            different=let_in(brought),
            same_bytes=let_in(brought),
            same_pixels=let_in([_packed_again(one) for one in brought]),
            nearly={way: let_in([alter(one) for one in some]) for way, alter in ALTERATIONS.items()},
        )


def _let_in(memory: CacheManager, matcher: PerceptualMatcher, pictures: Sequence[bytes]) -> float:
    added = 0
    for picture in pictures:
        embedding = matcher.embed([picture])
        score = float(matcher.scores(embedding, [picture])[0])
        new = NewMemory(picture, None, embedding[0], matcher.identity, score)
        added += isinstance(memory.add(new), Added)
    return added / len(pictures)


def _packed_again(picture: bytes) -> bytes:
    """The same pixels, in a file of another length."""
    file = io.BytesIO()
    Image.open(io.BytesIO(picture)).save(file, "PNG", compress_level=9, pnginfo=None)
    return file.getvalue()


def rows(quick: bool) -> list[Row]:
    """The rows of ``make bench``."""
    pictures = 60 if quick else PICTURES
    found = admitted(pictures, 20 if quick else 200)
    share = "{:.1%}".format
    return [
        (f"{pictures:,} different pictures, admitted", share(found.different), "at least 95 %"),
        ("    the same files again", share(found.same_bytes), "0 %"),
        ("    the same pixels in other files", share(found.same_pixels), "0 %"),
        *((f"    {way}", share(value), "under 5 %") for way, value in found.nearly.items()),
    ]
