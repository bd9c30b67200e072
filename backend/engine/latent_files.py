"""Latents as files: safetensors, laid out as ComfyUI's SaveLatent writes them.

Keys: ``latent_tensor`` F32 ``[batch, 4, height / 8, width / 8]`` and the empty marker
``latent_format_version_0``, without which a file holds latents scaled by 0.18215.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from safetensors.numpy import load, save

from backend.engine.painting import LATENT_CHANNELS, Latent

_TENSOR = "latent_tensor"
_MARKER = "latent_format_version_0"
_SCALE_WITHOUT_MARKER = 1.0 / 0.18215


def latent_bytes(latent: Latent, metadata: Mapping[str, str] | None = None) -> bytes:
    """The file for a latent; ``metadata`` goes into its header."""
    tensors = {_TENSOR: np.ascontiguousarray(latent, dtype=np.float32), _MARKER: np.zeros(0, np.float32)}
    return save(tensors, dict(metadata) if metadata else None)


def parse_latent(data: bytes) -> Latent:
    """The latent in a file.

    Raises:
        SafetensorError: Not a safetensors file.
        KeyError: No latent in it.
        ValueError: Not ``[batch, 4, height, width]``.
    """
    tensors = load(data)
    latent = tensors[_TENSOR].astype(np.float32)
    if latent.ndim != 4 or latent.shape[1] != LATENT_CHANNELS or latent.size == 0:
        raise ValueError(f"a latent of shape {list(latent.shape)}, wished for is [batch, 4, height, width]")
    return latent if _MARKER in tensors else latent * np.float32(_SCALE_WITHOUT_MARKER)
