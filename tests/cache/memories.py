"""A memory in a folder, and pictures to put into it; what several tests of it share."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.cache.manager import CacheManager
from backend.cache.matching import Identity
from backend.cache.memory_row import Added, NewMemory
from backend.cache.policy import MemoryLimits, Policy
from tests.cache.exact import TinyIndex

TINY = Identity("tiny", "1", 8)
PLENTY = MemoryLimits(max_entries=10_000, max_bytes=10**9)
GUARD_S = 30.0


class Clock:
    """A second later each time it is asked."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def open_memory(folder: Path, *, wait: bool = True, **other: Any) -> CacheManager:
    """A memory that writes no slower than it must: power cuts are not among what tests can do."""
    settings = {"identity": TINY, "limits": PLENTY, "policy": Policy(admit_below=0.95), "index": TinyIndex}
    memory = CacheManager.open(folder, **{**settings, "clock": Clock(), "durable": False, **other})
    if wait and not memory.wait_ready(GUARD_S):
        memory.close()
        raise AssertionError(memory.problem)
    return memory


def picture(number: int, size: tuple[int, int] = (8, 8)) -> bytes:
    """A small PNG, another for each number."""
    noise = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def axis(number: int, dimension: int = 8) -> NDArray[np.float32]:
    """Unit vectors that have nothing in common."""
    vector = np.zeros(dimension, np.float32)
    vector[number] = 1.0
    return vector


def between(first: int, second: int, similarity: float) -> NDArray[np.float32]:
    """A unit vector with this cosine to the first axis, turned towards the second."""
    vector = similarity * axis(first) + (1 - similarity**2) ** 0.5 * axis(second)
    return vector.astype(np.float32)


def new(number: int, vector: NDArray[np.float32] | None = None, **facts: Any) -> NewMemory:
    """A memory of :func:`picture`, by default far from those of the next seven numbers."""
    chosen = axis(number % 8) if vector is None else vector
    return NewMemory(
        **{
            "latent": None,
            "score": 0.5,
            "picture": picture(number),
            "embedding": chosen,
            "identity": TINY,
            **facts,
        }
    )


def added(memory: CacheManager, one: NewMemory) -> str:
    """Adds it, which must succeed. Returns its id."""
    outcome = memory.add(one)
    assert isinstance(outcome, Added), outcome
    return outcome.id


def files_in(folder: Path) -> set[str]:
    """All pictures and latents."""
    return {
        str(path.relative_to(folder))
        for kind in ("pictures", "latents")
        for path in (folder / kind).rglob("*")
        if path.is_file()
    }
