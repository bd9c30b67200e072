from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backend.cache.arc import MAX_STRENGTH, PACE, arc_weights, gentle
from backend.interpolation.gap_length import LONGEST
from backend.interpolation.spherical_lerp import slerp


@pytest.mark.parametrize("keyframes", [1, 2, 6, 12, 40])
@pytest.mark.parametrize("strength", [0.3, 0.6, 0.9])
def test_an_arc_goes_its_share_of_the_way_on_the_sphere(strength: float, keyframes: int) -> None:
    start, goal = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    now = start
    for weight in arc_weights(strength, keyframes):
        now = slerp(now, goal, torch.tensor([weight]))[0]
    gone = math.atan2(float(now[0, 1]), float(now[0, 0])) / (math.pi / 2)
    assert gone == pytest.approx(strength, abs=1e-4)
    assert float(now.norm()) == pytest.approx(1.0, abs=1e-4)


def test_every_keyframe_of_an_arc_goes_an_equal_part_of_the_way() -> None:
    start, goal = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    now, before, steps = start, 0.0, []
    for weight in arc_weights(0.9, 5):
        now = slerp(now, goal, torch.tensor([weight]))[0]
        angle = math.atan2(float(now[0, 1]), float(now[0, 0]))
        steps.append(angle - before)
        before = angle
    assert steps == pytest.approx([0.9 * math.pi / 2 / 5] * 5, abs=1e-5)


def test_an_arc_turns_no_farther_in_a_gap_than_the_gap_can_be_made_longer() -> None:
    assert PACE <= LONGEST


@given(st.floats(), st.integers(-10, 1000))
def test_whatever_is_asked_for_weights_are_between_0_and_1_and_bounded_in_number(
    strength: float, keyframes: int
) -> None:
    weights = arc_weights(strength, keyframes)
    assert 1 <= len(weights) <= 64
    assert all(0.0 <= weight <= MAX_STRENGTH for weight in weights)


@given(st.floats(0, 1), st.floats(0, math.pi), st.floats(0, math.pi))
def test_a_gentle_weight_turns_no_faster_than_the_dream_allows(
    weight: float, angle: float, usual: float
) -> None:
    held = gentle(weight, angle, usual)
    assert 0.0 <= held <= weight
    if usual > 0.0:
        assert held * angle <= PACE * usual + 1e-9


def test_a_weight_within_the_pace_stays_as_it_is() -> None:
    assert gentle(0.1, 1.0, 0.2) == 0.1
    assert gentle(0.5, 1.0, 0.0) == 0.5, "nothing is known of the dream's own pace"
