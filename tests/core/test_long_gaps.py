"""A gap whose walk turns farther than usual takes longer, in smaller steps of the same speed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from backend.interpolation.gap_length import LONGEST
from backend.interpolation.latent_encoder import write_latents
from tests.core.test_controller import FPS, GAP_S, Dream, dream
from tests.fakes.memory_engine import MemoryEngine, is_walk

USUAL = 0.1
FIRST_GAPS = 5


@dataclass
class TurningEngine(MemoryEngine):
    """Each keyframe's latent lies ``angle`` radians from the one before."""

    angle: float = USUAL
    turned: float = 0.0

    def _latent(self, number: int) -> bytes:
        if not is_walk(self.sent[number]):
            self.turned += self.angle
        along = torch.zeros(1, 4, 5, 8)
        turned = torch.tensor(self.turned)
        along[0, 0, 0, 0], along[0, 0, 0, 1] = torch.cos(turned), torch.sin(turned)
        return write_latents(along * 12.0)


@pytest.fixture
def turning(tmp_path: Path) -> Dream:
    """After some gaps of the usual turn, with room for more."""
    told = dream(tmp_path, buffer_s=40.0, engine=TurningEngine())
    told.gaps.layout.pacing = "uniform"
    told.settle()
    while told.controller.keyframes <= FIRST_GAPS:
        told.finish_next()
    return told


def keyframe_that_turns(told: Dream, angle: float) -> None:
    """Have a keyframe come that turns by ``angle``; its gap waits for the one after it."""
    finish_walks(told)
    told.engine.angle = angle
    told.finish_next()
    finish_walks(told)


def gap_up_to_it(told: Dream) -> list[int]:
    """The pictures of each job that the gap asks for that waits."""
    before = len(told.engine.sent)
    keyframe_that_turns(told, USUAL)
    return [sent.count for sent in told.engine.sent[before:] if is_walk(sent)]


def finish_walks(told: Dream) -> None:
    while walks := [sent for sent in told.engine.open_jobs if is_walk(sent)]:
        told.engine.finish(walks[0])
        told.settle()


def test_gaps_of_the_usual_turn_last_as_long_as_is_set(turning: Dream) -> None:
    keyframe_that_turns(turning, USUAL)
    assert gap_up_to_it(turning) == [round(GAP_S * FPS) - 1]


def test_a_gap_that_turns_twice_as_far_as_usual_lasts_twice_as_long(turning: Dream) -> None:
    keyframe_that_turns(turning, 2.0 * USUAL)
    before_s = turning.buffer.promised_s
    pictures = gap_up_to_it(turning)
    assert sum(pictures) == round(2 * GAP_S * FPS) - 1
    assert max(pictures) <= round(GAP_S * FPS), "no job becomes larger: what is ready comes as often"
    assert turning.buffer.promised_s - before_s == pytest.approx(2 * GAP_S)


def test_every_frame_of_a_long_gap_is_shown_for_the_usual_time(turning: Dream) -> None:
    keyframe_that_turns(turning, 2.0 * USUAL)
    gap_up_to_it(turning)
    durations = set()
    while (frame := turning.buffer.take(turning.clock.now)) is not None:
        durations.add(round(frame.duration_s, 6))
    assert durations == {1 / FPS}


def test_the_longest_gap_is_bounded_and_makes_the_engine_rest_until_it_is_shown(turning: Dream) -> None:
    keyframe_that_turns(turning, 3.0)
    turning.controller.headroom.wished_s = turning.buffer.promised_s + 1.5 * GAP_S
    pictures = gap_up_to_it(turning)
    assert sum(pictures) == round(LONGEST * GAP_S * FPS) - 1
    while turning.engine.open_jobs:
        turning.finish_next()
    assert turning.waiting_jobs == ""
    turning.show(turning.buffer.ready_s - turning.controller.headroom.target_s + 0.5)
    turning.settle()
    assert turning.waiting_jobs == "k"
