from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
import torch

from backend.core.aside import Aside
from backend.core.generator import DreamGenerator, Keyframe
from backend.core.jobs import FailureKind
from backend.errors import EngineUnreachable
from backend.utils.prompt_manager import Prompt
from tests.core.test_controller import Clock
from tests.fakes.memory_engine import MemoryEngine, black_picture, is_fresh

PROMPT = Prompt("sea", "a quiet sea", "noise")


@dataclass
class Beside:
    """Pictures beside a loop that is not there, on an engine in memory."""

    mode: str = "hybrid"
    feeds_pictures: bool = False
    clock: Clock = field(default_factory=Clock)
    woken: int = 0
    came: list[tuple[Keyframe, torch.Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = MemoryEngine(feeds_pictures=self.feeds_pictures)
        self.engine.connect()
        generator = DreamGenerator(
            self.engine,
            mode=self.mode,
            denoise=0.1,
            size=(64, 40),
            max_pixels=100_000,
            rng=random.Random(1),
        )
        self.aside = Aside(generator, lambda: PROMPT, clock=self.clock, wake=self._wake)
        self.aside.on_dreamt = lambda *news: self.came.append(news)

    def _wake(self) -> None:
        self.woken += 1


def test_nothing_is_sent_before_it_is_ordered() -> None:
    beside = Beside()
    assert not beside.aside.send()
    assert not beside.aside.collect()
    assert beside.engine.sent == []


def test_what_is_ordered_is_dreamt_from_words_alone_and_handed_on_with_its_latent() -> None:
    beside = Beside()
    assert beside.aside.order()
    assert beside.woken == 1, "the loop may be asleep"
    assert beside.aside.send()
    (sent,) = beside.engine.sent
    assert is_fresh(sent)
    assert sent.request.prompt == "a quiet sea"  # type: ignore[union-attr]
    assert not beside.aside.collect(), "it is not done yet"
    beside.engine.finish_next()
    assert beside.woken == 2
    assert beside.aside.collect()
    ((keyframe, latent),) = beside.came
    assert (keyframe.prompt, keyframe.parent, keyframe.folded) == (PROMPT, None, None)
    assert latent.shape == (1, 4, 5, 8)
    assert (beside.aside.dreamt, beside.aside.failed, beside.aside.seconds) == (1, 0, 0.4)


def test_its_latent_is_not_left_on_the_server() -> None:
    beside = Beside()
    beside.aside.order()
    beside.aside.send()
    beside.engine.finish_next()
    beside.aside.collect()
    assert beside.engine.retired == [beside.came[0][0].latent]


def test_one_is_dreamt_at_a_time_however_often_it_is_ordered() -> None:
    beside = Beside()
    for _ in range(5):
        assert beside.aside.order()
        beside.aside.send()
    assert len(beside.engine.sent) == 1


def test_the_next_is_not_dreamt_at_once_however_little_the_last_one_did() -> None:
    beside = Beside()
    for _ in range(120):
        beside.aside.order()
        beside.aside.send()
        if beside.engine.open_jobs:
            beside.engine.finish_next()
        beside.aside.collect()
        beside.clock.now += 1.0
    assert 2 <= len(beside.engine.sent) <= 4


@pytest.mark.parametrize("fault", ["failed", "black", "latent", "refused"])
def test_one_that_does_not_come_raises_nothing_and_is_tried_again_later_and_later(fault: str) -> None:
    beside = Beside()
    pauses = []
    for _ in range(4):
        since = beside.clock.now
        while not beside.aside.order():
            beside.clock.now += 10.0
        pauses.append(beside.clock.now - since)
        if fault == "refused":
            beside.engine.refuse = EngineUnreachable("memory://", "gone")
        assert beside.aside.send()
        if fault == "failed":
            beside.engine.fail_next(FailureKind.OUT_OF_MEMORY)
        elif fault == "black":
            beside.engine.finish_next([black_picture()])
        elif fault == "latent":
            beside.engine.finish_next()
            beside.engine.files = dict.fromkeys(beside.engine.files, b"no latent")
        beside.aside.collect()
    assert pauses[0] == 0.0
    assert pauses[1] < pauses[2] < pauses[3]
    assert (beside.aside.dreamt, beside.aside.failed) == (0, 4)
    assert beside.came == []


def test_once_one_came_the_next_failure_counts_as_the_first() -> None:
    beside = Beside()
    for ends_well in (False, False, True, False):
        while not beside.aside.order():
            beside.clock.now += 10.0
        beside.aside.send()
        if ends_well:
            beside.engine.finish_next()
        else:
            beside.engine.fail_next()
        beside.aside.collect()
    since = beside.clock.now
    while not beside.aside.order():
        beside.clock.now += 10.0
    assert beside.clock.now - since <= 60.0


@pytest.mark.parametrize(
    "beside", [Beside(mode="interpolate"), Beside(mode="txt2img"), Beside(feeds_pictures=True)]
)
def test_where_the_dream_cannot_lean_toward_a_latent_none_is_dreamt(beside: Beside) -> None:
    assert not beside.aside.order()
    assert not beside.aside.send()
    assert beside.engine.sent == []
