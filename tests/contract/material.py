"""What the graphs of the contract tests work on: pictures, masks and latents, uploaded; models by name."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load, save

from backend.core.comfyui_api import ComfyUIClient, FileRef
from backend.core.model_choice import Models
from backend.core.model_family import ModelFamily
from tests.contract.conftest import SIZE_PX, Server

MISSING = "no-such-model.safetensors"
"""No server has it, so that whatever loads it is refused, for this reason or for another one."""


@dataclass(frozen=True)
class Material:
    """Files on the server, of the size that the tests dream in."""

    picture: FileRef
    mask: FileRef
    latent: FileRef


def upload_material(server: Server, client: ComfyUIClient, channels: int = 4, cell_px: int = 8) -> Material:
    rng = np.random.default_rng(server.seed())
    noise = rng.integers(0, 255, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    half = np.zeros_like(noise)
    half[:, SIZE_PX // 2 :] = 255
    cells = SIZE_PX // cell_px
    latent = rng.normal(size=(1, channels, cells, cells)).astype(np.float32)
    return Material(
        client.upload(png(noise), server.name("png")),
        client.upload(png(half), server.name("png")),
        client.upload(latent_file(latent), server.name("latent")),
    )


def models_without_files(family: ModelFamily) -> Models:
    """As the family is loaded where it is no checkpoint; else a checkpoint. None of the files is there."""
    if family.parts is None:
        return Models(family, checkpoint=MISSING)
    encoders = (MISSING,) * len(family.parts.encoders)
    return Models(family, diffusion_model=MISSING, text_encoders=encoders, vae=MISSING)


def checkpoint_without_file(family: ModelFamily) -> Models:
    return Models(family, checkpoint=MISSING)


def png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pixels(data: bytes) -> NDArray[np.int64]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(np.int64)


def latent_file(*latents: NDArray[np.float32]) -> bytes:
    batch = np.ascontiguousarray(np.concatenate(latents))
    return save({"latent_tensor": batch, "latent_format_version_0": np.zeros(0, np.float32)})


def latent_of(data: bytes) -> NDArray[np.float32]:
    tensor: NDArray[np.float32] = load(data)["latent_tensor"]
    return tensor
