from __future__ import annotations

import pytest
import torch

from backend.errors import LatentRejected
from backend.interpolation.decoder import Anchor, LatentBatch, PicturesJob
from backend.interpolation.hybrid_generator import HybridGenerator
from backend.interpolation.latent_encoder import LatentEncoder, read_latents
from backend.interpolation.spherical_lerp import slerp
from backend.utils.prompt_manager import Prompt
from tests.fakes.memory_engine import MemoryEngine

PROMPT = Prompt("sea", "a quiet sea", "noise")


def latent(seed: int, height: int = 5, width: int = 8) -> torch.Tensor:
    return torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def engine() -> MemoryEngine:
    memory = MemoryEngine()
    memory.connect()
    return memory


def test_a_gap_is_one_leg_with_the_keyframes_left_out(engine: MemoryEngine) -> None:
    (leg,) = HybridGenerator(LatentEncoder(engine)).plan(latent(1), latent(2), 40, PROMPT)
    assert len(leg) == 39
    assert leg.t[0] == pytest.approx(1 / 40)
    assert leg.t[-1] == pytest.approx(39 / 40)
    assert engine.sent == []


def test_a_leg_travels_as_one_job_of_slerped_latents(engine: MemoryEngine) -> None:
    hybrid = HybridGenerator(LatentEncoder(engine))
    (leg,) = hybrid.plan(latent(1), latent(2), 4, PROMPT)
    hybrid.send(leg)
    (sent,) = engine.sent
    expected = slerp(latent(1), latent(2), torch.tensor([0.25, 0.5, 0.75]))[:, 0]
    assert torch.allclose(read_latents(sent.latents), expected)


def test_small_jobs_cover_the_gap_without_a_hole(engine: MemoryEngine) -> None:
    legs = HybridGenerator(LatentEncoder(engine), frames_per_job=16).plan(latent(1), latent(2), 40, PROMPT)
    assert [(leg.first, len(leg)) for leg in legs] == [(0, 16), (16, 16), (32, 7)]
    assert torch.allclose(torch.cat([leg.t for leg in legs]), torch.arange(1, 40) / 40)


def test_large_pictures_travel_in_smaller_jobs(engine: MemoryEngine) -> None:
    hybrid = HybridGenerator(LatentEncoder(engine))
    large = hybrid.plan(latent(1, 96, 168), latent(2, 96, 168), 100, PROMPT)
    assert len(large) > 1
    assert all(len(leg) * 96 * 168 * 64 <= 32_000_000 for leg in large)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_gap_of_one_step_has_nothing_between(engine: MemoryEngine, steps: int) -> None:
    assert HybridGenerator(LatentEncoder(engine)).plan(latent(1), latent(2), steps, PROMPT) == ()


def test_a_walk_to_another_size_has_the_size_that_it_leads_to(engine: MemoryEngine) -> None:
    hybrid = HybridGenerator(LatentEncoder(engine))
    (leg,) = hybrid.plan(latent(1, 10, 16), latent(2), 4, PROMPT)
    hybrid.send(leg)
    assert read_latents(engine.sent[0].latents).shape == (3, 4, 5, 8)


def test_a_change_of_model_in_mid_dream_is_refused_by_name(engine: MemoryEngine) -> None:
    other = torch.randn(1, 16, 5, 8)
    with pytest.raises(LatentRejected, match=r"\(1, 4, 5, 8\) and \(1, 16, 5, 8\)"):
        HybridGenerator(LatentEncoder(engine)).plan(latent(1), other, 40, PROMPT)


def test_latents_with_a_time_axis_walk_as_others_do_and_keep_it(engine: MemoryEngine) -> None:
    hybrid = HybridGenerator(LatentEncoder(engine), frames_per_job=2)
    legs = hybrid.plan(latent(1).unsqueeze(2), latent(2).unsqueeze(2), 4, PROMPT)
    hybrid.send(legs[0])
    (sent,) = engine.sent
    flat = slerp(latent(1), latent(2), torch.tensor([0.25, 0.5]))[:, 0]
    assert torch.allclose(read_latents(sent.latents), flat.unsqueeze(2))


def test_a_leg_is_split_without_losing_an_in_between(engine: MemoryEngine) -> None:
    (leg,) = HybridGenerator(LatentEncoder(engine)).plan(latent(1), latent(2), 8, PROMPT)
    first, rest = leg.split(3)
    assert [(first.first, len(first)), (rest.first, len(rest))] == [(0, 3), (3, 4)]
    assert torch.equal(torch.cat([first.t, rest.t]), leg.t)


class Recorder(LatentEncoder):
    """A decoder that keeps what it was given."""

    def decode(self, batch: LatentBatch) -> PicturesJob:
        self.batch = batch
        return super().decode(batch)


def test_a_decoder_is_told_what_the_walk_meets_at_its_ends_and_where_each_latent_lies(
    engine: MemoryEngine,
) -> None:
    decoder = Recorder(engine)
    hybrid = HybridGenerator(decoder, frames_per_job=2)
    hybrid.send(hybrid.plan(latent(1), latent(2), 4, PROMPT, (b"older", b"newer"))[1])
    start, end = decoder.batch.start, decoder.batch.end
    assert start is not None
    assert end is not None
    assert (start.picture, end.picture, decoder.batch.t) == (b"older", b"newer", (0.75,))
    assert torch.equal(start.latent, latent(1))
    assert torch.equal(end.latent, latent(2))


def test_a_walk_that_is_to_meet_a_keyframe_of_another_shape_is_refused_by_name() -> None:
    with pytest.raises(LatentRejected, match=r"\(4, 5, 8\).*\(16, 5, 8\)"):
        LatentBatch(latent(1), PROMPT, (0.5,), start=Anchor(torch.zeros(1, 16, 5, 8), b""))
