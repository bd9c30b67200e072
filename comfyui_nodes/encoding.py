"""Decoded frames become picture files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = ("jpeg", "webp", "png")

_OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Full colour resolution: saturated edges would else smear beside the keyframe, which has it.
        "jpeg": {"subsampling": 0},
        # The quickest method: the slowest costs ten times as much for a tenth fewer bytes.
        "webp": {"method": 0},
        "png": {"compress_level": 1},
    }
)


@dataclass(frozen=True)
class Encoding:
    """How frames are encoded.

    Attributes:
        format: One of FORMATS.
        quality: 1 to 100, for the formats that lose something.
    """

    format: str
    quality: int = 95

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format {self.format!r} is none of {', '.join(FORMATS)}")

    @property
    def mime(self) -> str:
        """The media type."""
        return f"image/{self.format}"

    @property
    def suffix(self) -> str:
        """Of a file, with its dot."""
        return ".jpg" if self.format == "jpeg" else f".{self.format}"

    def encode(self, frame: Tensor) -> bytes:
        """A picture file of one frame.

        Args:
            frame: Shape ``[height, width, 3]``, 0 to 1, on any device. Cut off as ComfyUI's own nodes do.
        """
        import torch

        pixels = (frame.to(torch.float32) * 255.0).clamp(0.0, 255.0).to(torch.uint8).cpu().numpy()
        options = dict(_OPTIONS[self.format])
        if self.format != "png":
            options["quality"] = self.quality
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format=self.format.upper(), **options)
        return file.getvalue()
