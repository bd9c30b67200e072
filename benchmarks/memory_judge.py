"""Who judges whether the memory cures collapse, by what no matcher of the memory sees.

Thumbnails of 16x16 squares in Oklab, and directions of edges. How many distinct pictures there are is told
by the Vendi score, in which two pictures count as two when they differ as much as two pictures do that are
painted afresh from the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.distinct import Floats, edge_directions, thumbnail, vendi
from benchmarks.memory_case import SIZE, Run
from benchmarks.painted_engine import Painting, Words

JUDGED = 300
"""The newest keyframes of a run, over which distinct pictures are counted."""
_FRESH = 32


@dataclass(frozen=True)
class Judge:
    """The scales on which two pictures count as two, from pictures painted afresh."""

    thumbnail: float
    edge: float

    @classmethod
    def of(cls, words: Sequence[Words]) -> Judge:
        """From `_FRESH` pictures of each of the words (of some, where there are many)."""
        painting = Painting(SIZE)
        pairs = [_usual_distances(painting, one) for one in words[:: max(1, len(words) // 8)]]
        return cls(*(float(np.mean(one)) for one in zip(*pairs, strict=True)))

    def distinct(self, run: Run) -> tuple[float, float]:
        """Distinct pictures among the newest `JUDGED`, by thumbnails and by edges."""
        return vendi(run.thumbnails[-JUDGED:], self.thumbnail), vendi(run.edges[-JUDGED:], self.edge)


def _usual_distances(painting: Painting, words: Words) -> tuple[float, float]:
    pictures = [painting.picture(painting.fresh(words, 10**6 + at)) for at in range(_FRESH)]
    features = (np.array([look(one) for one in pictures]) for look in (thumbnail, edge_directions))
    first, second = (_mean_distance(one) for one in features)
    return first, second


def _mean_distance(features: Floats) -> float:
    apart = np.linalg.norm(features[:, None] - features[None], axis=2)
    return float(apart.sum() / (len(features) * (len(features) - 1)))


@dataclass(frozen=True)
class Cured:
    """One seed with memory and without."""

    on: Run
    off: Run
    judge: Judge

    @property
    def ratio(self) -> float:
        return self.judge.distinct(self.on)[0] / self.judge.distinct(self.off)[0]

    @property
    def edge_ratio(self) -> float:
        return self.judge.distinct(self.on)[1] / self.judge.distinct(self.off)[1]

    @property
    def shown_ratio(self) -> float:
        """Of the largest steps between shown frames."""
        return self.on.shown / self.off.shown

    @property
    def keyframe_ratio(self) -> float:
        """Of the largest steps between keyframes, which nobody sees at once."""
        return float(self.on.steps().max() / self.off.steps().max())

    @property
    def share(self) -> float:
        return float(self.on.touched.mean())


def curve(run: Run, judge: Judge, window: int = 100, stride: int = 10) -> list[tuple[int, float]]:
    """Distinct pictures in the newest ``window`` keyframes, all along a run; in a short one, of fewer."""
    window = min(window, len(run.thumbnails) - stride)
    ends = range(window, len(run.thumbnails) + 1, stride)
    return [(end, vendi(run.thumbnails[end - window : end], judge.thumbnail)) for end in ends]
