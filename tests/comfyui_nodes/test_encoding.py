from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from comfyui_nodes.encoding import FORMATS, Encoding


def frame(height: int = 24, width: int = 40) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([x, y, (x + y) / 2], dim=-1)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("format", FORMATS)
def test_a_frame_becomes_a_picture_of_that_format_and_size(format: str) -> None:
    image = opened(Encoding(format).encode(frame()))
    assert (image.format, image.size, image.mode) == (format.upper(), (40, 24), "RGB")


def test_png_has_the_very_pixels_of_comfyuis_own_node() -> None:
    beyond = frame() * 1.2 - 0.1
    expected = np.clip(255.0 * beyond.numpy(), 0, 255).astype(np.uint8)  # as SaveImageWebsocket does it
    np.testing.assert_array_equal(np.asarray(opened(Encoding("png").encode(beyond))), expected)


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_quality_is_heeded(format: str) -> None:
    noise = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0))
    assert len(Encoding(format, 30).encode(noise)) < len(Encoding(format, 95).encode(noise)) / 2


def test_jpeg_keeps_the_full_resolution_of_colours() -> None:
    image = opened(Encoding("jpeg").encode(frame()))
    assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def test_frames_of_any_precision_and_of_inference_mode_are_taken() -> None:
    with torch.inference_mode():
        made = frame().to(torch.float16) * 1.0
    assert opened(Encoding("jpeg").encode(made)).size == (40, 24)


def test_a_format_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="gif"):
        Encoding("gif")
