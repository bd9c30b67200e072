"""The nodes: thin, so that what they do can be tested without a server."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from . import host
from .delivery import FolderDelivery, SocketDelivery
from .encoding import FORMATS, Encoding
from .latent_store import LatentStore, write_latent
from .messages import numbers
from .pipe import Delivery, FramePipe
from .stopwatch import Stopwatch
from .version import OLDEST, VERSION
from .walk import Ahead, Walk, places_of

if TYPE_CHECKING:
    from torch import Tensor

STORE = LatentStore(host.path_of)

_RUN = secrets.token_hex(4)
"""Tells this run's files from an earlier run's: a name must never come to mean another latent."""

_saves = itertools.count(1)

# Decoded pixels that are in memory at a time, at 12 bytes each.
_PIXELS_AT_ONCE = 4 * 2**20
_MOST_AT_ONCE = 16
_MOST_THREADS = 4


class KeepLatent:
    """Saves a latent as SaveLatent does, and keeps it in memory under the file's name."""

    CATEGORY = "dreamloop"
    DESCRIPTION = "Saves a latent and keeps it at hand for the prompts to come."
    RETURN_TYPES = ()
    FUNCTION = "keep"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "samples": ("LATENT",),
                "filename_prefix": ("STRING", {"default": "dreamloop/latent"}),
            }
        }

    def keep(self, samples: dict[str, Any], filename_prefix: str) -> dict[str, Any]:
        root = host.folder_of("output")
        path = host.inside(root, f"{filename_prefix}_{next(_saves):05}_{_RUN}.latent")
        write_latent(path, samples["samples"])
        subfolder = path.parent.relative_to(root).as_posix()
        subfolder = "" if subfolder == "." else subfolder
        STORE.keep(f"{path.relative_to(root).as_posix()} [output]", samples["samples"])
        saved = {"filename": path.name, "subfolder": subfolder, "type": "output"}
        return {"ui": {"latents": [saved]}}


class Latents:
    """Latents by the names of their files, one a line, as one batch; from memory where they are there."""

    CATEGORY = "dreamloop"
    DESCRIPTION = "Latents by name, one a line (sub/name.latent [output]), as a batch."
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"names": ("STRING", {"multiline": True, "default": ""})}}

    def load(self, names: str) -> tuple[dict[str, Any]]:
        import torch

        loaded = [STORE.load(name) for name in _lines(names)]
        if len({latent.shape[1:] for latent in loaded}) > 1:
            shapes = ", ".join(str(list(latent.shape)) for latent in loaded)
            raise ValueError(f"latents of different shapes make no batch: {shapes}")
        return ({"samples": torch.cat(loaded)},)

    @classmethod
    def VALIDATE_INPUTS(cls, names: str) -> bool | str:
        lines = _lines(names)
        if not lines:
            return "names is empty"
        missing = [name for name in lines if STORE.stamp(name) is None]
        return f"Invalid latent file: {missing[0]}" if missing else True

    @classmethod
    def IS_CHANGED(cls, names: str) -> str:
        return "\n".join(str(STORE.stamp(name)) for name in _lines(names))


class WalkLatents:
    """A walk among the latents of a batch; nothing is computed until its frames are wanted."""

    CATEGORY = "dreamloop"
    DESCRIPTION = "A walk among the latents of a batch: course tells its way, places where frames are wanted."
    RETURN_TYPES = ("DREAMLOOP_WALK",)
    RETURN_NAMES = ("walk",)
    FUNCTION = "lay_out"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "samples": ("LATENT",),
                "course": ("STRING", {"default": '{"path": "slerp", "start": {"at": 0}, "end": {"at": 1}}'}),
                "places": ("STRING", {"multiline": True, "default": "0.25, 0.5, 0.75"}),
            }
        }

    def lay_out(self, samples: dict[str, Any], course: str, places: str) -> tuple[Walk]:
        return (Walk.read(samples["samples"], course, places_of(places)),)


