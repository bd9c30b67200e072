from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from backend.assembly import check_dream
from backend.config import load_settings
from backend.core.model_families import SD15
from backend.decoder_assembly import open_decoder
from backend.errors import ConfigError, JobFailed, Problem
from backend.interpolation.decoder import Anchor, Decoder, LatentBatch
from backend.interpolation.decoder_choice import decoder_told
from backend.interpolation.latent_encoder import LatentEncoder
from backend.interpolation.local_vae import Device, LocalVae
from backend.interpolation.spherical_lerp import slerp
from backend.interpolation.vae_file import read_vae_file
from backend.utils.picture_formats import Encoding, format_of, pixels_of
from tests.fakes.memory_engine import MemoryEngine
from tests.interpolation.sources import PROMPT
from tests.interpolation.weights import kl_weights, saved

GUARD_S = 60.0
T = (0.01, 0.5, 0.99)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def engine() -> MemoryEngine:
    memory = MemoryEngine()
    memory.connect()
    assert memory.facts is not None
    memory.facts = replace(memory.facts, family=SD15)
    return memory


@pytest.fixture
def vae(tmp_path: Path) -> Path:
    return saved(tmp_path / "vae.safetensors", kl_weights(widths=(32, 32, 32, 32), seed=1))


def settings(tmp_path: Path, interpolation: str, rest: str = "") -> Any:
    path = tmp_path / "config.yaml"
    path.write_text(f"interpolation: {{{interpolation}}}\n{rest}")
    return load_settings(path, {}).settings


