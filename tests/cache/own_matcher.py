"""A matcher as a user might write one: it knows nothing but how bright a picture is."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from backend.cache.matching import Identity, Thresholds, Vectors
from backend.cache.thumbnail import thumbnail


class BrightnessMatcher:
    """By the brightness of the upper and of the lower half."""

    identity = Identity("brightness", "1", 3)
    thresholds = Thresholds(duplicate=0.9999, near=0.999)

    def embed(self, pictures: Sequence[bytes]) -> Vectors:
        light = [thumbnail(picture)[..., 0] for picture in pictures]
        rows = np.array([[one[:48].mean(), one[48:].mean(), 0.1] for one in light], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def scores(self, embeddings: Vectors, pictures: Sequence[bytes]) -> Vectors:
        return np.array([thumbnail(picture)[..., 0].mean() for picture in pictures], np.float32)

    def embed_texts(self, texts: Sequence[str]) -> None:
        return None


class NoMatcher:
    """Something else."""


class Stumbles:
    """Cannot be made."""

    def __init__(self) -> None:
        raise OSError("the moon is in the way")


class Leaves:
    """Ends whoever makes it."""

    def __init__(self) -> None:
        raise SystemExit(3)


class OneThreshold(BrightnessMatcher):
    thresholds = 0.9  # type: ignore[assignment]


class ThresholdOfNoNumber(BrightnessMatcher):
    thresholds = Thresholds(duplicate=float("nan"), near=0.9)


class ThresholdsUpsideDown(BrightnessMatcher):
    thresholds = Thresholds(duplicate=0.5, near=0.9)


class ThresholdsThatRaise(BrightnessMatcher):
    @property
    def thresholds(self) -> Thresholds:  # type: ignore[override]
        return Thresholds(1 / 0, 0.9)


class IdentityOfText(BrightnessMatcher):
    identity = "mine"  # type: ignore[assignment]


class NameOfNothing(BrightnessMatcher):
    identity = Identity("", "1", 3)


class VersionOfNumber(BrightnessMatcher):
    identity = Identity("brightness", 1, 3)  # type: ignore[arg-type]


class HalfADimension(BrightnessMatcher):
    identity = Identity("brightness", "1", 2.5)  # type: ignore[arg-type]


class CountedByNumpy(BrightnessMatcher):
    identity = Identity("brightness", "1", np.int64(3))  # type: ignore[arg-type]


class NothingToCall(BrightnessMatcher):
    scores = None  # type: ignore[assignment]


class Wavers(BrightnessMatcher):
    """Says something else each time it is asked."""

    def __init__(self) -> None:
        self._asked = 0

    @property
    def thresholds(self) -> Thresholds:  # type: ignore[override]
        self._asked += 1
        if self._asked > 2:  # it was looked for, then read
            raise RuntimeError("asked too often")
        return BrightnessMatcher.thresholds


class Waits(BrightnessMatcher):
    """Takes its time to be made."""

    gate = threading.Event()

    def __init__(self) -> None:
        self.gate.wait(60.0)


class AllAlike(BrightnessMatcher):
    """To which all pictures are nearly the same."""

    identity = Identity("alike", "1", 3)

    def embed(self, pictures: Sequence[bytes]) -> Vectors:
        rows = super().embed(pictures) * 1e-4 + np.array([0.0, 0.0, 1.0], np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


class FailsAtWork(BrightnessMatcher):
    def embed(self, pictures: Sequence[bytes]) -> Vectors:
        raise RuntimeError("out of memory")
