"""The engine is away for half an hour, by the clock in the hand: who looks at the display must not notice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.core.frame_buffer import FrameKind
from backend.core.jobs import Failed, FailureKind
from backend.errors import EngineUnreachable
from backend.utils.logs import RepeatFilter
from backend.utils.status_schema import ReasonCode, State
from tests.core.test_controller import Clock, Dream, dream
from tests.core.test_remembering import Ring, walk
from tests.fakes.memory_engine import SentJob

log = logging.getLogger(__name__)

OUTAGE_S = 1800.0
FPS = 1.0
GAP_S = 5.0
STEP_S = 0.1
KEYFRAME_S = 3.0
"""A large model on a middling card."""
DEADLINE_S = 300.0


class Lines(logging.Handler):
    """When a line would have been written, by the clock in the hand."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(logging.INFO)
        self.addFilter(RepeatFilter(clock=clock))
        self.at: list[float] = []
        self._clock = clock

    def emit(self, record: logging.LogRecord) -> None:
        self.at.append(self._clock.now)

    def most_a_minute(self, begin: float) -> int:
        """How many there were in the worst minute of those that follow."""
        minutes = [int((at - begin) // 60) for at in self.at if at >= begin]
        return max((minutes.count(minute) for minute in minutes), default=0)


class World:
    """A dream, its engine that works one job after the other, and a display, all on one clock."""

    def __init__(self, made: Dream) -> None:
        self.made, self.clock, self.engine = made, made.clock, made.engine
        self.shown_at: list[float] = []
        self.kinds: set[FrameKind] = set()
        self._due = self._gone = 0.0
        self._at_work: SentJob | None = None
        made.playback.on_shown = self._shown

    def _shown(self) -> None:
        self.shown_at.append(self.clock.now)
        if self.made.playback.newest is not None:
            self.kinds.add(self.made.playback.newest.kind)

    def live(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Everybody does what is theirs, for so long or until something has come about."""
        end = self.clock.now + seconds
        while self.clock.now < end and not until():
            self._work()
            self.made.settle()
            self.made.playback.tick(self.clock.now)
            self.clock.now += STEP_S

    def _work(self) -> None:
        jobs = self.engine.open_jobs
        if not self.engine.reachable:
            self._at_work = None
            if self.clock.now - self._gone >= DEADLINE_S:
                self._fail(jobs, FailureKind.UNREACHABLE, "the server did not answer until its deadline")
        elif not jobs:
            self._at_work = None
        elif self._at_work is not jobs[0]:
            self._at_work, self._due = jobs[0], self.clock.now + self._cost_s(jobs[0])
        elif self.clock.now >= self._due:
            self.engine.finish_next()

    @staticmethod
    def _cost_s(sent: SentJob) -> float:
        return 0.3 * KEYFRAME_S if sent.count > 1 else KEYFRAME_S

    def goes(self) -> None:
        """The server is killed; of what it was at work on nothing is heard any more."""
        self.engine.reachable, self._gone = False, self.clock.now
        self.engine.refuse = EngineUnreachable("http://127.0.0.1:8188", "connection refused")

    def is_back(self) -> None:
        """It answers again, and knows nothing of what it had been asked for."""
        self.engine.refuse = None
        self.engine.reachable = True
        self._fail(self.engine.open_jobs, FailureKind.LOST, "the server was restarted")

    @staticmethod
    def _fail(jobs: list[SentJob], kind: FailureKind, message: str) -> None:
        for sent in jobs:
            sent.job.end(Failed(sent.job.prompt_id, kind, message))

    def rate(self, since: float) -> float:
        """Pictures a second from a moment to now."""
        return sum(at >= since for at in self.shown_at) / (self.clock.now - since)


@contextmanager
def lines(clock: Clock) -> Iterator[Lines]:
    handler, logger = Lines(clock), logging.getLogger("backend")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize(
    "memories", [0, pytest.param(60, marks=pytest.mark.long)], ids=["kept frames", "memories"]
)
def test_a_display_keeps_its_rate_and_a_log_its_peace_while_the_engine_is_away_for_half_an_hour(
    tmp_path: Path, memories: int
) -> None:
    recall = walk(Ring(memories), frame_s=1.0 / FPS, fade_s=GAP_S).frames if memories else None
    world = World(dream(tmp_path, fps=FPS, gap_s=GAP_S, buffer_s=12.0, recall=recall))
    world.live(120.0)
    usual = world.clock.now
    world.live(120.0)
    usual_rate = world.rate(usual)
    with lines(world.clock) as said:
        gone = world.clock.now
        world.goes()
        world.live(OUTAGE_S)
        rate, keyframes = world.rate(gone), world.made.controller.keyframes
        assert world.made.controller.reason.code is ReasonCode.ENGINE_UNREACHABLE
        assert world.made.controller.state is State.REMEMBERING
        assert FrameKind.REPLAY in world.kinds
        back = world.clock.now
        world.is_back()
        world.live(60.0, until=lambda: world.made.controller.keyframes > keyframes)
    log.info("%.3f pictures/s, as usual %.3f; %d lines in %.0f s", rate, usual_rate, len(said.at), OUTAGE_S)
    assert usual_rate == pytest.approx(FPS, rel=0.02)
    assert rate == pytest.approx(usual_rate, rel=0.02)
    assert said.most_a_minute(gone) == 1
    assert world.clock.now - back < 30.0


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.long)])
def test_a_keyframe_comes_within_half_a_minute_even_if_the_engine_returns_just_after_it_was_asked(
    tmp_path: Path, times: int
) -> None:
    """More than once, since the waits between two tries are drawn."""
    world, waits = World(dream(tmp_path, fps=FPS, gap_s=GAP_S, buffer_s=12.0)), []
    for _ in range(times):
        world.live(30.0)
        world.goes()
        world.live(100.0)
        connects = world.engine.connects
        world.live(60.0, until=lambda seen=connects: world.engine.connects > seen)
        back, keyframes = world.clock.now, world.made.controller.keyframes
        world.is_back()
        world.live(60.0, until=lambda seen=keyframes: world.made.controller.keyframes > seen)
        waits.append(world.clock.now - back)
    log.info("first keyframe %.1f to %.1f s after the return", min(waits), max(waits))
    assert max(waits) > 10.0, "waits grow"
    assert max(waits) < 30.0
