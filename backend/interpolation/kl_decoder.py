"""The decoder of the autoencoder that SD 1.x, 2.x, SDXL, SD 3 and Flux share, for inference.

Source: R. Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models" (2022); the parts
are named as in its authors' weights. Its size is told by the shapes of the weights.
"""

from __future__ import annotations

import re

from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention, silu

from backend.interpolation.vae_file import Shapes

_GROUPS = 32
_EPS = 1e-6


class KlDecoder(nn.Module):
    """Latents ``[B, C, h, w]`` to pictures ``[B, 3, H, W]`` of 0 to 1, give or take."""

    def __init__(self, shapes: Shapes) -> None:
        """Lay it out; the weights are still to be loaded.

        Args:
            shapes: Of all its weights, as `VaeFile.shapes`.

        Raises:
            KeyError: One that every such decoder has is missing.
        """
        super().__init__()
        levels = 1 + max(int(found[1]) for name in shapes if (found := re.match(r"up\.(\d+)\.", name)))
        self.post_quant_conv = (
            _conv(shapes, "post_quant_conv") if "post_quant_conv.weight" in shapes else None
        )
        self.conv_in = _conv(shapes, "conv_in")
        self.mid = _Middle(shapes)
        self.up = nn.ModuleList(_Level(shapes, f"up.{number}") for number in range(levels))
        self.norm_out = _norm(shapes, "norm_out")
        self.conv_out = _conv(shapes, "conv_out")

    def forward(self, latents: Tensor) -> Tensor:
        if self.post_quant_conv is not None:
            latents = self.post_quant_conv(latents)
        hidden = self.mid(self.conv_in(latents))
        for level in reversed(self.up):
            hidden = level(hidden)
        hidden = silu(self.norm_out(hidden))
        # In single precision: the steps of a shorter number would show as bands in smooth skies.
        picture: Tensor = self.conv_out(hidden.to(self.conv_out.weight.dtype))
        return (picture + 1.0) / 2.0


class _Middle(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.block_1 = _Resnet(shapes, "mid.block_1")
        self.attn_1 = _Attention(shapes, "mid.attn_1") if "mid.attn_1.q.weight" in shapes else None
        self.block_2 = _Resnet(shapes, "mid.block_2")

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.block_1(hidden)
        if self.attn_1 is not None:
            hidden = self.attn_1(hidden)
        found: Tensor = self.block_2(hidden)
        return found


class _Level(nn.Module):
    """Resnets at one size, and the doubling of it, where one follows."""

    def __init__(self, shapes: Shapes, name: str) -> None:
        super().__init__()
        blocks = len({found[1] for key in shapes if (found := re.match(rf"{name}\.block\.(\d+)\.", key))})
        self.block = nn.ModuleList(_Resnet(shapes, f"{name}.block.{number}") for number in range(blocks))
        doubles = f"{name}.upsample.conv.weight" in shapes
        self.upsample = _Upsample(shapes, f"{name}.upsample") if doubles else None

    def forward(self, hidden: Tensor) -> Tensor:
        for block in self.block:
            hidden = block(hidden)
        return hidden if self.upsample is None else self.upsample(hidden)


class _Upsample(nn.Module):
    def __init__(self, shapes: Shapes, name: str) -> None:
        super().__init__()
        self.conv = _conv(shapes, f"{name}.conv")

    def forward(self, hidden: Tensor) -> Tensor:
        doubled: Tensor = self.conv(interpolate(hidden, scale_factor=2.0, mode="nearest"))
        return doubled


class _Resnet(nn.Module):
    def __init__(self, shapes: Shapes, name: str) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(shapes, f"{name}.norm1"), _conv(shapes, f"{name}.conv1")
        self.norm2, self.conv2 = _norm(shapes, f"{name}.norm2"), _conv(shapes, f"{name}.conv2")
        changes = f"{name}.nin_shortcut.weight" in shapes
        self.nin_shortcut = _conv(shapes, f"{name}.nin_shortcut") if changes else None

    def forward(self, hidden: Tensor) -> Tensor:
        change = self.conv1(silu(self.norm1(hidden)))
        change = self.conv2(silu(self.norm2(change)))
        kept = hidden if self.nin_shortcut is None else self.nin_shortcut(hidden)
        changed: Tensor = kept + change
        return changed


class _Attention(nn.Module):
    """Each cell looks at all others, with one head."""

    def __init__(self, shapes: Shapes, name: str) -> None:
        super().__init__()
        self.norm = _norm(shapes, f"{name}.norm")
        self.q, self.k = _pointwise(shapes, f"{name}.q"), _pointwise(shapes, f"{name}.k")
        self.v, self.proj_out = _pointwise(shapes, f"{name}.v"), _pointwise(shapes, f"{name}.proj_out")

    def forward(self, hidden: Tensor) -> Tensor:
        normed = self.norm(hidden)
        cells = [part(normed).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v)]
        seen = scaled_dot_product_attention(*cells)
        change: Tensor = self.proj_out(seen.transpose(1, 2).reshape(hidden.shape))
        return hidden + change


def _conv(shapes: Shapes, name: str) -> nn.Conv2d:
    outputs, inputs, side, _ = shapes[f"{name}.weight"]
    return nn.Conv2d(inputs, outputs, side, padding=side // 2)


def _pointwise(shapes: Shapes, name: str) -> nn.Conv2d:
    """Diffusers keeps its weights as a matrix, which is the same."""
    outputs, inputs = shapes[f"{name}.weight"][:2]
    return nn.Conv2d(inputs, outputs, 1)


def _norm(shapes: Shapes, name: str) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, shapes[f"{name}.weight"][0], eps=_EPS)


def as_loaded(name: str, weight: Tensor) -> Tensor:
    """A weight as the network wants it."""
    is_matrix = weight.dim() == 2 and name.startswith("mid.attn_1.")
    return weight[:, :, None, None] if is_matrix else weight
