from __future__ import annotations

import pytest
import torch

from backend.core.jobs import FailureKind
from backend.core.workflow_builder import DecodeLatents
from backend.errors import DecoderUnfit, GraphUnfit, JobFailed
from backend.interpolation.engine_source import EngineSource
from backend.interpolation.latent_encoder import read_latents
from tests.fakes.memory_engine import MemoryEngine, picture
from tests.interpolation.sources import PROMPT

LATENTS = torch.randn(3, 4, 5, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def engine() -> MemoryEngine:
    memory = MemoryEngine()
    memory.connect()
    return memory


def test_a_batch_is_one_job_and_its_pictures_come_in_order(engine: MemoryEngine) -> None:
    pictures = EngineSource(engine).submit(LATENTS, PROMPT)
    assert torch.equal(read_latents(engine.sent[0].latents), LATENTS)
    engine.finish_next([picture(seed) for seed in range(3)])
    assert [one.result(0) for one in pictures] == [picture(seed) for seed in range(3)]


@pytest.mark.parametrize("tiny", [True, False])
def test_the_engine_is_told_which_vae_is_to_decode(engine: MemoryEngine, tiny: bool) -> None:
    EngineSource(engine, tiny=tiny).submit(LATENTS, PROMPT)
    request = engine.sent[0].request
    assert isinstance(request, DecodeLatents)
    assert request.tiny is tiny


def test_a_failed_job_fails_each_picture_with_its_kind(engine: MemoryEngine) -> None:
    pictures = EngineSource(engine).submit(LATENTS, PROMPT)
    engine.fail_next(FailureKind.OUT_OF_MEMORY)
    for one in pictures:
        with pytest.raises(JobFailed) as caught:
            one.result(0)
        assert caught.value.kind == FailureKind.OUT_OF_MEMORY.value


def test_a_job_that_brings_too_few_pictures_fails_all(engine: MemoryEngine) -> None:
    pictures = EngineSource(engine).submit(LATENTS, PROMPT)
    engine.finish_next([picture(1)])
    assert all(isinstance(one.exception(0), JobFailed) for one in pictures)


def test_a_small_vae_that_the_server_lacks_is_unfit_and_with_the_keyframes_own_it_is_the_graph(
    engine: MemoryEngine,
) -> None:
    engine.refuse = GraphUnfit(["node 1 (VAELoader) vae_name = taesd: not in the list"])
    with pytest.raises(DecoderUnfit, match="taesd"):
        EngineSource(engine, tiny=True).submit(LATENTS, PROMPT)
    with pytest.raises(GraphUnfit):
        EngineSource(engine).submit(LATENTS, PROMPT)
