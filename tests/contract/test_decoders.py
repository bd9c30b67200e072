"""In-betweens decoded otherwise than the keyframes, on each server: they meet them, or the engine does it."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.assembly import open_engine
from backend.config import load_settings
from backend.core.engine import Engine
from backend.core.generator import DreamGenerator
from backend.decoder_assembly import open_decoder
from backend.errors import JobFailed
from backend.interpolation.decoder import Anchor, Decoder, LatentBatch
from backend.interpolation.decoder_choice import decoder_told
from backend.interpolation.spherical_lerp import slerp
from backend.utils.picture_formats import format_of, pixels_of, size_of
from backend.utils.prompt_manager import Prompt
from tests.contract.conftest import GUARD_S

pytestmark = pytest.mark.contract

SIZE = (128, 64)
T = (0.0, 0.5, 1.0)
PROMPT = Prompt("sea", "a quiet sea", "noise")
REAL_ONLY = "needs a real ComfyUI with a small VAE: --comfyui-url"


@dataclass
class Gap:
    """Two keyframes of one server, and who decodes what is between them."""

    engine: Engine
    decoder: Decoder
    batch: LatentBatch

    def decoded(self) -> tuple[bytes, ...]:
        job, ended = self.decoder.decode(self.batch), threading.Event()
        job.add_done_callback(ended.set)
        assert ended.wait(GUARD_S)
        return job.pictures()

    def decoded_at_last(self) -> tuple[bytes, ...]:
        """As the loop does it: what one decoder shows that it cannot is sent again, to the next."""
        try:
            return self.decoded()
        except JobFailed as error:
            assert "another model" in str(error)  # noqa: PT017 - what it says is the point
            return self.decoded()


def psnr(picture: bytes, other: bytes) -> float:
    error = np.square(pixels_of(picture).astype(float) - pixels_of(other).astype(float)).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def gap(folder: Path, url: str, stack: ExitStack, interpolation: str = "", display: str = "") -> Gap:
    path = folder / "config.yaml"
    path.write_text(
        f"comfyui: {{url: '{url}'}}\ndream: {{size: {SIZE[0]}x{SIZE[1]}, steps: 1}}\n"
        "storage: {output: out, status: status}\n"
        f"interpolation: {{{interpolation}}}\ndisplay: {{{display}}}\n"
    )
    settings = load_settings(path, {}).settings
    engine, _ = open_engine(settings, stack)
    engine.client.start()
    stack.callback(engine.client.close)
    engine.connect()
    generator = DreamGenerator(
        engine, mode="hybrid", denoise=0.45, size=SIZE, max_pixels=10**6, rng=random.Random(1)
    )
    made = []
    for _ in range(2):
        pending = generator.request(PROMPT, made[-1] if made else None)
        pending.job.result(GUARD_S)
        made.append(generator.collect(pending))
    start, end = (Anchor(generator.latent(keyframe), keyframe.picture) for keyframe in made)
    batch = LatentBatch(slerp(start.latent, end.latent, torch.tensor(T))[:, 0], PROMPT, T, start, end)
    return Gap(engine, open_decoder(settings, engine, stack), batch)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def assert_it_meets_its_keyframes(made: Gap, pictures: tuple[bytes, ...]) -> None:
    start, end = made.batch.start, made.batch.end
    assert start is not None
    assert end is not None
    assert {size_of(picture) for picture in pictures} == {SIZE}
    assert psnr(pictures[0], start.picture) > 45.0
    assert psnr(pictures[-1], end.picture) > 45.0


def test_the_keyframes_own_vae_gives_the_keyframes_at_both_ends(
    tmp_path: Path, server_url: str, stack: ExitStack
) -> None:
    made = gap(tmp_path, server_url, stack)
    assert_it_meets_its_keyframes(made, made.decoded())


def test_decoded_smaller_the_ends_are_the_keyframes_all_the_same(
    tmp_path: Path, server_url: str, stack: ExitStack
) -> None:
    """Or, of latents that mean nothing in another size (the embedded engine's), they stay as they are."""
    made = gap(tmp_path, server_url, stack, "scale: 0.5")
    assert_it_meets_its_keyframes(made, made.decoded_at_last())


def test_frames_come_in_the_format_that_is_asked_for(
    tmp_path: Path, server_url: str, stack: ExitStack
) -> None:
    made = gap(tmp_path, server_url, stack, display="format: webp")
    assert {format_of(picture) for picture in made.decoded()} == {"webp"}


def test_a_small_vae_that_the_server_lacks_is_named_and_the_engine_does_without(
    tmp_path: Path, server_url: str, stack: ExitStack
) -> None:
    made = gap(tmp_path, server_url, stack, "tiny_vae: no-such-vae.safetensors")
    assert_it_meets_its_keyframes(made, made.decoded())
    used, problem = decoder_told(made.decoder)
    assert used == "engine"
    assert "VAELoader" in str(problem)


@pytest.mark.live
def test_a_small_vae_meets_the_keyframes_or_is_found_out(
    tmp_path: Path, request: pytest.FixtureRequest, stack: ExitStack
) -> None:
    url = request.config.getoption("--comfyui-url")
    if url is None:
        pytest.skip(REAL_ONLY)
    offered = gap(tmp_path, url, stack).engine.catalog.choices("VAELoader", "vae_name")
    names = [str(name) for name in offered if name != "pixel_space"]
    if not names:
        pytest.skip(REAL_ONLY)
    for name in names:
        made = gap(tmp_path, url, stack, f"tiny_vae: {name}")
        assert_it_meets_its_keyframes(made, made.decoded_at_last())
