"""What whoever judges pictures must be able to do, and the numbers that travel with a judgement.

A matcher turns encoded pictures into unit vectors: the nearer two vectors, the more alike the pictures look
to it. Vectors of two matchers have nothing to do with each other, so each carries the identity of its maker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Identity:
    """Who made an embedding; only embeddings of equal identity are compared.

    Attributes:
        name: The matcher, e.g. ``perceptual``.
        version: Changes whenever the same picture would give another vector.
        dimension: Numbers in a vector.
    """

    name: str
    version: str
    dimension: int

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.dimension} numbers)"


@dataclass(frozen=True)
class Thresholds:
    """Cosine similarities of a matcher's embeddings.

    Attributes:
        duplicate: From here on they are the same picture, perhaps compressed again, cropped or shifted.
        near: From here on they are alike: one dream a moment later. Below, they are different pictures.
    """

    duplicate: float
    near: float


@dataclass(frozen=True)
class Judgement:
    """All that is known of one picture.

    Attributes:
        embedding: ``[D]``, unit length.
        identity: Whose embedding it is.
        score: Beauty, 0 to 1.
        shows_prompt: How well it shows the words asked for (cosine); None where the matcher knows no words.
        near: See `Thresholds`; 1 where the matcher did not tell.
    """

    embedding: Vectors
    identity: Identity
    score: float
    shows_prompt: float | None
    near: float = 1.0


class Matcher(Protocol):
    """A way to judge pictures. Called by one thread at a time."""

    @property
    def identity(self) -> Identity: ...

    @property
    def thresholds(self) -> Thresholds: ...

    def embed(self, pictures: Sequence[bytes]) -> Vectors:
        """Encoded pictures -> ``[N, D]``, rows of unit length.

        Raises:
            PictureRejected: One of them cannot be decoded.
        """

    def scores(self, embeddings: Vectors, pictures: Sequence[bytes]) -> Vectors:
        """Beauty of each, ``[N]``, 0 to 1; ``embeddings`` are those of ``pictures``."""

    def embed_texts(self, texts: Sequence[str]) -> Vectors | None:
        """Words -> ``[N, D]``, comparable with pictures; None where the matcher knows no words."""
