"""The two generations of ComfyUI's API that the engine can speak."""

from __future__ import annotations

from enum import Enum


class Dialect(Enum):
    """Named by the releases on which the differences were measured."""

    A = "0.3.64"
    B = "0.33.0"

    @property
    def has_jobs(self) -> bool:
        """Whether ``/api/jobs`` exists."""
        return self is Dialect.B

    @property
    def has_previews(self) -> bool:
        """Whether a prompt may ask for previews of its sampling (``extra_data.preview_method``)."""
        return self is Dialect.B

    @property
    def needs_canonical_ids(self) -> bool:
        """Whether a prompt id must be a lower-case hyphenated UUID."""
        return self is Dialect.B
