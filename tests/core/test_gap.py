"""Gaps: what they wait for, what they never wait for, and how they are laid out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from backend.core.frame_buffer import Frame, FrameKind, Joint
from backend.core.gap_frames import STRETCHES, Gap
from backend.errors import EngineUnreachable
from backend.interpolation.decoder import PicturesJob
from backend.interpolation.hybrid_generator import Leg
from backend.interpolation.latent_encoder import read_latents, write_latents
from backend.utils.status_schema import State
from tests.core.test_controller import FPS, GAP_S, IN_BETWEENS, Dream, dream
from tests.fakes.memory_engine import MemoryEngine, is_walk, picture


@dataclass
class Told:
    """A dream, and the legs that it sent."""

    dream: Dream
    legs: list[Leg] = field(default_factory=list)

    def keyframe(self) -> None:
        """The next keyframe comes, and before it the walks that stand before it."""
        before = self.dream.controller.keyframes
        while self.dream.controller.keyframes == before:
            self.dream.finish_next()

    def all_frames(self) -> list[Frame]:
        return list(iter(lambda: self.dream.buffer.take(self.dream.clock.now), None))


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return begin(tmp_path)


def begin(folder: Path, buffer_s: float = 60.0, engine: MemoryEngine | None = None) -> Told:
    made = Told(dream(folder, buffer_s=buffer_s, engine=engine))
    send = made.dream.gaps.hybrid.send

    def sending(leg: Leg) -> PicturesJob:
        job = send(leg)
        made.legs.append(leg)
        return job

    made.dream.gaps.hybrid.send = sending  # type: ignore[method-assign]
    made.dream.settle()
    return made


def latent_of(told: Told, number: int) -> torch.Tensor:
    return read_latents(told.dream.engine.files[f"latent{number}"])


def test_a_walk_knows_the_keyframe_after_its_end_and_meets_the_next_walk_there(told: Told) -> None:
    for _ in range(5):
        told.keyframe()
    first, second, third = told.legs[:3]
    assert first.walk.end.after is None, "the first is shown before anything is known of what follows"
    assert second.walk.end.after is not None
    assert third.walk.end.at.latent.equal(second.walk.end.after.latent)
    assert second.walk.start is first.walk.end
    assert third.walk.start is second.walk.end


def test_the_first_gap_is_shown_as_soon_as_both_its_keyframes_are_there(told: Told) -> None:
    told.keyframe()
    told.keyframe()
    assert len(told.legs) == 1
    assert not told.dream.gaps.waiting


def test_straight_paths_wait_for_nothing(told: Told) -> None:
    told.dream.gaps.layout.path = "slerp"
    for _ in range(4):
        told.keyframe()
        assert not told.dream.gaps.waiting


def test_what_waits_is_shown_when_the_dream_is_paused(told: Told) -> None:
    for _ in range(3):
        told.keyframe()
    assert told.dream.gaps.waiting
    told.dream.controller.pause()
    told.keyframe()
    assert not told.dream.gaps.waiting
    told.dream.controller.resume()
    told.dream.settle()
    assert told.dream.waiting_jobs.count("w") == 2


def test_what_waits_is_shown_when_the_engine_is_lost(told: Told) -> None:
    for _ in range(3):
        told.keyframe()
    told.dream.engine.refuse = EngineUnreachable("http://x", "gone")
    told.keyframe()
    told.dream.settle()
    assert not told.dream.gaps.waiting
    assert told.dream.buffer.place_of(told.dream.controller.newest.number) is not None


def test_while_the_engine_rests_a_gap_may_wait_and_the_display_never_runs_dry(tmp_path: Path) -> None:
    told = begin(tmp_path, buffer_s=2.0)
    while told.dream.engine.open_jobs:
        told.dream.finish_next()
    assert told.dream.controller.state is State.RESTING
    assert told.dream.gaps.waiting
    for _ in range(30):
        told.dream.show(0.2)
        told.dream.settle()
        while told.dream.engine.open_jobs:
            told.dream.finish_next()
        assert told.dream.buffer.ready_s > 0.0
    assert told.dream.controller.keyframes > 6


def test_with_enough_to_show_a_few_frames_of_a_gap_are_seen_before_the_others_are_asked_for(
    told: Told,
) -> None:
    for _ in range(8):
        told.keyframe()
    few = [len(leg) for leg in told.legs].index(STRETCHES - 1)
    seen, rest = told.legs[few], told.legs[few + 1 :]
    others = next(leg for leg in rest if leg.walk is seen.walk)
    t = torch.cat((seen.t, others.t))
    assert len(t.unique()) == len(t)
    assert len(t) >= 0.6 * IN_BETWEENS


def test_a_long_gap_is_seen_as_closely_as_a_usual_one_but_no_longer_than_that_takes(told: Told) -> None:
    told.keyframe()
    layout, keyframe = told.dream.gaps.layout, told.dream.controller.newest
    assert keyframe is not None
    stretches = [layout._stretches(Gap(None, keyframe, None, times * GAP_S)) for times in (1.0, 1.6, 50.0)]
    assert stretches == [STRETCHES, round(1.6 * STRETCHES), round(GAP_S * FPS)]


def test_all_frames_of_a_gap_come_in_the_order_of_its_walk(told: Told) -> None:
    names: dict[bytes, float] = {}
    for _ in range(20):
        sent = told.dream.engine.open_jobs[0]
        if not is_walk(sent):
            told.dream.finish_next()
            continue
        walks = [one for one in told.dream.engine.sent if is_walk(one)]
        leg = told.legs[walks.index(sent)]
        made = [picture(10_000 + len(names) + index) for index in range(sent.count)]
        names |= {data: float(t) for data, t in zip(made, leg.t, strict=True)}
        told.dream.finish_next(made)
    gaps: list[list[float]] = [[]]
    for frame in told.all_frames():
        if frame.kind is FrameKind.KEYFRAME:
            gaps.append([])
        else:
            gaps[-1].append(names[frame.data])
    assert sum(map(len, gaps)) > 2 * IN_BETWEENS
    assert all(gap == sorted(gap) for gap in gaps)


def test_frames_that_were_to_be_seen_first_and_are_lost_hold_nothing_up(told: Told) -> None:
    while not (told.legs and len(told.legs[-1]) == STRETCHES - 1):
        told.dream.finish_next()
    walk = told.legs[-1].walk
    while not any(leg.walk is walk and len(leg) == IN_BETWEENS for leg in told.legs):
        walks = [sent for sent in told.dream.engine.sent if is_walk(sent)]
        lost = told.dream.engine.open_jobs[0] in [
            sent for sent, leg in zip(walks, told.legs, strict=True) if leg.walk is walk
        ]
        if lost:
            told.dream.engine.fail_next()
            told.dream.settle()
        else:
            told.dream.finish_next()
    assert told.dream.gaps.retries == 1, "it was asked for once more"


@pytest.mark.parametrize("pacing", ["uniform", "eased"])
def test_other_paces_ask_for_all_frames_at_once_and_show_them_for_equal_times(
    told: Told, pacing: str
) -> None:
    told.dream.gaps.layout.pacing = pacing
    for _ in range(6):
        told.keyframe()
    assert {len(leg) for leg in told.legs} == {IN_BETWEENS}
    frames = told.all_frames()
    assert {round(frame.duration_s, 6) for frame in frames} == {1 / FPS}
    steps = torch.cat((torch.zeros(1), told.legs[2].t, torch.ones(1))).diff()
    if pacing == "eased":
        assert steps[0] < 0.5 * steps[5]
    else:
        assert torch.allclose(steps, steps.mean(), rtol=1e-3)


def test_a_model_change_in_mid_dream_is_faded_over_and_goes_on(told: Told) -> None:
    told.keyframe()
    told.keyframe()
    engine = told.dream.engine
    engine._latent = lambda seed: write_latents(torch.randn(1, 16, 5, 8))  # type: ignore[method-assign]
    for _ in range(3):
        told.keyframe()
    frames = [frame for frame in told.all_frames() if frame.kind is FrameKind.KEYFRAME]
    joints = [frame.joint for frame in frames]
    assert joints.count(Joint.FADE) == 2, "the first of all, and the first of the other model"
    before = frames[joints.index(Joint.FADE, 1) - 1]
    assert before.duration_s == pytest.approx(GAP_S), "the fade takes the time of a walk"


def test_a_keyframe_that_is_no_number_is_refused_and_its_gap_never_opened(told: Told) -> None:
    told.keyframe()
    sane = told.dream.engine._latent
    broken = torch.full((1, 4, 5, 8), float("nan"))
    told.dream.engine._latent = lambda seed: write_latents(broken)  # type: ignore[method-assign]
    told.dream.finish_next()
    told.dream.engine._latent = sane  # type: ignore[method-assign]
    assert told.dream.controller.setbacks.rejected == 1
    told.dream.wait(2.0)
    told.keyframe()
    assert len(told.legs) == 1


def test_latents_of_nothing_but_zeros_are_walked_to_and_from(told: Told) -> None:
    told.keyframe()
    sane = told.dream.engine._latent
    zeros = torch.zeros(1, 4, 5, 8)
    told.dream.engine._latent = lambda seed: write_latents(zeros)  # type: ignore[method-assign]
    told.keyframe()
    told.dream.engine._latent = sane  # type: ignore[method-assign]
    for _ in range(4):
        told.keyframe()
    assert all(torch.isfinite(leg.walk.latents(leg.t)).all() for leg in told.legs)
    assert told.dream.controller.setbacks.rejected == 0


def test_frames_of_other_sizes_leave_every_time_a_number(told: Told) -> None:
    number = 0
    while told.dream.controller.keyframes < 20:
        sent, made = told.dream.engine.open_jobs[0], None
        if is_walk(sent):
            number += 1
            size = (64, 40) if number % 2 else (32, 20)
            made = [picture(50_000 + 100 * number + index, size) for index in range(sent.count)]
        told.dream.finish_next(made)
        if told.dream.buffer.ready_s > 30.0:
            told.dream.show(10.0)
    lengths = [frame.duration_s for frame in told.all_frames()]
    assert all(math.isfinite(length) for length in lengths)
    assert sum(lengths) > GAP_S