class Frames:
    """Decodes a walk piece by piece; its frames go to the client as they come, encoded on other threads."""

    CATEGORY = "dreamloop"
    DESCRIPTION = "Decodes a walk and streams its frames to the client, numbered, as soon as they are there."
    RETURN_TYPES = ()
    FUNCTION = "stream"
    OUTPUT_NODE = True
    WHERE: ClassVar[Sequence[str]] = ("socket", "temp")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "walk": ("DREAMLOOP_WALK",),
                "vae": ("VAE",),
                "format": (list(FORMATS),),
                "quality": ("INT", {"default": 95, "min": 1, "max": 100}),
                "chunk": (
                    "INT",
                    {"default": 0, "min": 0, "max": 512, "tooltip": "frames at a time; 0: by size"},
                ),
                "tile": (
                    "INT",
                    {"default": 0, "min": 0, "max": 4096, "tooltip": "pixels; 0: whole pictures"},
                ),
                "overlap": ("INT", {"default": 64, "min": 0, "max": 4096}),
                "frames": ("STRING", {"default": "", "tooltip": "which, like 0-3, 7; empty: all"}),
                "to": (list(cls.WHERE),),
                "pack": ("INT", {"default": VERSION, "min": OLDEST, "max": VERSION}),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def stream(
        self,
        walk: Walk,
        vae: Any,
        format: str,
        quality: int,
        chunk: int,
        tile: int,
        overlap: int,
        frames: str,
        to: str,
        pack: int,
        unique_id: str = "",
    ) -> dict[str, Any]:
        encoding, chosen = Encoding(format, quality), numbers(frames, len(walk))
        server = host.ComfyHost()
        delivery = _delivery(server, to, encoding, str(unique_id), len(walk))
        told, decoding = server.progress(len(chosen)), Stopwatch()
        check = server.check_interrupt
        # Plain pictures bear no number: their order is all that tells them apart.
        threads = _threads() if to == "temp" or server.names_pictures else 1
        with FramePipe(encoding.encode, delivery, check=check, threads=threads) as pipe:
            pieces = _Pieces(chosen, chunk, one_by_one=host.is_on_cpu(vae))
            ahead = Ahead(walk, chosen)
            for done, piece in pieces:
                check()
                if not pipe.wanted:
                    break
                latents = ahead.take(len(piece))
                with decoding:
                    pictures = host.decode(vae, latents, tile, overlap)
                pieces.saw(pictures)
                for frame, pixels in zip(piece, pictures, strict=True):
                    pipe.put(frame, pixels)
                told(done + len(piece))
        facts = {
            "frames": len(chosen),
            "delivered": pipe.delivered,
            "bytes": pipe.bytes,
            "decode_s": decoding.seconds,
            "encode_s": pipe.encode_s,
        }
        files = delivery.saved if isinstance(delivery, FolderDelivery) else ()
        return {"ui": {"images": [one.as_json() for one in files], "dreamloop": [facts]}}

    @classmethod
    def IS_CHANGED(cls, **_: object) -> float:
        return float("nan")  # unlike itself: whoever posts it wants the frames, again if need be


class _Pieces:
    """The frames in the pieces in which they are decoded: one alone, which tells the size, then several."""

    def __init__(self, chosen: Sequence[int], chunk: int, *, one_by_one: bool) -> None:
        self._chosen = chosen
        self._size = chunk or 1
        self._fixed = bool(chunk) or one_by_one

    def saw(self, pictures: Tensor) -> None:
        """What was decoded, by whose size the next piece is measured."""
        if not self._fixed:
            pixels = pictures.shape[1] * pictures.shape[2]
            self._size = min(_MOST_AT_ONCE, max(1, _PIXELS_AT_ONCE // pixels))

    def __iter__(self) -> Iterator[tuple[int, Sequence[int]]]:
        done = 0
        while done < len(self._chosen):
            piece = self._chosen[done : done + self._size]
            yield done, piece
            done += len(piece)


def _delivery(server: host.ComfyHost, to: str, encoding: Encoding, node_id: str, frames: int) -> Delivery:
    origin = server.origin(node_id)
    if to == "temp":
        return FolderDelivery(host.folder_of("temp"), origin, encoding)
    if server.client_id is None:
        raise ValueError("frames go to the client that posted the prompt, and it named none (client_id)")
    return SocketDelivery(server, origin, encoding, frames, named=server.names_pictures)


def _threads() -> int:
    """Half of the machine: the other half drives the decoding."""
    return max(1, min(_MOST_THREADS, (os.cpu_count() or 2) // 2))


def _lines(names: str) -> list[str]:
    return [line.strip() for line in names.splitlines() if line.strip()]


NODE_CLASS_MAPPINGS = {
    "DreamloopKeepLatent": KeepLatent,
    "DreamloopLatents": Latents,
    "DreamloopWalk": WalkLatents,
    "DreamloopFrames": Frames,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "DreamloopKeepLatent": "Keep Latent (Dreamloop)",
    "DreamloopLatents": "Latents by Name (Dreamloop)",
    "DreamloopWalk": "Walk (Dreamloop)",
    "DreamloopFrames": "Stream Frames (Dreamloop)",
}
