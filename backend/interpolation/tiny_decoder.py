"""The decoder of the tiny autoencoders (TAESD and its kin), for inference.

Source: https://github.com/madebyollin/taesd; the parts are numbered as in its author's weights. Which parts
there are is told by the shapes of the weights.
"""

from __future__ import annotations

import re
from collections import OrderedDict

import torch
from torch import Tensor, nn

from backend.interpolation.vae_file import Shapes


class TinyDecoder(nn.Sequential):
    """Latents ``[B, C, h, w]`` at the model's scale to pictures ``[B, 3, H, W]`` of 0 to 1, give or take."""

    def __init__(self, shapes: Shapes) -> None:
        """Lay it out; the weights are still to be loaded."""
        last = max(int(name.partition(".")[0]) for name in shapes)
        super().__init__(OrderedDict((str(number), _part(shapes, number)) for number in range(last + 1)))


class _Clamp(nn.Module):
    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(latents / 3) * 3


class _Block(nn.Module):
    def __init__(self, shapes: Shapes, number: int) -> None:
        super().__init__()
        first, second, third = (_conv(shapes, f"{number}.conv.{at}") for at in (0, 2, 4))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
        changes = f"{number}.skip.weight" in shapes
        self.skip = _conv(shapes, f"{number}.skip") if changes else nn.Identity()
        self.fuse = nn.ReLU()

    def forward(self, hidden: Tensor) -> Tensor:
        fused: Tensor = self.fuse(self.conv(hidden) + self.skip(hidden))
        return fused


def _part(shapes: Shapes, number: int) -> nn.Module:
    """By its weights; of those without any, the first clamps, the third cuts off, and the others double."""
    if f"{number}.weight" in shapes:
        return _conv(shapes, str(number))
    if any(re.match(rf"{number}\.conv\.", name) for name in shapes):
        return _Block(shapes, number)
    return {0: _Clamp, 2: nn.ReLU}.get(number, _doubling)()


def _doubling() -> nn.Module:
    return nn.Upsample(scale_factor=2)


def _conv(shapes: Shapes, name: str) -> nn.Conv2d:
    outputs, inputs, side, _ = shapes[f"{name}.weight"]
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=f"{name}.bias" in shapes)