def problems(tmp_path: Path, interpolation: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        check_dream(settings(tmp_path, interpolation))
    return caught.value.problems


def latent(seed: int, channels: int = 4) -> Tensor:
    return torch.randn(1, channels, 8, 12, generator=torch.Generator().manual_seed(seed))


def keyframe(vae: Path, of: Tensor) -> Anchor:
    file = read_vae_file(vae)
    pixels = LocalVae(file, Device("cpu", torch.float32)).decode(of, None)[0].numpy()
    return Anchor(of, Encoding("png").encode(pixels))


def walk(vae: Path) -> LatentBatch:
    start, end = latent(1), latent(2)
    return LatentBatch(
        slerp(start, end, torch.tensor(T))[:, 0], PROMPT, T, keyframe(vae, start), keyframe(vae, end)
    )


def decoded(decoder: Decoder, batch: LatentBatch) -> tuple[bytes, ...]:
    job, ended = decoder.decode(batch), threading.Event()
    job.add_done_callback(ended.set)
    assert ended.wait(GUARD_S)
    return job.pictures()


def psnr(picture: bytes, other: bytes) -> float:
    error = np.square(pixels_of(picture).astype(float) - pixels_of(other).astype(float)).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def test_by_default_the_engine_decodes_and_nothing_is_touched(
    tmp_path: Path, engine: MemoryEngine, stack: ExitStack
) -> None:
    assert isinstance(open_decoder(settings(tmp_path, ""), engine, stack), LatentEncoder)


def test_the_keyframes_own_vae_here_gives_the_keyframes_own_pictures(
    tmp_path: Path, engine: MemoryEngine, stack: ExitStack, vae: Path
) -> None:
    decoder = open_decoder(settings(tmp_path, f"decoder: local, device: cpu, vae: {vae}"), engine, stack)
    batch = walk(vae)
    pictures = decoded(decoder, batch)
    expected = keyframe(vae, batch.latents[1:2])
    assert psnr(pictures[1], expected.picture) > 45.0
    assert engine.sent == []
    assert decoder_told(decoder) == ("vae.safetensors", None)


def test_decoded_smaller_a_vae_of_another_model_is_found_out_too(
    tmp_path: Path, engine: MemoryEngine, stack: ExitStack, vae: Path
) -> None:
    other = saved(tmp_path / "other.safetensors", kl_weights(widths=(32, 32, 32, 32), seed=2))
    wish = f"decoder: local, device: cpu, scale: 0.5, vae: {other}"
    with pytest.raises(JobFailed, match="another model"):
        decoded(open_decoder(settings(tmp_path, wish), engine, stack), walk(vae))


def test_frames_come_in_the_format_of_the_display(
    tmp_path: Path, engine: MemoryEngine, stack: ExitStack, vae: Path
) -> None:
    wish = settings(tmp_path, f"decoder: local, device: cpu, vae: {vae}", "display: {format: webp}")
    assert {format_of(one) for one in decoded(open_decoder(wish, engine, stack), walk(vae))} == {"webp"}


def test_a_vae_of_another_model_is_found_out_at_the_first_keyframe_and_the_engine_goes_on(
    tmp_path: Path, engine: MemoryEngine, stack: ExitStack, vae: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = saved(tmp_path / "other.safetensors", kl_weights(widths=(32, 32, 32, 32), seed=2))
    decoder = open_decoder(settings(tmp_path, f"decoder: local, device: cpu, vae: {other}"), engine, stack)
    batch = walk(vae)
    with caplog.at_level(logging.WARNING), pytest.raises(JobFailed, match="another model"):
        decoded(decoder, batch)
    assert "other.safetensors is not used" in caplog.text
    decoder.decode(batch)
    assert len(engine.sent) == 1
    used, problem = decoder_told(decoder)
    assert used == "engine"
    assert problem is not None


@pytest.mark.parametrize(
    ("latents", "word"),
    [(latent(1, 16), "16 channels"), (latent(1).unsqueeze(2), "makes films")],
    ids=["16 channels", "films"],
)
def test_after_a_change_of_model_in_mid_dream_the_engine_decodes_and_the_vae_again_when_it_is_back(
    tmp_path: Path, engine: MemoryEngine, stack: ExitStack, vae: Path, latents: Tensor, word: str
) -> None:
    decoder = open_decoder(settings(tmp_path, f"decoder: local, device: cpu, vae: {vae}"), engine, stack)
    decoder.decode(LatentBatch(latents, PROMPT))
    assert len(engine.sent) == 1
    assert word in str(decoder_told(decoder)[1])
    decoded(decoder, walk(vae))
    assert len(engine.sent) == 1
    assert decoder_told(decoder)[1] is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_leaves_it_to_the_engine(
    tmp_path: Path, engine: MemoryEngine, stack: ExitStack, vae: Path
) -> None:
    decoder = open_decoder(settings(tmp_path, f"decoder: local, device: cuda, vae: {vae}"), engine, stack)
    job, ended = decoder.decode(walk(vae)), threading.Event()
    if not engine.sent:  # it was not known yet when the walk was sent
        job.add_done_callback(ended.set)
        assert ended.wait(GUARD_S)
        with pytest.raises(JobFailed, match="no cuda device"):
            job.pictures()
        decoder.decode(walk(vae))
    assert len(engine.sent) == 1
    assert "no cuda device" in str(decoder_told(decoder)[1])


def test_local_without_a_vae_is_refused_with_key_and_wish(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "decoder: local")
    assert problem.key == "interpolation.vae"
    assert "needs the .safetensors file" in problem.wish


def test_a_file_that_is_no_vae_is_refused_with_key_value_and_reason(tmp_path: Path) -> None:
    pickled = tmp_path / "vae.ckpt"
    pickled.write_bytes(b"cos\nsystem\n")
    (problem,) = problems(tmp_path, f"decoder: local, vae: {pickled}")
    assert (problem.key, problem.value) == ("interpolation.vae", str(pickled))
    assert "can run code" in problem.wish


@pytest.mark.parametrize(
    "wish", ["decoder: magic", "scale: 0.1", "scale: 2", "vae: nowhere.safetensors", "device: tpu"]
)
def test_what_there_is_not_is_refused_before_anything_starts(tmp_path: Path, wish: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, wish)
    assert caught.value.problems[0].key == f"interpolation.{wish.partition(':')[0]}"
