"""The detectors of collapse, one for each sort of embedding, and what of them survives a restart."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from backend.cache.collapse import CollapseDetector, CollapseSettings, CollapseState, calibrated
from backend.cache.matching import Identity, Vectors

log = logging.getLogger(__name__)


class CollapseWatch:
    """Shows each keyframe to the detector for its embedding: numbers of two sorts have nothing in common."""

    def __init__(self) -> None:
        self._detectors: dict[str, CollapseDetector] = {}
        self._stored: Mapping[str, object] = {}

    def see(
        self, embedding: Vectors, identity: Identity, nearest_older: float | None, near: float = 1.0
    ) -> CollapseState:
        """What the newest keyframe tells.

        Args:
            embedding: Its unit vector.
            identity: Whose embedding that is.
            nearest_older: As `CollapseDetector.see` takes it.
            near: Similarity from which on two pictures of this embedding are alike; 1 where nobody told.
        """
        return self._detector(identity, near).see(embedding, nearest_older)

    def state(self) -> dict[str, object]:
        """All that they know, as plain JSON, with what is stored of detectors that were not needed."""
        return dict(self._stored) | {name: detector.state() for name, detector in self._detectors.items()}

    def restore(self, stored: object) -> None:
        """Go on from what `state` gave, each detector when it is first needed; nonsense is passed over."""
        self._stored = stored if isinstance(stored, Mapping) else {}

    def _detector(self, identity: Identity, near: float) -> CollapseDetector:
        name = str(identity)
        if name not in self._detectors:
            reference = calibrated(identity.name, identity.version)
            detector = CollapseDetector(reference, CollapseSettings(near=near))
            if name in self._stored and not detector.restore(self._stored[name], identity.dimension):
                log.warning(
                    "what is stored of the dream's variety by %s makes no sense: it begins anew", name
                )
            self._detectors[name] = detector
        return self._detectors[name]
