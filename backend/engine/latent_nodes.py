"""Nodes that change the size of latents, so that a dream can go on smaller or larger.

Names, ranges and defaults are ComfyUI's own, since clients read them.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from backend.engine.node_type import Input, JsonObject, NodeCall, NodeResult, NodeType, Output, link
from backend.engine.painting import LATENT_SCALE, Latent

_MIN_PX = 64
_TINY = 1e-8
_FILTERS = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "bislerp": Image.Resampling.BILINEAR,
}


def latent_nodes() -> list[NodeType]:
    """Nodes between latents and latents."""
    side: JsonObject = {"default": 512, "min": 0, "max": 16384, "step": 8}
    return [
        NodeType(
            "LatentUpscale",
            (
                link("samples", "LATENT"),
                Input("upscale_method", "COMBO", None, lambda _workspace: list(_FILTERS)),
                Input("width", "INT", side),
                Input("height", "INT", side),
                Input("crop", "COMBO", None, lambda _workspace: ["disabled", "center"]),
            ),
            (Output("LATENT"),),
            upscale,
            "latent",
            "Upscale Latent",
        )
    ]


def upscale(call: NodeCall) -> NodeResult:
    """To so many pixels; a side of 0 follows from the other one, and both of 0 change nothing."""
    latent: Latent = call.inputs["samples"]
    width, height = call.inputs["width"], call.inputs["height"]
    if width == height == 0:
        return NodeResult((latent,))
    rows, columns = latent.shape[-2:]
    width = max(_MIN_PX, width or round(columns * height / rows))
    height = max(_MIN_PX, height or round(rows * width / columns))
    size = (height // LATENT_SCALE, width // LATENT_SCALE)
    if call.inputs["crop"] == "center":
        latent = _cropped(latent, size)
    return NodeResult((resized(latent, size, call.inputs["upscale_method"]),))


def resized(latent: Latent, size: tuple[int, int], method: str) -> Latent:
    """A latent of ``size`` (height and width in cells).

    "bislerp" averages the directions of the cells and, apart from them, their lengths: averages of the values
    are shorter, which is grey.
    """
    if method != "bislerp":
        return _scaled(latent, size, method)
    length = np.linalg.norm(latent, axis=1, keepdims=True)
    direction = _scaled(latent / np.maximum(length, _TINY), size, method)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), _TINY)
    return direction * _scaled(length, size, method)


def _scaled(planes: Latent, size: tuple[int, int], method: str) -> Latent:
    flat = planes.astype(np.float32).reshape(-1, *planes.shape[-2:])
    scaled = [Image.fromarray(plane).resize(size[::-1], _FILTERS[method]) for plane in flat]
    return np.stack([np.asarray(plane, np.float32) for plane in scaled]).reshape(*planes.shape[:2], *size)


def _cropped(latent: Latent, size: tuple[int, int]) -> Latent:
    """The middle of it that has the shape of ``size``."""
    rows, columns = latent.shape[-2:]
    aspect = size[1] / size[0]
    x = round((columns - rows * aspect) / 2) if columns / rows > aspect else 0
    y = round((rows - columns / aspect) / 2) if columns / rows < aspect else 0
    return latent[..., y : rows - y, x : columns - x]
