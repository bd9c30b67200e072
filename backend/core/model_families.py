"""What each model family needs, as data.

A checkpoint says nothing of itself over ComfyUI's API but its file name, so the family is guessed from that;
every number can be set otherwise in the configuration.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload


@dataclass(frozen=True)
class ModelFamily:
    """The size and the sampling that suit a family of checkpoints.

    Attributes:
        name: How people call it.
        patterns: Regular expressions, any of which is found in a lower-case file name of the family.
        width: Picture width in pixels, divisible by 8 and near the family's own number of pixels, 16:9 or so.
        height: Picture height in pixels, divisible by 8.
        steps: Sampling steps of one picture at denoise 1.
        cfg: Classifier-free guidance scale.
        sampler: ComfyUI's ``sampler_name``.
        scheduler: ComfyUI's ``scheduler``.
        latent_channels: Channels of a latent.
    """

    name: str
    patterns: tuple[str, ...]
    width: int
    height: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    latent_channels: int


EMBEDDED = ModelFamily("embedded", (r"^dreamloop-painter",), 768, 432, 8, 5.0, "euler", "normal", 4)
SDXL = ModelFamily(
    "SDXL", (r"xl", r"\bpony", r"illustrious", r"noobai"), 1344, 768, 24, 6.0, "dpmpp_2m", "karras", 4
)
SD15 = ModelFamily("SD 1.5", (r"sd[-_ ]?1[._-]?5", r"v1[-_.]5"), 704, 384, 20, 6.5, "dpmpp_2m", "karras", 4)

FAMILIES = (EMBEDDED, SDXL, SD15)
"""Every family, in the order in which their patterns are tried."""


@overload
def family_of(checkpoint: str, default: ModelFamily = SD15) -> ModelFamily: ...
@overload
def family_of(checkpoint: str, default: None) -> ModelFamily | None: ...
def family_of(checkpoint: str, default: ModelFamily | None = SD15) -> ModelFamily | None:
    """The family of a checkpoint by its file name; ``default`` (the most modest) where it tells nothing."""
    name = checkpoint.replace("\\", "/").rsplit("/", 1)[-1].lower()
    for family in FAMILIES:
        if any(re.search(pattern, name) for pattern in family.patterns):
            return family
    return default


def nearest(name: str, available: Sequence[str]) -> str | None:
    """The available name most like ``name``, for a "did you mean"; None where none is like it."""
    by_lower = {other.lower(): other for other in available}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[close[0]] if close else None
