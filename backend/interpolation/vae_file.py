"""What decoder is in a file of weights, told from its header alone; torch is not needed for that.

Only safetensors are read: other formats can run code. Known are the decoder of the autoencoder that SD 1.x,
2.x, SDXL, SD 3 and Flux share, by the names of its authors (also inside a checkpoint) and by those of
diffusers; and the tiny autoencoders TAESD, TAESDXL, TAESD3 and TAEF1, likewise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from backend.errors import DecoderUnfit

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

_MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_LENGTH_BYTES = 8

# Where the autoencoder stands in a checkpoint.
_KL_PREFIXES = ("", "first_stage_model.", "vae.")
_TINY_PREFIXES = (
    "decoder.layers.", "", "decoder.", "taesd_decoder.", "first_stage_model.taesd_decoder."
)  # fmt: skip
_TINY_NAME = re.compile(r"(\d+)\.(?:(?:conv\.\d+|skip)\.)?(?:weight|bias)")

# Names of diffusers -> names of the authors, within the decoder. Levels are counted from the other end.
_RENAMED = (
    (re.compile(r"^mid_block\.resnets\.0\."), "mid.block_1."),
    (re.compile(r"^mid_block\.resnets\.1\."), "mid.block_2."),
    (re.compile(r"^mid_block\.attentions\.0\.group_norm\."), "mid.attn_1.norm."),
    (re.compile(r"^mid_block\.attentions\.0\.(?:to_q|query)\."), "mid.attn_1.q."),
    (re.compile(r"^mid_block\.attentions\.0\.(?:to_k|key)\."), "mid.attn_1.k."),
    (re.compile(r"^mid_block\.attentions\.0\.(?:to_v|value)\."), "mid.attn_1.v."),
    (re.compile(r"^mid_block\.attentions\.0\.(?:to_out\.0|proj_attn)\."), "mid.attn_1.proj_out."),
    (re.compile(r"^conv_norm_out\."), "norm_out."),
)
_RESNET = re.compile(r"^up_blocks\.(\d+)\.resnets\.(\d+)\.(.+)$")
_UPSAMPLER = re.compile(r"^up_blocks\.(\d+)\.upsamplers\.0\.(.+)$")
_LEVEL = re.compile(r"^up\.(\d+)\.")


class VaeKind(StrEnum):
    """Which network it is."""

    KL = "autoencoder"
    TINY = "tiny autoencoder"


@dataclass(frozen=True)
class VaeFile:
    """A decoder in a file.

    Attributes:
        channels: Of the latents that it decodes.
        tensors: The names in the file, by the names of the network's authors.
        shapes: By the names of the authors.
        scaled_by: Names in the file of scale and shift of the latents, where it brings them itself, as
            ComfyUI saves tiny autoencoders.
    """

    path: Path
    kind: VaeKind
    channels: int
    tensors: Mapping[str, str]
    shapes: Shapes
    scaled_by: tuple[str, str] | None = None


def read_vae_file(path: Path) -> VaeFile:
    """Look into a file of weights.

    Raises:
        DecoderUnfit: It cannot be read, is no safetensors file, or holds no decoder that is known.
    """
    shapes = _header(path)
    for find in (_kl, _tiny):
        found = find(path, shapes)
        if found is not None:
            return found
    raise DecoderUnfit(
        f"{path.name} holds no VAE that is known here (those of SD 1.x, 2.x, SDXL, SD 3 and Flux, TAESD, "
        f"TAESDXL, TAESD3 and TAEF1 are){_what_else(shapes)}"
    )


def _header(path: Path) -> Shapes:
    """Shapes of all tensors by name: eight bytes of length, then JSON."""
    if path.suffix != ".safetensors":
        raise DecoderUnfit(
            f"{path.name} is no .safetensors file; others can run code and are never opened. Most VAEs can "
            "be had as .safetensors, too"
        )
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if not 0 < length <= min(_MAX_HEADER_BYTES, path.stat().st_size - _LENGTH_BYTES):
                raise DecoderUnfit(f"{path.name} is no safetensors file, or is cut off")
            told = json.loads(file.read(length))
    except OSError as error:
        raise DecoderUnfit(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DecoderUnfit(f"{path.name} is no safetensors file: {error}") from error
    if not isinstance(told, dict):
        raise DecoderUnfit(f"{path.name} is no safetensors file: its header is no JSON object")
    return dict(_shapes(told))


def _shapes(told: Mapping[str, object]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, entry in told.items():
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if isinstance(shape, list) and all(isinstance(side, int) for side in shape):
            yield name, tuple(shape)


def _kl(path: Path, shapes: Shapes) -> VaeFile | None:
    for prefix in _KL_PREFIXES:
        first = shapes.get(f"{prefix}decoder.conv_in.weight", ())
        if len(first) == 4:
            tensors = _kl_names(shapes, prefix)
            sizes = {name: shapes[there] for name, there in tensors.items()}
            channels = sizes.get("post_quant_conv.weight", first)[1]
            return VaeFile(path, VaeKind.KL, channels, tensors, sizes)
    return None


def _kl_names(shapes: Shapes, prefix: str) -> dict[str, str]:
    decoder, quant = f"{prefix}decoder.", f"{prefix}post_quant_conv."
    inner = {name.removeprefix(decoder): name for name in shapes if name.startswith(decoder)}
    levels = len({found[1] for name in inner if (found := re.match(r"up_blocks\.(\d+)\.", name))})
    names = {_of_authors(name, levels): there for name, there in inner.items()}
    return names | {name.removeprefix(prefix): name for name in shapes if name.startswith(quant)}


def _of_authors(name: str, levels: int) -> str:
    for pattern, replacement in _RENAMED:
        name, count = pattern.subn(replacement, name)
        if count:
            return name
    if found := _RESNET.match(name):
        rest = found[3].replace("conv_shortcut.", "nin_shortcut.")
        return f"up.{levels - 1 - int(found[1])}.block.{found[2]}.{rest}"
    if found := _UPSAMPLER.match(name):
        return f"up.{levels - 1 - int(found[1])}.upsample.{found[2]}"
    return name


def _tiny(path: Path, shapes: Shapes) -> VaeFile | None:
    for prefix in _TINY_PREFIXES:
        # diffusers clamps outside of its layers, so that they are numbered from 0, not 1.
        shift = 1 if prefix == "decoder.layers." else 0
        tensors = {}
        for name in shapes:
            found = _TINY_NAME.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
            if found:
                number = int(found[1])
                tensors[f"{number + shift}{found[0][len(found[1]) :]}"] = name
        sizes = {name: shapes[there] for name, there in tensors.items()}
        first = sizes.get("1.weight", ())
        if len(first) == 4 and first[1] != 3:  # an encoder begins with the three colours
            root = prefix.removesuffix("taesd_decoder.")
            scaled_by = (f"{root}vae_scale", f"{root}vae_shift")
            brings = all(shapes.get(name) == () for name in scaled_by)
            return VaeFile(path, VaeKind.TINY, first[1], tensors, sizes, scaled_by if brings else None)
    return None


def _what_else(shapes: Shapes) -> str:
    """A word on what it may be instead."""
    names = " ".join(list(shapes)[:2000])
    if any(len(shape) == 5 for shape in shapes.values()):
        return "; it seems to be of a model that makes films"
    begins_with_colours = shapes.get("0.weight", ())[1:2] == (3,)
    if begins_with_colours or ("encoder." in names and "decoder." not in names):
        return "; it seems to be an encoder"
    if "diffusion_model." in names or "transformer_blocks." in names:
        return "; it seems to be a diffusion model"
    return ""
