"""The one place that knows ComfyUI: whose prompt runs, how its client is reached, where files lie."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import TimeoutError as NotInTime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .messages import Origin

if TYPE_CHECKING:
    from torch import Tensor

# A client that takes nothing for so long is as good as gone.
_SEND_S = 20.0


class ComfyHost:
    """The server that runs these nodes, while it runs one of them."""

    def __init__(self) -> None:
        from server import PromptServer

        self._server: Any = PromptServer.instance
        self.client_id: str | None = self._server.client_id
        """Whose prompt it is; None where it was posted without one."""

    @property
    def connected(self) -> bool:
        """Whether the client's socket is open."""
        return self.client_id is not None and self.client_id in self._server.sockets

    @property
    def names_pictures(self) -> bool:
        """Whether the client asked to be told whose pictures it gets."""
        told = getattr(self._server, "sockets_metadata", {}).get(self.client_id) or {}
        return (told.get("feature_flags") or {}).get("supports_preview_metadata") is True

    def origin(self, node_id: str) -> Origin:
        """The prompt and the node that run."""
        from comfy_execution.utils import get_executing_context

        context = get_executing_context()
        prompt_id = self._server.last_prompt_id if context is None else context.prompt_id
        return Origin(str(prompt_id), str(node_id))

    def send(self, event: int, payload: bytes) -> bool:
        """Send a binary message to the client and to nobody else; False where it is gone or takes nothing.

        Returns once it is written, so that whoever sends is no quicker than the socket. May be called by any
        thread but the server's own.
        """
        if not self.connected:
            return False
        sent = asyncio.run_coroutine_threadsafe(
            self._server.send_bytes(event, payload, self.client_id), self._server.loop
        )
        try:
            sent.result(_SEND_S)
        except NotInTime:
            sent.cancel()
            return False
        return self.connected

    @staticmethod
    def check_interrupt() -> None:
        """Raises ComfyUI's own exception if somebody asked for it."""
        from comfy.model_management import throw_exception_if_processing_interrupted

        throw_exception_if_processing_interrupted()

    @staticmethod
    def progress(total: int) -> Callable[[int], object]:
        """Tells the client how many of ``total`` are done."""
        from comfy.utils import ProgressBar

        tell: Callable[[int], object] = ProgressBar(total).update_absolute
        return tell


def folder_of(kind: str) -> Path:
    """``input``, ``output`` or ``temp``."""
    import folder_paths

    folder: str | None = folder_paths.get_directory_by_type(kind)
    if folder is None:
        raise ValueError(f"there is no folder {kind!r}")
    return Path(folder).resolve()


def path_of(name: str) -> Path:
    """The file that ``sub/name.latent [output]`` stands for, which need not be there.

    Raises:
        ValueError: It would lie outside its folder.
    """
    import folder_paths

    bare, base = folder_paths.annotated_filepath(name)
    return inside(Path(base or folder_paths.get_input_directory()), bare.strip())


def inside(folder: Path, name: str) -> Path:
    """The file of that name below a folder.

    Raises:
        ValueError: It would lie outside.
    """
    root = folder.resolve()
    if "\0" in name or Path(name).is_absolute():
        raise ValueError(f"{name!r} is not a file name below {root.name}")
    path = (root / name).resolve()
    if path == root or not path.is_relative_to(root):
        raise ValueError(f"{name!r} leads out of the {root.name} folder")
    return path


def decode(vae: Any, latents: Tensor, tile_px: int, overlap_px: int) -> Tensor:
    """Frames of shape ``[N, height, width, 3]``, 0 to 1; in tiles where ``tile_px`` is not 0."""
    if tile_px:
        cell_px = vae.spacial_compression_decode()
        tile, overlap = max(1, tile_px // cell_px), min(overlap_px, tile_px // 4) // cell_px
        frames: Tensor = vae.decode_tiled(latents, tile_x=tile, tile_y=tile, overlap=overlap)
    else:
        frames = vae.decode(latents)
    return frames.reshape(-1, *frames.shape[-3:])


def is_on_cpu(vae: Any) -> bool:
    """Whether the VAE computes on the CPU, where batches are no quicker than one after the other."""
    return str(getattr(vae, "device", "")).startswith("cpu")
