"""The tiled way between latents and pixels: pictures of any size in the memory of one tile.

Names, ranges, defaults and tooltips are ComfyUI's own, since clients read them. No tile shows, so ``overlap``
has nothing to do.
"""

from __future__ import annotations

from backend.engine.dialect import Dialect
from backend.engine.node_type import Input, JsonObject, NodeCall, NodeResult, NodeType, Output, link, tip
from backend.engine.node_work import encode_pixels
from backend.engine.pictures import encode_all
from backend.engine.tiling import paint_tiled


def tiled_nodes(dialect: Dialect) -> list[NodeType]:
    """Decoding and encoding by tiles."""
    return [_decoder(dialect), _encoder(dialect)]


def _decoder(dialect: Dialect) -> NodeType:
    links = (link("samples", "LATENT"), link("vae", "VAE"))
    return NodeType(
        "VAEDecodeTiled",
        (*links, *_dials(dialect, tile_step=32, verb="decode")),
        (Output("IMAGE"),),
        decode_tiled,
        "_for_testing",
        "VAE Decode (Tiled)",
    )


def _encoder(dialect: Dialect) -> NodeType:
    links = (link("pixels", "IMAGE"), link("vae", "VAE"))
    return NodeType(
        "VAEEncodeTiled",
        (*links, *_dials(dialect, tile_step=64, verb="encode")),
        (Output("LATENT"),),
        encode_pixels,  # The painter looks at a picture in bands, whatever its size.
        "_for_testing",
        "VAE Encode (Tiled)",
    )


def _dials(dialect: Dialect, *, tile_step: int, verb: str) -> tuple[Input, ...]:
    last: JsonObject = {"advanced": True} if dialect is Dialect.B else {}
    tile: JsonObject = {"default": 512, "min": 64, "max": 4096, "step": tile_step}
    overlap: JsonObject = {"default": 64, "min": 0, "max": 4096, "step": 32}
    frames: JsonObject = {"default": 64, "min": 8, "max": 4096, "step": 4}
    shared: JsonObject = {"default": 8, "min": 4, "max": 4096, "step": 4}
    video = "Only used for video VAEs: Amount of frames to {}."
    return (
        Input("tile_size", "INT", tile | last),
        Input("overlap", "INT", overlap | last),
        Input("temporal_size", "INT", frames | tip(video.format(f"{verb} at a time")) | last),
        Input("temporal_overlap", "INT", shared | tip(video.format("overlap")) | last),
    )


def decode_tiled(call: NodeCall) -> NodeResult:
    tile_px = call.inputs["tile_size"]
    painted = paint_tiled(call.workspace.painter, call.inputs["samples"], tile_px, call.on_progress)
    return NodeResult((encode_all(painted),))
