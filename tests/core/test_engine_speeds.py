"""The loop and its display on one clock, with an engine of any speed: what a viewer sees of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from backend.core.frame_buffer import FrameKind
from tests.core.test_controller import FPS, GAP_S, Dream, dream
from tests.fakes.memory_engine import SentJob, is_walk

TICK_S = 0.025


@dataclass
class TimedEngine:
    """Does one job after the other, each in its time."""

    told: Dream
    keyframe_s: float
    frame_s: float
    at_work: SentJob | None = None
    done_at: float = 0.0

    def turn(self) -> None:
        while True:
            jobs = self.told.engine.open_jobs
            if self.at_work is None and jobs:
                self.at_work = jobs[0]
                self.done_at = max(self.done_at, self.told.clock.now) + self._seconds(jobs[0])
            if self.at_work is None or self.done_at > self.told.clock.now:
                return
            self.told.engine.engine_s = self._seconds(self.at_work)
            self.told.engine.finish(self.at_work)
            self.at_work = None

    def _seconds(self, sent: SentJob) -> float:
        return sent.count * self.frame_s if is_walk(sent) else self.keyframe_s


@dataclass
class Seen:
    """What was on display: when each frame came, of which kind, at which pace, and how far the dream was."""

    at: list[float] = field(default_factory=list)
    kinds: list[FrameKind] = field(default_factory=list)
    pace: list[float] = field(default_factory=list)
    keyframes: list[float] = field(default_factory=list)

    def longest_wait(self, since: float) -> float:
        return max(b - a for a, b in itertools.pairwise(at for at in self.at if at >= since))

    def paces(self, since: float) -> list[float]:
        return [pace for at, pace in zip(self.at, self.pace, strict=True) if at >= since]

    def made_share(self, since: float) -> float:
        kinds = [kind for at, kind in zip(self.at, self.kinds, strict=True) if at >= since]
        return kinds.count(FrameKind.CROSS_FADE) / len(kinds)


def watch(told: Dream, engine: TimedEngine, seconds: float, seen: Seen | None = None) -> Seen:
    seen = seen or Seen()
    until = told.clock.now + seconds
    while told.clock.now < until:
        engine.turn()
        for _ in range(50):
            if not told.controller.turn():
                break
        before = told.playback.frames_shown
        told.playback.tick(told.clock.now)
        if told.playback.frames_shown > before and told.playback.newest is not None:
            seen.at.append(told.clock.now)
            seen.kinds.append(told.playback.newest.kind)
            seen.pace.append(told.playback.speed)
            if told.playback.newest.kind is FrameKind.KEYFRAME:
                seen.keyframes.append(told.clock.now)
        told.clock.now += TICK_S
    return seen


@pytest.fixture
def begin(tmp_path: Path) -> Callable[[float, float], tuple[Dream, TimedEngine]]:
    def start(keyframe_s: float, frame_s: float) -> tuple[Dream, TimedEngine]:
        told = dream(tmp_path, buffer_s=4.0 * GAP_S)
        return told, TimedEngine(told, keyframe_s, frame_s)

    return start


def test_a_fast_engine_decodes_every_frame_and_rests(begin) -> None:
    told, engine = begin(0.1, 0.01)
    seen = watch(told, engine, 15.0)
    began = seen.at[0] + 4.0
    assert seen.made_share(began) == 0.0
    assert seen.longest_wait(began) <= 2.0 / FPS
    assert np.median(np.diff([at for at in seen.keyframes if at > began])) == pytest.approx(GAP_S, rel=0.25)


def test_a_slow_engine_is_seen_as_softer_motion_and_not_as_a_slower_dream(begin) -> None:
    told, engine = begin(0.35, 0.15)  # all frames would take 1.7 s of each second
    seen = watch(told, engine, 30.0)
    began = seen.at[0] + 15.0
    assert seen.made_share(began) > 0.4
    assert seen.longest_wait(began) <= 3.0 / FPS
    assert min(seen.paces(began)) > 0.8
    assert np.median(np.diff([at for at in seen.keyframes if at > began])) == pytest.approx(GAP_S, rel=0.3)


def test_only_where_even_keyframes_are_late_does_the_dream_slow_down(begin) -> None:
    told, engine = begin(2.0 * GAP_S, 0.1)
    seen = watch(told, engine, 40.0)
    began = seen.at[0] + 12.0
    assert 0.4 < np.median(seen.paces(began)) < 0.6
    assert seen.longest_wait(began) <= 2.0 / FPS, "the display keeps its rate all the same"
    assert max(abs(np.diff(seen.paces(began)))) < 0.05, "no change of speed is sudden"


@pytest.mark.parametrize(
    "factor",
    [10.0, pytest.param(0.1, marks=pytest.mark.long)],
    ids=["ten times slower", "ten times faster"],
)
def test_an_engine_that_changes_its_speed_tenfold_in_mid_run_never_freezes_the_display(begin, factor) -> None:
    slow, fast = (0.6, 0.12), (0.06, 0.012)
    told, engine = begin(*(fast if factor > 1.0 else slow))
    seen = watch(told, engine, 12.0)
    engine.keyframe_s, engine.frame_s = engine.keyframe_s * factor, engine.frame_s * factor
    changed = told.clock.now
    seen = watch(told, engine, 25.0, seen)
    began = seen.at[0] + 6.0
    assert seen.longest_wait(began) < 0.5
    assert max(abs(np.diff(seen.paces(began)))) < 0.1
    assert min(seen.paces(changed + 12.0)) > 0.75
    assert (seen.made_share(changed + 12.0) > 0.3) is (factor > 1.0)
    assert told.buffer.skipped == 0
