"""All nodes that the engine has: those around the model, and here those that load, make and save.

Names, ranges, defaults and tooltips are ComfyUI's own, since clients read them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from backend.engine import node_work as work
from backend.engine.dialect import Dialect
from backend.engine.latent_nodes import latent_nodes
from backend.engine.model_nodes import model_nodes
from backend.engine.node_type import Input, JsonObject, NodeType, Output, Workspace, link, tip
from backend.engine.prompt_nodes import prompt_nodes
from backend.engine.tiled_nodes import tiled_nodes

CHECKPOINT = "dreamloop-painter.safetensors"

_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tiff")


def stock_nodes(dialect: Dialect) -> dict[str, NodeType]:
    """All nodes by class name."""
    nodes = [
        *model_nodes(dialect),
        *prompt_nodes(),
        *tiled_nodes(dialect),
        *latent_nodes(),
        _load_latent(),
        _load_image(),
        _empty_latent(),
        _latent_from_batch(dialect),
        _save_latent(dialect),
        _save_image(dialect),
        _preview_image(dialect),
        _send_image(),
    ]
    return {node.name: node for node in nodes}


def _load_latent() -> NodeType:
    return NodeType(
        "LoadLatent",
        (Input("latent", "COMBO", None, _files(".latent")),),
        (Output("LATENT"),),
        work.load_latent,
        "_for_testing",
        check={"latent": _file_check("latent")},
        changed=_file_hash("latent"),
    )


def _load_image() -> NodeType:
    return NodeType(
        "LoadImage",
        (Input("image", "COMBO", {"image_upload": True}, _files(*_PICTURE_SUFFIXES)),),
        (Output("IMAGE"), Output("MASK")),
        work.load_image,
        "image",
        "Load Image",
        check={"image": _file_check("image")},
        changed=_file_hash("image"),
    )


def _files(*suffixes: str) -> Callable[[Workspace], list[str]]:
    return lambda workspace: [
        name for name in workspace.folders.listing("input") if name.lower().endswith(suffixes)
    ]


def _file_check(what: str) -> Callable[[Workspace, Any], str | None]:
    def check(workspace: Workspace, value: Any) -> str | None:
        return None if workspace.folders.find(str(value)) else f"Invalid {what} file: {value}"

    return check


def _file_hash(input_name: str) -> Callable[[Workspace, Mapping[str, Any]], Any]:
    def changed(workspace: Workspace, inputs: Mapping[str, Any]) -> str | None:
        path = workspace.folders.find(str(inputs.get(input_name, "")))
        return hashlib.sha256(path.read_bytes()).hexdigest() if path else None

    return changed


def _empty_latent() -> NodeType:
    size: JsonObject = {"default": 512, "min": 16, "max": 16384, "step": 8}
    batch: JsonObject = {"default": 1, "min": 1, "max": 4096}
    return NodeType(
        "EmptyLatentImage",
        (
            Input("width", "INT", size | tip("The width of the latent images in pixels.")),
            Input("height", "INT", size | tip("The height of the latent images in pixels.")),
            Input("batch_size", "INT", batch | tip("The number of latent images in the batch.")),
        ),
        (Output("LATENT", tooltip="The empty latent image batch."),),
        work.empty_latent,
        "latent",
        "Empty Latent Image",
        "Create a new batch of empty latent images to be denoised via sampling.",
    )


def _latent_from_batch(dialect: Dialect) -> NodeType:
    first = {"min": -16384, "max": 16384} if dialect is Dialect.B else {"min": 0, "max": 63}
    return NodeType(
        "LatentFromBatch",
        (
            link("samples", "LATENT"),
            Input("batch_index", "INT", {"default": 0} | first),
            Input("length", "INT", {"default": 1, "min": 1, "max": 64}),
        ),
        (Output("LATENT"),),
        work.latent_from_batch,
        "latent/batch",
        "Latent From Batch",
    )


def _passed_on(dialect: Dialect, kind: str, name: str) -> tuple[Output, ...]:
    """Saving nodes hand on what they saved, in the newer dialect."""
    return (Output(kind, name),) if dialect is Dialect.B else ()


def _save_latent(dialect: Dialect) -> NodeType:
    return NodeType(
        "SaveLatent",
        (link("samples", "LATENT"), Input("filename_prefix", "STRING", {"default": "latents/ComfyUI"})),
        _passed_on(dialect, "LATENT", "samples"),
        work.save_latent,
        "_for_testing",
        is_output=True,
        writes_graph=True,
    )


def _save_image(dialect: Dialect) -> NodeType:
    prefix_tip = tip(
        "The prefix for the file to save. This may include formatting information such as %date:yyyy-MM-dd% "
        "or %Empty Latent Image.width% to include values from nodes."
    )
    return NodeType(
        "SaveImage",
        (
            link("images", "IMAGE", "The images to save."),
            Input("filename_prefix", "STRING", {"default": "ComfyUI"} | prefix_tip),
        ),
        _passed_on(dialect, "IMAGE", "images"),
        work.save_image,
        "image",
        "Save Image",
        "Saves the input images to your ComfyUI output directory.",
        is_output=True,
        writes_graph=True,
    )


def _preview_image(dialect: Dialect) -> NodeType:
    return NodeType(
        "PreviewImage",
        (link("images", "IMAGE"),),
        _passed_on(dialect, "IMAGE", "images"),
        work.preview_image,
        "image",
        "Preview Image",
        "Saves the input images to your ComfyUI output directory.",
        is_output=True,
        writes_graph=True,
    )


def _send_image() -> NodeType:
    return NodeType(
        "SaveImageWebsocket",
        (link("images", "IMAGE"),),
        (),
        work.send_image,
        "api/image",
        module="custom_nodes.websocket_image_save",
        is_output=True,
        # Never cached: whoever posts it wants to have the pictures, again if need be.
        changed=lambda _workspace, _inputs: time.monotonic_ns(),
    )
