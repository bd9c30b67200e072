"""Latents in a graph: how they are loaded, saved and walked through, with stock nodes or with our own."""

from __future__ import annotations

from dataclasses import dataclass

from backend.core.handles import GraphNodes, LatentHandle, VaeHandle, WalkHandle
from backend.core.jobs import FileRef
from backend.core.node_pack import FRAMES, KEEP, LATENTS, VERSION, WALK


@dataclass(frozen=True)
class FrameFormat:
    """How our own nodes encode the frames that they stream.

    Attributes:
        format: ``jpeg``, ``webp`` or ``png``.
        quality: 1 to 100, for those that lose something.
    """

    format: str = "jpeg"
    quality: int = 95


STREAMED = ("jpeg", "webp", "png")
"""What they can encode."""

AS_JPEG = FrameFormat()
"""Quick, small, and hardly to be told from what was encoded."""


@dataclass(frozen=True)
class WalkFrames:
    """The frames of a walk that the server computes by itself, one by one; needs our own nodes.

    Attributes:
        latents: Files on the server with the latents of the walk's keyframes, one or several each.
        course: How it leads through them, as ``Course.text`` says it.
        places: Where on it frames are wanted, 0 to 1.
        prompt: That of the keyframes, to keep the cache warm, like ``negative``.
    """

    latents: tuple[FileRef, ...]
    course: str
    places: tuple[float, ...]
    prompt: str
    negative: str


def load_latent(nodes: GraphNodes, latent: FileRef, *, pack: bool) -> LatentHandle:
    """A latent from a file on the server; from its memory where our own nodes keep it there."""
    if pack:
        return LatentHandle(nodes.add(LATENTS, names=latent.annotated))
    return LatentHandle(nodes.add("LoadLatent", latent=latent.annotated))


def save_latent(nodes: GraphNodes, latent: LatentHandle, prefix: str, *, pack: bool) -> str:
    """Saves a latent under a name that begins so; our own nodes keep it in the server's memory, too."""
    return nodes.add(KEEP if pack else "SaveLatent", samples=latent, filename_prefix=prefix)


def stream_frames(nodes: GraphNodes, walk: WalkFrames, vae: VaeHandle, how: FrameFormat) -> str:
    """Walks, decodes, and sends each frame as soon as it is there."""
    names = "\n".join(latent.annotated for latent in walk.latents)
    laid_out = WalkHandle(
        nodes.add(
            WALK,
            samples=LatentHandle(nodes.add(LATENTS, names=names)),
            course=walk.course,
            places=", ".join(map(repr, walk.places)),
        )
    )
    return nodes.add(
        FRAMES,
        walk=laid_out,
        vae=vae,
        format=how.format,
        quality=how.quality,
        chunk=0,
        tile=vae.tiles.tile_px if vae.tiles else 0,
        overlap=vae.tiles.overlap_px if vae.tiles else 0,
        frames="",
        to="socket",
        pack=VERSION,
    )
