"""Latents that stay in the server's memory between prompts, by the name of the file each was saved as."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# ComfyUI's LoadLatent divides by the SD 1.x scale when a file lacks the version marker.
_UNMARKED_SCALE = 1.0 / 0.18215
_MOST = 64
_MOST_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class _Kept:
    latent: Tensor
    path: Path
    stamp: tuple[int, int] | None


class LatentStore:
    """A bounded number of latents; those that were asked for longest ago go first. Thread-safe.

    A file is what counts where there is one: one that others have changed is read anew. A file that is gone,
    or was emptied because its latent is spent, leaves the latent as it was kept.

    Args:
        path_of: The file that a name stands for; raises ValueError where it leads out of its folder.
        most: Latents that are kept.
        most_bytes: What all of them together may take.
    """

    def __init__(
        self, path_of: Callable[[str], Path], *, most: int = _MOST, most_bytes: int = _MOST_BYTES
    ) -> None:
        self._path_of = path_of
        self._most = most
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        """What all of them take."""
        with self._lock:
            return sum(_bytes(one.latent) for one in self._kept.values())

    def keep(self, name: str, latent: Tensor) -> None:
        """Keep a latent that was just saved under this name; a copy in float32, on the CPU."""
        import torch

        path = self._path_of(name)
        copy = latent.detach().to(device="cpu", dtype=torch.float32, copy=True)
        self._put(name, _Kept(copy, path, _stamp(path)))

    def load(self, name: str) -> Tensor:
        """A latent of shape ``[B, C, h, w]`` or ``[B, C, frames, h, w]``, float32; not to be written to.

        Raises:
            ValueError: The name leads out of its folder, or the file is no latent.
            OSError: There is neither a latent in memory nor a file.
        """
        kept = self._fresh(name)
        if kept is None:
            path = self._path_of(name)
            stamp = _stamp(path)
            kept = _Kept(read_latent(path), path, stamp)
            self._put(name, kept)
        return kept.latent

    def stamp(self, name: str) -> str | None:
        """Differs whenever the latent does; None where it cannot be had."""
        try:
            kept = self._fresh(name)
            found = kept.stamp if kept is not None else _stamp(self._path_of(name))
        except ValueError:
            return None
        if kept is None and not _holds_something(found):
            return None
        return f"{name}:{found}"

    def _fresh(self, name: str) -> _Kept | None:
        with self._lock:
            kept = self._kept.get(name)
            if kept is None:
                return None
            stamp = _stamp(kept.path)
            if _holds_something(stamp) and stamp != kept.stamp:
                del self._kept[name]
                return None
            self._kept.move_to_end(name)
            return kept

    def _put(self, name: str, kept: _Kept) -> None:
        with self._lock:
            self._kept[name] = kept
            self._kept.move_to_end(name)
            size = sum(_bytes(one.latent) for one in self._kept.values())
            while len(self._kept) > self._most or (size > self._most_bytes and len(self._kept) > 1):
                _, gone = self._kept.popitem(last=False)
                size -= _bytes(gone.latent)


def read_latent(path: Path) -> Tensor:
    """The latent in a file, as ComfyUI's LoadLatent reads it.

    Raises:
        ValueError: It is no latent file.
        OSError: It cannot be read.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = path.read_bytes()
    try:
        tensors = load(data)
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path.name} is no latent file ({len(data)} bytes): {error}") from error
    if "latent_tensor" not in tensors:
        raise ValueError(f"{path.name} holds no latent")
    latent = tensors["latent_tensor"].to(torch.float32)
    return latent if "latent_format_version_0" in tensors else latent * _UNMARKED_SCALE


def write_latent(path: Path, latent: Tensor) -> None:
    """Save a latent as ComfyUI's SaveLatent does, float32; whole or not at all."""
    import torch
    from safetensors.torch import save

    tensor = latent.detach().to(device="cpu", dtype=torch.float32).contiguous()
    data = save({"latent_tensor": tensor, "latent_format_version_0": torch.tensor([])})
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_bytes(data)
    unfinished.replace(path)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of a file, None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _holds_something(stamp: tuple[int, int] | None) -> bool:
    return stamp is not None and stamp[0] > 0


def _bytes(latent: Tensor) -> int:
    return latent.numel() * latent.element_size()
