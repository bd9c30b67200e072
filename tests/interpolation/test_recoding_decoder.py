from __future__ import annotations

import pytest
import torch

from backend.core.jobs import FailureKind
from backend.errors import JobFailed
from backend.interpolation.decoder import LatentBatch
from backend.interpolation.latent_encoder import LatentEncoder
from backend.interpolation.picture_futures import PicturesInTheMaking
from backend.interpolation.recoding_decoder import RecodingDecoder
from backend.utils.picture_formats import Encoding, format_of
from tests.fakes.memory_engine import MemoryEngine, picture
from tests.interpolation.sources import PROMPT, AtOnce

BATCH = LatentBatch(torch.randn(2, 4, 5, 8), PROMPT)
CAME = [picture(1), picture(2)]


@pytest.fixture
def engine() -> MemoryEngine:
    memory = MemoryEngine()
    memory.connect()
    return memory


def decoded(engine: MemoryEngine, format: str) -> PicturesInTheMaking:
    return RecodingDecoder(LatentEncoder(engine), AtOnce(), Encoding(format)).decode(BATCH)


def test_pictures_of_another_format_are_encoded_anew(engine: MemoryEngine) -> None:
    job = decoded(engine, "jpeg")
    engine.finish_next(CAME)
    assert [format_of(one) for one in job.pictures()] == ["jpeg", "jpeg"]


def test_pictures_of_the_right_format_stay_as_they_came_to_the_byte(engine: MemoryEngine) -> None:
    job = decoded(engine, "png")
    engine.finish_next(CAME)
    assert list(job.pictures()) == CAME


def test_what_is_no_picture_is_left_to_the_check(engine: MemoryEngine) -> None:
    job = decoded(engine, "jpeg")
    engine.finish_next([b"rubbish", picture(2)])
    assert job.pictures()[0] == b"rubbish"


def test_a_failed_job_fails_as_it_did(engine: MemoryEngine) -> None:
    job = decoded(engine, "jpeg")
    engine.fail_next(FailureKind.OUT_OF_MEMORY)
    assert job.done()
    with pytest.raises(JobFailed) as caught:
        job.pictures()
    assert caught.value.kind == FailureKind.OUT_OF_MEMORY.value
