"""Judges pictures without weights: by their colours, their coarse forms, and where these stand.

An embedding is three views of a thumbnail side by side, each of unit length and weighted, so that the cosine
of two embeddings is the weighted mean of three similarities:

* *colours*: an Oklab histogram, softly binned (a colour between two bins counts for both), as square roots:
  its cosine is the Bhattacharyya coefficient of the two histograms.
* *forms*: the lowest frequencies of the lightness (DCT-II), without the mean, higher ones amplified since
  pictures have less of them, so blind to brightness and contrast.
* *structure*: which colour stands where, on a coarse grid, beside a middle grey.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backend.cache.beauty import beauty
from backend.cache.matching import Identity, Thresholds, Vectors
from backend.cache.thumbnail import SIDE_PX, Lab, pooled, thumbnail

_BINS = (6, 8, 8)
_RANGES = ((0.0, 1.0), (-0.22, 0.22), (-0.26, 0.20))
"""Oklab of what is painted; what lies beyond counts for the outermost bin."""

_DCT_PX, _DCT_SIZE, _GRID = 32, 8, 8
_COLOURS, _FORMS, _STRUCTURE = 0.35, 0.35, 0.30
_KEPT = 16
"""Thumbnails of the newest pictures: whoever embeds a picture scores it next."""


class PerceptualMatcher:
    """Needs numpy and Pillow only; a few milliseconds a picture, most of them Pillow's decoder."""

    def __init__(self) -> None:
        self._thumbnails: OrderedDict[bytes, Lab] = OrderedDict()

    @property
    def identity(self) -> Identity:
        return Identity("perceptual", "1", _DIMENSION)

    @property
    def thresholds(self) -> Thresholds:
        """Measured by ``python -m benchmarks matching`` on every shipped theme; see there."""
        return Thresholds(duplicate=0.97, near=0.90)

    def embed(self, pictures: Sequence[bytes]) -> Vectors:
        """See `Matcher.embed`."""
        if not pictures:
            return np.zeros((0, _DIMENSION), np.float32)
        return np.stack([_embedding(self._thumbnail(picture)) for picture in pictures])

    def scores(self, embeddings: Vectors, pictures: Sequence[bytes]) -> Vectors:
        """See `Matcher.scores`; the measures are those of `beauty`, the embeddings are not used."""
        return np.array([beauty(self._thumbnail(picture)) for picture in pictures], np.float32)

    def embed_texts(self, texts: Sequence[str]) -> None:
        """It knows no words."""

    def _thumbnail(self, picture: bytes) -> Lab:
        known = self._thumbnails.get(picture)
        if known is None:
            known = self._thumbnails[picture] = thumbnail(picture)
            if len(self._thumbnails) > _KEPT:
                self._thumbnails.popitem(last=False)
        return known


def _embedding(lab: Lab) -> NDArray[np.float32]:
    views = ((_COLOURS, _histogram(lab)), (_FORMS, _forms(lab)), (_STRUCTURE, _structure(lab)))
    return np.concatenate([weight**0.5 * _unit(view) for weight, view in views]).astype(np.float32)


def _unit(view: NDArray[np.float32]) -> NDArray[np.float32]:
    """Its direction; a view of nothing (a flat picture has no forms) points along the first axis."""
    length = float(np.linalg.norm(view))
    direction: NDArray[np.float32] = view / np.float32(length) if length > 1e-6 else np.eye(1, view.size)[0]
    return direction


def _histogram(lab: Lab) -> NDArray[np.float32]:
    pixels = pooled(lab, SIDE_PX // 2).reshape(-1, 3)
    low, high = np.array(_RANGES, np.float32).T
    bins = np.array(_BINS)
    place = np.clip((pixels - low) / (high - low), 0.0, 1.0) * (bins - 1)
    below = np.minimum(place.astype(np.int64), bins - 2)
    above = (place - below).astype(np.float32)
    counts = np.zeros(bins.prod(), np.float64)
    for corner in np.ndindex(2, 2, 2):
        share = np.where(corner, above, 1.0 - above).prod(axis=1)
        counts += np.bincount(np.ravel_multi_index((below + corner).T, _BINS), share, counts.size)
    return np.sqrt(counts / len(pixels)).astype(np.float32)


def _forms(lab: Lab) -> NDArray[np.float32]:
    light = pooled(lab[..., 0], _DCT_PX)
    spectrum = _DCT @ light @ _DCT.T * _AMPLIFIED
    forms: NDArray[np.float32] = spectrum.ravel()[1:]
    return forms


def _structure(lab: Lab) -> NDArray[np.float32]:
    grid = pooled(lab, _GRID) - np.array([0.5, 0.0, 0.0], np.float32)
    stretched: NDArray[np.float32] = (grid * np.array([1.0, 2.0, 2.0], np.float32)).ravel()
    return stretched


def _dct_rows() -> NDArray[np.float32]:
    """The first rows of an orthonormal DCT-II: ``[_DCT_SIZE, _DCT_PX]``."""
    frequency, place = np.mgrid[0:_DCT_SIZE, 0:_DCT_PX]
    rows = np.cos(np.pi / _DCT_PX * (place + 0.5) * frequency) * (2.0 / _DCT_PX) ** 0.5
    rows[0] *= 0.5**0.5
    return np.array(rows, np.float32)


_DCT = _dct_rows()
_AMPLIFIED = np.hypot(*np.mgrid[0:_DCT_SIZE, 0:_DCT_SIZE]).astype(np.float32)
_DIMENSION = int(np.prod(_BINS)) + _DCT_SIZE**2 - 1 + 3 * _GRID**2
