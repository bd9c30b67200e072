from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest
import torch

from backend.errors import DecoderUnfit, EngineUnreachable, JobFailed
from backend.interpolation.decoder import LatentBatch
from backend.interpolation.decoder_choice import DecoderChoice
from backend.interpolation.picture_futures import UNFIT, PicturesInTheMaking
from backend.interpolation.seamless_decoder import SeamlessDecoder
from backend.utils.picture_formats import AS_IT_COMES
from tests.interpolation.sources import PROMPT, AtOnce, ByHand

FOUR = LatentBatch(torch.randn(1, 4, 5, 8), PROMPT)
SIXTEEN = LatentBatch(torch.randn(1, 16, 5, 8), PROMPT)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Pair:
    """The wished decoder, the engine, and the choice between them."""

    wished: ByHand
    engine: ByHand
    choice: DecoderChoice
    clock: Clock

    def decode(self, batch: LatentBatch = FOUR) -> PicturesInTheMaking:
        return self.choice.decode(batch)  # type: ignore[return-value]

    @property
    def asked(self) -> tuple[int, int]:
        return len(self.wished.asked), len(self.engine.asked)


def seamless(source: ByHand) -> SeamlessDecoder:
    return SeamlessDecoder(source, AtOnce(), AS_IT_COMES)


@pytest.fixture
def pair() -> Pair:
    wished, engine, clock = ByHand(), ByHand(), Clock()
    return Pair(
        wished, engine, DecoderChoice("tiny.safetensors", seamless(wished), seamless(engine), clock), clock
    )


def test_the_wished_one_decodes_while_it_can(pair: Pair) -> None:
    job = pair.decode()
    pair.wished.finish()
    assert len(job.pictures()) == 1
    assert pair.asked == (1, 0)
    assert (pair.choice.used, pair.choice.problem) == ("tiny.safetensors", None)


def test_what_it_cannot_decode_goes_to_the_engine_at_once_and_is_told(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    pair.wished.refuse = DecoderUnfit("latents of 16 channels")
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            pair.decode(SIXTEEN)
    assert pair.asked == (0, 5)
    assert pair.choice.used == "engine"
    assert pair.choice.problem == "tiny.safetensors is not used for in-betweens: latents of 16 channels"
    assert caplog.text.count("16 channels") == 1


def test_a_job_of_which_it_makes_nothing_fails_and_the_second_try_goes_to_the_engine(pair: Pair) -> None:
    job = pair.decode()
    pair.wished.fail(JobFailed(UNFIT, "grey"))
    with pytest.raises(JobFailed, match="grey"):
        job.pictures()
    pair.decode()
    assert pair.asked == (1, 1)
    assert "grey" in str(pair.choice.problem)


def test_a_failure_of_another_sort_is_no_reason_to_leave_it(pair: Pair) -> None:
    job = pair.decode()
    pair.wished.fail(JobFailed("oom", "no memory"))
    with pytest.raises(JobFailed):
        job.pictures()
    pair.decode()
    assert pair.asked == (2, 0)


def test_after_a_change_of_model_it_is_tried_at_once(pair: Pair) -> None:
    pair.wished.refuse = DecoderUnfit("latents of 16 channels")
    pair.decode(SIXTEEN)
    pair.wished.refuse = None
    job = pair.decode(FOUR)
    pair.wished.finish()
    job.pictures()
    assert pair.asked == (1, 1)
    assert pair.choice.problem is None


def test_after_a_while_it_is_tried_again(pair: Pair) -> None:
    pair.wished.refuse = DecoderUnfit("no memory on the device")
    pair.decode()
    pair.wished.refuse = None
    pair.clock.now = 599.0
    pair.decode()
    pair.clock.now = 601.0
    pair.decode()
    assert pair.asked == (1, 2)


def test_trouble_with_the_engine_is_the_loops_to_bear(pair: Pair) -> None:
    pair.wished.refuse = EngineUnreachable("http://x", "refused")
    with pytest.raises(EngineUnreachable):
        pair.decode()
    assert pair.asked == (0, 0)


def test_of_a_row_of_choices_the_one_that_decodes_is_named(pair: Pair) -> None:
    local = ByHand(refuse=DecoderUnfit("no such device"))
    row = DecoderChoice("local", seamless(local), pair.choice, pair.clock)
    row.decode(FOUR)
    assert row.used == "tiny.safetensors"
    pair.wished.refuse = DecoderUnfit("none")
    row.decode(FOUR)
    assert row.used == "engine"


def test_one_that_hangs_is_left_and_what_it_was_to_decode_goes_to_the_engine() -> None:
    wished, engine, clock = ByHand(), ByHand(), Clock()
    choice = DecoderChoice("local", seamless(wished), seamless(engine), clock, patience_s=330.0)
    job = choice.decode(FOUR)
    clock.now = 330.0
    assert not job.done()
    clock.now = 331.0
    assert job.done()
    with pytest.raises(JobFailed, match="hangs"):
        job.pictures()
    choice.decode(FOUR)
    assert len(engine.asked) == 1


def test_pictures_of_the_wished_one_arrive_one_by_one(pair: Pair) -> None:
    job = pair.choice.decode(LatentBatch(torch.randn(2, 4, 5, 8), PROMPT))
    calls: list[int] = []
    job.add_arrival_callback(lambda: calls.append(1))
    pair.wished.finish(1)
    assert calls == [1]
    assert [place for place, _ in job.arrived()] == [0]
    assert not job.done()
