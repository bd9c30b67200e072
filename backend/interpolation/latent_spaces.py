"""Whose latents a tiny autoencoder decodes: ComfyUI saves them without the scale of the model.

Scales and shifts are those of the models' authors, as ComfyUI's ``latent_formats`` has them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LatentSpace:
    """What a model's latents are like.

    Attributes:
        name: For people.
        channels: Of a latent.
        scale: The model's own latents are ``(latent - shift) * scale``.
        patterns: Regular expressions, any of which is in the lower-case name of a decoder's file or folder.
        lines: Of the model families that dream in it.
    """

    name: str
    channels: int
    scale: float
    shift: float
    patterns: tuple[str, ...]
    lines: tuple[str, ...]


SPACES = (
    LatentSpace("SDXL", 4, 0.13025, 0.0, (r"taesd[-_]?xl", r"sd[-_]?xl", r"(?<![a-z])xl"), ("sdxl",)),
    LatentSpace("SD 3", 16, 1.5305, 0.0609, (r"taesd[-_]?3", r"sd[-_]?3(?!\d)"), ("sd3",)),
    LatentSpace("Flux", 16, 0.3611, 0.1159, (r"taef1", r"flux"), ("flux", "hidream", "z-image")),
    LatentSpace("SD", 4, 0.18215, 0.0, (r"taesd", r"sd[-_]?v?(1|2|turbo)"), ("sd15", "sd2")),
)
"""In the order in which names are tried: the plain one last."""


def space_named(path: Path) -> LatentSpace | None:
    """What a file's name, or else its folder's, says of the latents that it decodes."""
    for name in (path.stem.lower(), path.parent.name.lower()):
        for space in SPACES:
            if any(re.search(pattern, name) for pattern in space.patterns):
                return space
    return None


def space_of_line(line: str, channels: int) -> LatentSpace | None:
    """That of a line of model families; None where it is not known, or has other channels."""
    return next((space for space in SPACES if line in space.lines and space.channels == channels), None)


def usual_space(channels: int) -> LatentSpace | None:
    """The oldest with so many channels: a guess."""
    return next((space for space in reversed(SPACES) if space.channels == channels), None)
