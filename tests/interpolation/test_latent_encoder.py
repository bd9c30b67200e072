from __future__ import annotations

import pytest
import torch
from safetensors.torch import save

from backend.errors import LatentRejected
from backend.interpolation.decoder import LatentBatch
from backend.interpolation.latent_encoder import LatentEncoder, read_latents, write_latents
from backend.utils.prompt_manager import Prompt
from tests.fakes.memory_engine import MemoryEngine, picture

PROMPT = Prompt("sea", "a quiet sea", "noise")
LATENTS = torch.randn(3, 4, 5, 8, generator=torch.Generator().manual_seed(1))


def test_what_is_written_is_read_back_exactly() -> None:
    assert torch.equal(read_latents(write_latents(LATENTS)), LATENTS)


def test_a_latent_with_a_time_axis_keeps_it() -> None:
    assert torch.equal(read_latents(write_latents(LATENTS.unsqueeze(2))), LATENTS.unsqueeze(2))


def test_half_precision_comes_back_in_single_precision() -> None:
    half = save({"latent_tensor": LATENTS.half(), "latent_format_version_0": torch.tensor([])})
    assert read_latents(half).dtype is torch.float32


def test_a_file_without_the_version_marker_is_scaled_as_comfyui_does() -> None:
    unmarked = save({"latent_tensor": LATENTS})
    assert torch.allclose(read_latents(unmarked), LATENTS / 0.18215)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        write_latents(LATENTS)[:-40],
        save({"something": LATENTS}),
        save({"latent_tensor": LATENTS[0]}),
        save({"latent_tensor": torch.zeros(0, 4, 5, 8)}),
        save({"latent_tensor": torch.zeros(1, 4, 2, 5, 8)}),
        save({"latent_tensor": LATENTS[:, :, None, None]}),
        write_latents(LATENTS * float("nan")),
        write_latents(LATENTS * float("inf")),
    ],
    ids=["empty", "garbage", "cut off", "other tensor", "3-d", "no samples", "film", "6-d", "nan", "inf"],
)
def test_what_is_no_latent_to_dream_on_from_is_refused(data: bytes) -> None:
    with pytest.raises(LatentRejected):
        read_latents(data)


def test_decoding_is_one_job_for_the_whole_batch() -> None:
    engine = MemoryEngine()
    engine.connect()
    job = LatentEncoder(engine).decode(LatentBatch(LATENTS, PROMPT))
    assert [sent.count for sent in engine.sent] == [3]
    assert not job.done()
    engine.finish_next([picture(index) for index in range(3)])
    assert job.pictures() == tuple(picture(index) for index in range(3))


def test_encoding_gives_a_latent() -> None:
    engine = MemoryEngine()
    engine.connect()
    assert LatentEncoder(engine).encode(picture(1)).shape == (1, 4, 5, 8)
