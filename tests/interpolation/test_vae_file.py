from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from backend.errors import DecoderUnfit
from backend.interpolation.vae_file import VaeKind, read_vae_file
from tests.interpolation.weights import as_diffusers_tiny, in_checkpoint, kl_weights, saved, tiny_weights

FILE = "vae.safetensors"


def refusal(path: Path) -> str:
    with pytest.raises(DecoderUnfit) as caught:
        read_vae_file(path)
    return str(caught.value)


@pytest.mark.parametrize("prefix", ["", "first_stage_model.", "vae."])
@pytest.mark.parametrize("channels", [4, 16])
def test_an_autoencoder_is_found_bare_and_in_checkpoints(tmp_path: Path, prefix: str, channels: int) -> None:
    weights = kl_weights(channels)
    found = read_vae_file(saved(tmp_path / FILE, in_checkpoint(weights, prefix)))
    assert (found.kind, found.channels) == (VaeKind.KL, channels)
    expected = {name.removeprefix("decoder.") for name in weights}
    assert set(found.tensors) == set(found.shapes) == expected


@pytest.mark.parametrize("prefix", ["", "decoder.", "taesd_decoder.", "first_stage_model.taesd_decoder."])
@pytest.mark.parametrize("channels", [4, 16])
def test_a_tiny_autoencoder_is_found_by_its_authors_numbers(
    tmp_path: Path, prefix: str, channels: int
) -> None:
    weights = {f"{prefix}{name}": weight for name, weight in tiny_weights(channels).items()}
    found = read_vae_file(saved(tmp_path / FILE, weights))
    assert (found.kind, found.channels) == (VaeKind.TINY, channels)
    assert set(found.tensors) == set(tiny_weights())


def test_a_tiny_autoencoder_of_diffusers_is_the_same_one_further_on(tmp_path: Path) -> None:
    found = read_vae_file(saved(tmp_path / FILE, as_diffusers_tiny(tiny_weights())))
    assert found.kind is VaeKind.TINY
    assert found.tensors["1.weight"] == "decoder.layers.0.weight"
    assert set(found.tensors) == set(tiny_weights())


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ""])
def test_what_could_run_code_is_never_opened(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"vae{suffix}"
    path.write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    assert "can run code and are never opened" in refusal(path)


def header(told: object) -> bytes:
    words = json.dumps(told).encode()
    return len(words).to_bytes(8, "little") + words


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "no safetensors file"),
        (b"garbage", "no safetensors file"),
        (b"\xff" * 64, "cut off"),
        ((40).to_bytes(8, "little") + b"{", "cut off"),
        ((4).to_bytes(8, "little") + b"{{{{", "no safetensors file"),
        (header([1, 2]), "no JSON object"),
        (header({}), "no VAE that is known"),
        (header({"a": 1, "b": {"shape": "no"}, "c": {"shape": [1.5]}}), "no VAE that is known"),
        (save({"lora_unet.up.weight": torch.zeros(4, 4)}), "no VAE that is known"),
        (save({"0.weight": torch.zeros(8, 3, 3, 3)}), "seems to be an encoder"),
        (save({"encoder.conv_in.weight": torch.zeros(8, 3, 3, 3)}), "seems to be an encoder"),
        (save({"decoder.conv1.weight": torch.zeros(4, 4, 3, 3, 3)}), "makes films"),
        (save({"model.diffusion_model.out.weight": torch.zeros(4)}), "seems to be a diffusion model"),
    ],
    ids=[
        "empty", "garbage", "huge length", "cut off", "no JSON", "a list", "nothing", "odd entries", "a LoRA",
        "a tiny encoder", "an encoder", "a film VAE", "a diffusion model",
    ],
)  # fmt: skip
def test_what_holds_no_decoder_is_refused_by_name(tmp_path: Path, data: bytes, word: str) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(data)
    assert word in refusal(path)
    assert "odd.safetensors" in refusal(path)


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / FILE)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=200), length=st.integers(0, 2**63))
def test_no_bytes_whatever_do_more_than_to_be_refused(tmp_path: Path, data: bytes, length: int) -> None:
    path = tmp_path / FILE
    for start in (b"", length.to_bytes(8, "little"), len(data).to_bytes(8, "little")):
        path.write_bytes(start + data)
        refusal(path)
