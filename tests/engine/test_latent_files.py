from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from backend.engine.latent_files import latent_bytes, parse_latent

RECORDED = (Path(__file__).resolve().parents[1] / "data" / "engine" / "savelatent.latent").read_bytes()


def header(data: bytes) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return parsed


def test_a_file_of_a_real_server_is_read() -> None:
    latent = parse_latent(RECORDED)
    assert latent.shape == (1, 4, 16, 16)
    assert latent.dtype == np.float32
    assert np.isfinite(latent).all()


def test_a_file_is_written_as_a_real_server_does() -> None:
    real = header(RECORDED)
    metadata = real.pop("__metadata__")
    assert isinstance(metadata, dict)
    ours = header(latent_bytes(parse_latent(RECORDED), metadata))
    assert ours.pop("__metadata__") == metadata
    assert ours == real


def test_half_precision_is_accepted() -> None:
    tensors = {
        "latent_tensor": np.ones((1, 4, 2, 2), np.float16),
        "latent_format_version_0": np.zeros(0, "f4"),
    }
    assert parse_latent(save(tensors)).dtype == np.float32


def test_without_the_marker_latents_are_scaled() -> None:
    latent = parse_latent(save({"latent_tensor": np.full((1, 4, 2, 2), 0.18215, np.float32)}))
    assert latent == pytest.approx(np.ones((1, 4, 2, 2)))
