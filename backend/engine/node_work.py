"""The work of the stock nodes: each takes a NodeCall and gives a NodeResult."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np

from backend.engine import png, previews
from backend.engine.latent_files import latent_bytes, parse_latent
from backend.engine.messages import PictureType
from backend.engine.node_type import NodeCall, NodeResult
from backend.engine.painting import LATENT_CHANNELS, LATENT_SCALE, Latent, OnStep, Pixels
from backend.engine.pictures import Picture, encode_all
from backend.engine.tiling import LARGE_PX, LARGE_TILE_PX, paint_tiled
from backend.engine.wording import Loras, Phrase, read, read_unwished
from backend.utils.png_text import with_text

_MAX_LATENT_CELLS = 64 * 1024 * 1024
"""Cells of one EmptyLatentImage (1 GiB of float32): a typing error must not take the machine's memory."""


def load_checkpoint(call: NodeCall) -> NodeResult:
    no_loras: Loras = ()
    return NodeResult((no_loras, no_loras, call.workspace.painter))


def encode_text(call: NodeCall) -> NodeResult:
    return NodeResult(((Phrase(call.inputs["text"], loras=call.inputs["clip"]),),))


def empty_latent(call: NodeCall) -> NodeResult:
    height, width = call.inputs["height"] // LATENT_SCALE, call.inputs["width"] // LATENT_SCALE
    shape = (call.inputs["batch_size"], LATENT_CHANNELS, height, width)
    if shape[0] * height * width > _MAX_LATENT_CELLS:
        raise MemoryError(f"a latent of shape {list(shape)} is too large for the embedded engine")
    return NodeResult((np.zeros(shape, np.float32),))


def sample(call: NodeCall) -> NodeResult:
    def on_step(done: int, total: int, _latent: Latent) -> None:
        call.on_progress(done, total)

    return _sampled(call, on_step)


def sample_with_previews(call: NodeCall) -> NodeResult:
    """Shows how far the latent is, once a step, if the prompt asks for it; costs nothing if it does not."""
    if not previews.are_wanted(call.extra_data):
        return sample(call)

    def on_step(done: int, total: int, latent: Latent) -> None:
        call.check_interrupt()
        image = previews.preview(call.workspace.painter, latent)
        call.on_progress(done, total, image, PictureType.JPEG)

    return _sampled(call, on_step)


def _sampled(call: NodeCall, on_step: OnStep) -> NodeResult:
    inputs, painter = call.inputs, call.workspace.painter
    latent = painter.sample(
        inputs["latent_image"],
        read(painter, inputs["positive"], inputs["model"]),
        read_unwished(painter, inputs["negative"]),
        seed=inputs["seed"],
        steps=inputs["steps"],
        cfg=inputs["cfg"],
        denoise=inputs["denoise"],
        on_step=on_step,
    )
    return NodeResult((latent,))


def decode_latent(call: NodeCall) -> NodeResult:
    return NodeResult((encode_all(_painted(call, call.inputs["samples"])),))


def _painted(call: NodeCall, latent: Latent) -> Iterator[Pixels]:
    painter = call.workspace.painter
    if latent.shape[2] * latent.shape[3] * LATENT_SCALE**2 > LARGE_PX:
        yield from paint_tiled(painter, latent, LARGE_TILE_PX, lambda *_: call.check_interrupt())
        return
    for pixels in painter.decode(latent):
        call.check_interrupt()
        yield pixels


def encode_pixels(call: NodeCall) -> NodeResult:
    painter = call.workspace.painter
    latents = [painter.encode(_cropped(picture.pixels())) for picture in call.inputs["pixels"]]
    return NodeResult((np.concatenate(latents),))


def _cropped(pixels: Pixels) -> Pixels:
    """The middle of a picture, its sides divisible by 8."""
    height, width = (side // LATENT_SCALE * LATENT_SCALE for side in pixels.shape[:2])
    if not height or not width:
        raise ValueError(f"a picture of {pixels.shape[1]}x{pixels.shape[0]} pixels is too small to encode")
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def latent_from_batch(call: NodeCall) -> NodeResult:
    latent: Latent = call.inputs["samples"]
    first = call.inputs["batch_index"]
    first = max(0, first + len(latent)) if first < 0 else min(first, len(latent) - 1)
    return NodeResult((latent[first : first + call.inputs["length"]].copy(),))


def load_latent(call: NodeCall) -> NodeResult:
    return NodeResult((parse_latent(_read(call, call.inputs["latent"])),))


def load_image(call: NodeCall) -> NodeResult:
    pixels = png.decode(_read(call, call.inputs["image"]))
    mask = np.zeros((1, *pixels.shape[:2]), np.float32)
    return NodeResult(((Picture.of(pixels),), mask))


def _read(call: NodeCall, annotated: str) -> bytes:
    path = call.workspace.folders.find(annotated)
    if path is None:
        raise FileNotFoundError(annotated)
    return path.read_bytes()


def save_latent(call: NodeCall) -> NodeResult:
    data = latent_bytes(call.inputs["samples"], graph_texts(call))
    prefix = call.inputs["filename_prefix"]
    saved = call.workspace.folders.save_next("output", prefix, ".latent", data)
    return NodeResult((call.inputs["samples"],), {"latents": [saved.as_json()]})


def save_image(call: NodeCall) -> NodeResult:
    return _saved(call, "output", call.inputs["filename_prefix"])


def preview_image(call: NodeCall) -> NodeResult:
    letters = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(5))
    return _saved(call, "temp", f"ComfyUI_temp_{letters}")


def _saved(call: NodeCall, folder_type: str, prefix: str) -> NodeResult:
    images = []
    for picture in call.inputs["images"]:
        call.check_interrupt()
        data = with_text(picture.png, graph_texts(call))
        images.append(call.workspace.folders.save_next(folder_type, prefix, ".png", data).as_json())
    return NodeResult((call.inputs["images"],), {"images": images})


def send_image(call: NodeCall) -> NodeResult:
    pictures: tuple[Picture, ...] = call.inputs["images"]
    for index, picture in enumerate(pictures):
        call.on_progress(index, len(pictures), picture.png)
    return NodeResult()


def graph_texts(call: NodeCall) -> dict[str, str]:
    """The graph and what was sent along with it, to be written into a file (ASCII only)."""
    extra: Any = call.extra_data.get("extra_pnginfo")
    texts = {"prompt": json.dumps(call.graph)}
    if isinstance(extra, dict):
        texts |= {key: json.dumps(value) for key, value in extra.items() if key.isascii() and key}
    return texts
