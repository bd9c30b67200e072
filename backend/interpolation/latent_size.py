"""A latent in another size: for walks on which the size of the pictures changes, and for quick decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backend.errors import LatentRejected

if TYPE_CHECKING:
    from torch import Tensor

_TINY = 1e-8
# Fewer cells across hold no picture; and some VAEs fail on them.
_LEAST_CELLS = 4


def resized(latent: Tensor, like: Tensor) -> Tensor:
    """Bring a latent to the height and width of another.

    What is averaged is the direction of each cell and, apart from it, its length: averaging the values
    themselves shortens them, which decodes to grey. Source: ComfyUI's "bislerp", here with normalised
    linear steps.

    Args:
        latent: Shape ``[B, C, h, w]`` or ``[B, C, 1, h, w]``.
        like: Same shape but for height and width.

    Returns:
        ``latent`` itself if its size is right; else a new tensor of ``like``'s size, and of the dtype and
        device of ``latent``.

    Raises:
        LatentRejected: If more than the size differs: a model with other latents.
    """
    import torch
    from torch.nn.functional import interpolate

    if latent.shape[:-2] != like.shape[:-2]:
        raise LatentRejected(
            f"no walk between latents of shape {tuple(latent.shape)} and {tuple(like.shape)}"
        )
    if latent.shape == like.shape:
        return latent
    flat = latent.to(torch.float32).reshape(*latent.shape[:2], *latent.shape[-2:])
    lengths = flat.norm(dim=1, keepdim=True)
    size = (int(like.shape[-2]), int(like.shape[-1]))
    directions = interpolate(flat / lengths.clamp_min(_TINY), size, mode="bilinear", antialias=True)
    directions = directions / directions.norm(dim=1, keepdim=True).clamp_min(_TINY)
    moved: Tensor = directions * interpolate(lengths, size, mode="bilinear", antialias=True)
    return moved.view(*latent.shape[:-2], *size).to(latent.dtype)


def shrunk(latents: Tensor, scale: float) -> Tensor:
    """Latents at a share of each side, rounded to whole cells; themselves at a scale of 1."""
    import torch

    rows, columns = (shrunk_cells(int(side), scale) for side in latents.shape[-2:])
    return resized(latents, torch.empty((*latents.shape[:-2], rows, columns), device="meta"))


def shrunk_cells(cells: int, scale: float) -> int:
    """How many cells of a side remain."""
    return cells if scale == 1.0 else min(cells, max(_LEAST_CELLS, round(cells * scale)))
