"""**CollapseDetector**: is the dream going round in circles?

It compares a window of the newest keyframes with a fixed `Reference`: constants for an embedding that was
calibrated, else frozen from the first healthy keyframes and kept with the state. A reference that moved
with the window would call every lasting collapse healthy after a while.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from backend.cache.coverage import Coverage, Vectors, measure, similarities

_VERSION = 1
_TINY = 1e-9
_ILL = 0.25
"""Level from which on a window is no healthy one."""
_ROUNDING = 1e-6
"""By so much a measured distance may be below 0."""


class CollapseKind(StrEnum):
    """How a dream goes round in circles."""

    STILL = "still"
    DRIFT = "drift"
    OSCILLATION = "oscillation"


@dataclass(frozen=True)
class Reference:
    """What windows of a healthy dream measure, in one embedding.

    Attributes:
        scale: Cosine distance at which two pictures count as alike to 1/e.
        effective_number: What one healthy window in twenty stays below.
        dispersion: The same.
        step: The same.
        returning: What one healthy window in twenty exceeds.
    """

    scale: float
    effective_number: float
    dispersion: float
    step: float
    returning: float


@dataclass(frozen=True)
class CollapseSettings:
    """When a dream counts as collapsed.

    Attributes:
        window: Keyframes that are looked at together.
        healthy: Healthy keyframes from which a reference is frozen where none is calibrated.
        duplicate: Cosine similarity above which two pictures of this embedding are the same one.
        near: Cosine similarity above which two pictures of this embedding are alike; 1 where nobody told.
            From a window whose pictures are that alike on the average nothing is learnt.
        enter: Level at which a collapse begins, held for ``patience`` keyframes.
        leave: Level below which it ends, held as long.
    """

    window: int = 24
    healthy: int = 200
    duplicate: float = 0.995
    near: float = 1.0
    enter: float = 0.5
    leave: float = 0.3
    patience: int = 3


@dataclass(frozen=True)
class CollapseState:
    """What a status shows of the dream's health.

    Attributes:
        level: 0 for a healthy dream to 1 for one that is lost.
        collapsed: Whether it counts as collapsed, with hysteresis.
        coverage: Share of a healthy window's coverage that the newest window has, 0 to 1.
        effective_number: Distinct pictures that the window amounts to.
        dispersion: Mean cosine distance between two pictures of the window.
        step: Mean cosine distance from one keyframe to the next.
        nearest_memory: Mean similarity to the nearest memory over the window; None where nobody told.
        kind: How it goes round in circles, while ``level`` says that it does.
        armed: Whether there is a reference and a full window to compare with it.
    """

    level: float = 0.0
    collapsed: bool = False
    coverage: float = 1.0
    effective_number: float = 1.0
    dispersion: float = 0.0
    step: float = 0.0
    nearest_memory: float | None = None
    kind: CollapseKind | None = None
    armed: bool = False


PERCEPTUAL: Mapping[str, Reference] = {
    "1": Reference(scale=0.15, effective_number=11.8, dispersion=0.18, step=0.08, returning=0.12),
}
"""Calibrated references of the perceptual strategy by its version.

