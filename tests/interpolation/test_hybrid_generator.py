from __future__ import annotations

import pytest
import torch

from backend.core.jobs import Job
from backend.interpolation.decoder import LatentBatch, PicturesJob
from backend.interpolation.hybrid_generator import HybridGenerator
from backend.interpolation.latent_encoder import LatentEncoder, read_latents
from backend.interpolation.spherical_lerp import slerp
from backend.interpolation.walk import Knot, Walk, Waypoint
from backend.utils.prompt_manager import Prompt
from comfyui_nodes.walk import MOST_FRAMES
from tests.fakes.memory_engine import MemoryEngine

PROMPT = Prompt("sea", "a quiet sea", "noise")


def latent(seed: int, height: int = 5, width: int = 8) -> torch.Tensor:
    return torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def engine() -> MemoryEngine:
    memory = MemoryEngine()
    memory.connect()
    return memory


def walk(start: torch.Tensor, end: torch.Tensor, path: str = "slerp") -> Walk:
    first, last = Waypoint(start), Waypoint(end)
    return Walk.between(path, Knot(first, after=last), Knot(last, before=first), 1.0)


def places(steps: int) -> torch.Tensor:
    return torch.arange(1, steps) / steps


def test_a_gap_is_one_leg_with_the_keyframes_left_out(engine: MemoryEngine) -> None:
    hybrid = HybridGenerator(LatentEncoder(engine))
    (leg,) = hybrid.plan(walk(latent(1), latent(2)), places(40), PROMPT)
    assert len(leg) == 39
    assert leg.t[0] == pytest.approx(1 / 40)
    assert leg.t[-1] == pytest.approx(39 / 40)
    assert engine.sent == []


def test_a_leg_travels_as_one_job_of_the_latents_on_its_walk(engine: MemoryEngine) -> None:
    hybrid = HybridGenerator(LatentEncoder(engine))
    (leg,) = hybrid.plan(walk(latent(1), latent(2)), places(4), PROMPT)
    hybrid.send(leg)
    (sent,) = engine.sent
    expected = slerp(latent(1), latent(2), torch.tensor([0.25, 0.5, 0.75]))[:, 0]
    assert torch.allclose(read_latents(sent.latents), expected)


def test_small_jobs_cover_the_gap_without_a_hole(engine: MemoryEngine) -> None:
    hybrid = HybridGenerator(LatentEncoder(engine), frames_per_job=16)
    legs = hybrid.plan(walk(latent(1), latent(2)), places(40), PROMPT)
    assert [len(leg) for leg in legs] == [16, 16, 7]
    assert torch.allclose(torch.cat([leg.t for leg in legs]), torch.arange(1, 40) / 40)


@pytest.mark.parametrize("wished", [None, 100_000])
def test_no_leg_is_longer_than_our_nodes_take(engine: MemoryEngine, wished: int | None) -> None:
    hybrid = HybridGenerator(LatentEncoder(engine), wished)
    legs = hybrid.plan(walk(latent(1), latent(2)), places(2 * MOST_FRAMES + 2), PROMPT)
    assert [len(leg) for leg in legs] == [MOST_FRAMES, MOST_FRAMES, 1]


def test_large_pictures_travel_in_smaller_jobs(engine: MemoryEngine) -> None:
    hybrid = HybridGenerator(LatentEncoder(engine))
    large = hybrid.plan(walk(latent(1, 96, 168), latent(2, 96, 168)), places(100), PROMPT)
    assert len(large) > 1
    assert all(len(leg) * 96 * 168 * 64 <= 32_000_000 for leg in large)


def test_a_gap_of_one_step_has_nothing_between(engine: MemoryEngine) -> None:
    assert HybridGenerator(LatentEncoder(engine)).plan(walk(latent(1), latent(2)), places(1), PROMPT) == ()


def test_a_walk_to_another_size_has_the_size_that_it_leads_to(engine: MemoryEngine) -> None:
    hybrid = HybridGenerator(LatentEncoder(engine))
    (leg,) = hybrid.plan(walk(latent(1, 10, 16), latent(2), "smooth"), places(4), PROMPT)
    hybrid.send(leg)
    assert read_latents(engine.sent[0].latents).shape == (3, 4, 5, 8)


def test_latents_with_a_time_axis_walk_as_others_do_and_keep_it(engine: MemoryEngine) -> None:
    hybrid = HybridGenerator(LatentEncoder(engine), frames_per_job=2)
    legs = hybrid.plan(walk(latent(1).unsqueeze(2), latent(2).unsqueeze(2)), places(4), PROMPT)
    hybrid.send(legs[0])
    (sent,) = engine.sent
    flat = slerp(latent(1), latent(2), torch.tensor([0.25, 0.5]))[:, 0]
    assert torch.allclose(read_latents(sent.latents), flat.unsqueeze(2))


def test_a_leg_is_split_without_losing_an_in_between(engine: MemoryEngine) -> None:
    (leg,) = HybridGenerator(LatentEncoder(engine)).plan(walk(latent(1), latent(2)), places(8), PROMPT)
    first, rest = leg.split(3)
    assert (len(first), len(rest)) == (3, 4)
    assert torch.equal(torch.cat([first.t, rest.t]), leg.t)


def test_decoders_are_told_the_keyframes_that_they_have_to_meet() -> None:
    seen: list[LatentBatch] = []
    (leg,) = HybridGenerator(_Recording(seen)).plan(
        walk(latent(1, 10, 16), latent(2)), places(4), PROMPT, (b"older", b"newer")
    )
    HybridGenerator(_Recording(seen)).send(leg)
    (batch,) = seen
    assert batch.start is not None
    assert batch.end is not None
    assert (batch.start.picture, batch.end.picture) == (b"older", b"newer")
    assert batch.t == pytest.approx((0.25, 0.5, 0.75))
    assert batch.start.latent.shape == batch.end.latent.shape


class _Recording:
    def __init__(self, seen: list[LatentBatch]) -> None:
        self._seen = seen

    def decode(self, batch: LatentBatch) -> PicturesJob:
        self._seen.append(batch)
        return Job("local")  # type: ignore[return-value]
