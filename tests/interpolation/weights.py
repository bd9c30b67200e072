"""Decoders with random weights, small ones, in the layouts in which their files are to be had."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def tiny_weights(channels: int = 4, width: int = 8, seed: int = 0, blocks: int = 1) -> dict[str, Tensor]:
    """A tiny autoencoder's decoder with its author's numbers: three doublings, some blocks before each.

    TAESD has a width of 64 and three blocks.
    """
    rng = torch.Generator().manual_seed(seed)

    def conv(name: str, inputs: int, outputs: int, *, bias: bool = True) -> dict[str, Tensor]:
        found = {f"{name}.weight": torch.randn(outputs, inputs, 3, 3, generator=rng) / (9 * inputs) ** 0.5}
        return found | ({f"{name}.bias": 0.1 * torch.randn(outputs, generator=rng)} if bias else {})

    def block(number: int) -> dict[str, Tensor]:
        return {
            key: value for at in (0, 2, 4) for key, value in conv(f"{number}.conv.{at}", width, width).items()
        }

    weights, number = conv("1", channels, width), 3
    for level in range(4):
        for _ in range(blocks if level < 3 else 1):
            weights |= block(number)
            number += 1
        if level < 3:
            weights |= conv(str(number + 1), width, width, bias=False)
            number += 2
    return weights | conv(str(number), width, 3)


def as_diffusers_tiny(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same as AutoencoderTiny saves it, with something of its encoder."""
    moved = {
        re.sub(r"^(\d+)", lambda found: f"decoder.layers.{int(found[1]) - 1}", name): weight
        for name, weight in weights.items()
    }
    return moved | {"encoder.layers.0.weight": torch.zeros(8, 3, 3, 3)}


def kl_weights(channels: int = 4, widths: tuple[int, ...] = (32, 64), seed: int = 0) -> dict[str, Tensor]:
    """An autoencoder's decoder with its authors' names; one doubling less than there are widths."""
    rng = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}

    def conv(name: str, inputs: int, outputs: int, side: int = 3) -> None:
        scale = (side * side * inputs) ** -0.5
        weights[f"{name}.weight"] = scale * torch.randn(outputs, inputs, side, side, generator=rng)
        weights[f"{name}.bias"] = 0.1 * torch.randn(outputs, generator=rng)

    def norm(name: str, width: int) -> None:
        weights[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=rng)
        weights[f"{name}.bias"] = 0.1 * torch.randn(width, generator=rng)

    def resnet(name: str, inputs: int, outputs: int) -> None:
        norm(f"{name}.norm1", inputs), conv(f"{name}.conv1", inputs, outputs)
        norm(f"{name}.norm2", outputs), conv(f"{name}.conv2", outputs, outputs)
        if inputs != outputs:
            conv(f"{name}.nin_shortcut", inputs, outputs, 1)

    widest = widths[-1]
    conv("post_quant_conv", channels, channels, 1)
    conv("decoder.conv_in", channels, widest)
    for block in ("block_1", "block_2"):
        resnet(f"decoder.mid.{block}", widest, widest)
    norm("decoder.mid.attn_1.norm", widest)
    for part in ("q", "k", "v", "proj_out"):
        conv(f"decoder.mid.attn_1.{part}", widest, widest, 1)
    inputs = widest
    for level in reversed(range(len(widths))):
        for block in ("0", "1"):
            resnet(f"decoder.up.{level}.block.{block}", inputs, widths[level])
            inputs = widths[level]
        if level:
            conv(f"decoder.up.{level}.upsample.conv", inputs, inputs)
    norm("decoder.norm_out", inputs)
    conv("decoder.conv_out", inputs, 3)
    return weights


def in_checkpoint(weights: Mapping[str, Tensor], prefix: str = "first_stage_model.") -> dict[str, Tensor]:
    """Inside a checkpoint, beside a diffusion model."""
    return {f"{prefix}{name}": weight for name, weight in weights.items()} | {
        "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(4, 4, 3, 3),
        "cond_stage_model.logit_scale": torch.zeros(()),
    }


def saved(path: Path, weights: Mapping[str, Tensor]) -> Path:
    save_file(dict(weights), path)
    return path