From windows of 24 keyframes of the embedded painter at a denoise of 0.45, four themes one by one and all of
them in turn. The scale is a third of the usual distance between pictures painted afresh from the same words.
"""


def calibrated(name: str, version: str) -> Reference | None:
    """The calibrated reference of an embedding, or None where one must be frozen."""
    return PERCEPTUAL.get(version) if name == "perceptual" else None


class CollapseDetector:
    """Sees one keyframe after the other. Nothing trims what it has seen: an injection least of all."""

    def __init__(self, reference: Reference | None = None, settings: CollapseSettings | None = None) -> None:
        """A ``reference`` of None is frozen from the first healthy keyframes."""
        self._settings = settings or CollapseSettings()
        self._calibrated = reference is not None
        self._reference = reference
        self._window: deque[Vectors] = deque(maxlen=self._settings.window)
        self._nearest: deque[float] = deque(maxlen=self._settings.window)
        self._healthy: list[Vectors] = []
        self._streak = 0
        self._newest = CollapseState()

    @property
    def reference(self) -> Reference | None:
        """What windows are compared with; None until enough healthy keyframes were seen."""
        return self._reference

    @property
    def newest(self) -> CollapseState:
        """What `see` returned last."""
        return self._newest

    def see(self, embedding: Vectors, nearest_memory: float | None = None) -> CollapseState:
        """Take in the newest keyframe.

        Args:
            embedding: Its unit vector ``[D]``.
            nearest_memory: Its similarity to the nearest memory that is older than the window, if known.

        Raises:
            ValueError: If the vector has no direction, or another dimension than those before.
        """
        self._window.append(self._checked(embedding))
        if nearest_memory is not None and np.isfinite(nearest_memory):
            self._nearest.append(min(max(float(nearest_memory), -1.0), 1.0))
        if len(self._window) == self._settings.window:
            self._judge(np.stack(self._window))
        return self._newest

    def _checked(self, embedding: Vectors) -> Vectors:
        vector = np.asarray(embedding, dtype=np.float32).ravel()
        norm = float(np.linalg.norm(vector))
        if not (np.isfinite(norm) and norm > _TINY):
            raise ValueError("an embedding must have a direction")
        if self._window and len(vector) != len(self._window[-1]):
            raise ValueError(f"an embedding of {len(vector)} numbers among those of {len(self._window[-1])}")
        return cast(Vectors, vector / np.float32(norm))

    def _judge(self, window: Vectors) -> None:
        reference = self._reference or self._blatant()
        coverage = measure(window, reference.scale)
        level, kind = _level(coverage, reference)
        if self._reference is None:
            self._learn(window[-1], healthy=kind is None)
        nearest = float(np.mean(self._nearest)) if self._nearest else None
        collapsed = self._held(level)
        self._newest = CollapseState(
            level=level,
            collapsed=collapsed,
            coverage=1.0 - level,
            effective_number=coverage.effective_number,
            dispersion=coverage.dispersion,
            step=coverage.step,
            nearest_memory=nearest,
            kind=kind,
            armed=self._reference is not None,
        )

    def _held(self, level: float) -> bool:
        """Hysteresis: what ``patience`` keyframes in a row say, beyond the farther of two levels."""
        now = self._newest.collapsed
        changes = level < self._settings.leave if now else level >= self._settings.enter
        self._streak = self._streak + 1 if changes else 0
        if self._streak < self._settings.patience:
            return now
        self._streak = 0
        return not now

    def _blatant(self) -> Reference:
        """Until a reference is frozen, only what the embedding itself calls copies, or alike, is a collapse.

        A dream that is ill from its first picture is given medicine by that, and only what it is once it has
        recovered becomes the reference. An embedding that tells no `near` knows but copies of one picture, or
        of two: with that, an ill dream of pictures that differ a little is taken for a healthy one.
        """
        copy = 1.0 - self._settings.duplicate
        alike = max(copy, 1.0 - self._settings.near)
        return Reference(scale=copy, effective_number=4.0, dispersion=alike, step=copy, returning=1.5)

    def _believed(self, stored: Reference | None) -> Reference | None:
        """None for one that was frozen from pictures that are all alike."""
        if stored is None or _missing(stored.dispersion, self._blatant().dispersion) >= _ILL:
            return None
        return stored

    def _learn(self, newest: Vectors, *, healthy: bool) -> None:
        if healthy:
            self._healthy.append(newest)
        if len(self._healthy) >= self._settings.healthy:
            self._reference = frozen(np.stack(self._healthy), self._settings.window)
            self._healthy = []

    def state(self) -> dict[str, object]:
        """All that it knows, as plain JSON."""
        return {
            "version": _VERSION,
            "reference": None if self._reference is None else asdict(self._reference),
            "window": _packed(list(self._window)),
            "nearest": list(self._nearest),
            "healthy": _packed(self._healthy),
            "streak": self._streak,
            "newest": asdict(self._newest),
        }

    def restore(self, state: object, dimension: int | None = None) -> bool:
        """Go on from what `state` gave; False, and nothing changed, where it is none of ours.

        A calibrated reference is kept: a stored one is taken only where it was frozen.

        Args:
            state: Whatever stood in a file.
            dimension: Numbers in the embeddings that are to come; those of another are none of ours.
        """
        try:
            read = _read(state)
        except (TypeError, ValueError, KeyError, OverflowError, binascii.Error):
            return False
        wished = {dimension} if dimension is not None else {len(one) for one in read.window[-1:]}
        if not {len(one) for one in (*read.window, *read.healthy)} <= wished:
            return False
        if not self._calibrated:
            self._reference = self._believed(read.reference)
        self._window.clear()
        self._window.extend(read.window)
        self._nearest.clear()
        self._nearest.extend(read.nearest)
        self._healthy = read.healthy[: self._settings.healthy]
        self._streak = min(read.streak, self._settings.patience - 1)
        self._newest = read.newest
        return True


def frozen(healthy: Vectors, window: int) -> Reference:
    """The reference of healthy keyframes ``[N, D]``, oldest first, N well above ``window``."""
    similar = similarities(healthy)
    apart = np.abs(np.subtract.outer(np.arange(len(healthy)), np.arange(len(healthy)))) >= window
    scale = max(float(np.median(1.0 - similar[apart])) * SCALE_SHARE, _TINY)
    measures = [measure(healthy[at : at + window], scale) for at in range(len(healthy) - window + 1)]

    def low(name: str) -> float:
        return float(np.quantile([getattr(one, name) for one in measures], 0.05))

    returning = float(np.quantile([one.returning for one in measures], 0.95))
    return Reference(scale, low("effective_number"), low("dispersion"), low("step"), returning)


SCALE_SHARE = 0.3
"""Scale of the kernel, as a share of the usual distance between pictures that lie far apart in time."""


def _level(coverage: Coverage, reference: Reference) -> tuple[float, CollapseKind | None]:
    """How much of a healthy window's coverage is missing, and the name for it."""
    few = _missing(coverage.effective_number - 1.0, reference.effective_number - 1.0)
    narrow = _missing(coverage.dispersion, reference.dispersion)
    swings = _missing(2.0 - coverage.returning, 2.0 - max(reference.returning, 0.5))
    level = max(few, narrow, swings)
    if level < _ILL:
        return level, None
    if swings >= 0.5 or (few >= 0.25 and narrow < 0.25 and coverage.returning > reference.returning):
        return level, CollapseKind.OSCILLATION
    if coverage.step < 0.25 * reference.step:
        return level, CollapseKind.STILL
    return level, CollapseKind.DRIFT


def _missing(measured: float, usual: float) -> float:
    """0 at the usual value or above, 1 at nothing."""
    return min(max(1.0 - measured / max(usual, _TINY), 0.0), 1.0)


@dataclass(frozen=True)
class _Read:
    reference: Reference | None
    window: list[Vectors]
    nearest: list[float]
    healthy: list[Vectors]
    streak: int
    newest: CollapseState


def _read(state: object) -> _Read:
    if not isinstance(state, Mapping) or state["version"] != _VERSION:
        raise ValueError("not a state of this version")
    newest = _newest(state["newest"])
    reference = None if state["reference"] is None else _reference(state["reference"])
    nearest = [_within(one, -1.0, 1.0) for one in state["nearest"]]
    window, healthy = _unpacked(state["window"]), _unpacked(state["healthy"])
    streak = int(_within(state["streak"], 0.0, math.inf))
    return _Read(reference, window, nearest, healthy, streak, newest)


def _newest(stored: Mapping[str, Any]) -> CollapseState:
    """The same state: numbers as numbers, and nothing that is none."""
    kind, nearest = stored["kind"], stored["nearest_memory"]
    return CollapseState(
        level=_within(stored["level"], 0.0, 1.0),
        collapsed=bool(stored["collapsed"]),
        coverage=_within(stored["coverage"], 0.0, 1.0),
        effective_number=_within(stored["effective_number"], 0.0, math.inf),
        dispersion=_within(stored["dispersion"], -_ROUNDING, 2.0),
        step=_within(stored["step"], -_ROUNDING, 2.0),
        nearest_memory=None if nearest is None else _within(nearest, -1.0, 1.0),
        kind=None if kind is None else CollapseKind(kind),
        armed=bool(stored["armed"]),
    )


def _within(value: object, low: float, high: float) -> float:
    number = float(cast(float, value))
    if not (math.isfinite(number) and low <= number <= high):
        raise ValueError(f"{number} is not from {low} to {high}")
    return number


def _reference(stored: object) -> Reference:
    if not isinstance(stored, Mapping):
        raise TypeError("a reference must be an object")
    reference = Reference(
        **{str(name): _within(value, -_ROUNDING, math.inf) for name, value in stored.items()}
    )
    if reference.scale <= 0.0:
        raise ValueError("a kernel must have a scale")
    return reference


def _packed(vectors: list[Vectors]) -> dict[str, object]:
    """Half precision, as text: rounding moves a cosine by less than 1e-6."""
    if not vectors:
        return {"shape": [0, 0], "data": ""}
    rows = np.stack(vectors).astype("<f2")
    return {"shape": list(rows.shape), "data": base64.b64encode(rows.tobytes()).decode("ascii")}


def _unpacked(stored: Mapping[str, object]) -> list[Vectors]:
    rows: NDArray[np.float16] = np.frombuffer(base64.b64decode(str(stored["data"]), validate=True), "<f2")
    count, dimension = (int(side) for side in cast(list[int], stored["shape"]))
    wide = rows.reshape(count, dimension).astype(np.float32)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    if not (np.isfinite(norms) & (norms > _TINY)).all():
        raise ValueError("a stored embedding has no direction")
    return list(wide / norms)
