"""**DreamController**: the dream loop, one turn() at a time.

The engine never waits for us: when a keyframe arrives, the next one is sent for at once, and only
then are the in-betweens up to it planned, which the engine finds queued behind. Back-pressure comes
from the buffer, in seconds of dream. Nothing ends the loop but stop().
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from backend.core.engine_link import Connectable, EngineLink, went_with_engine
from backend.core.frame_buffer import FrameBuffer
from backend.core.gap import GapFiller
from backend.core.generator import DreamGenerator, Keyframe, KeyframeJob
from backend.core.headroom import Headroom
from backend.core.playback import Playback
from backend.core.resting import Resting
from backend.core.resuming import Counts, Resumed, Resuming
from backend.core.setbacks import Setbacks
from backend.core.standing import Standing
from backend.core.trouble import Trouble
from backend.errors import (
    DreamloopError,
    EngineError,
    JobFailed,
    LatentRejected,
    PictureRejected,
    Problem,
)
from backend.interpolation.latent_encoder import warm_up
from backend.utils.part import Part
from backend.utils.prompt_manager import PromptManager
from backend.utils.status_schema import Reason, State

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 0.5
# A turn may ask a slow engine several questions, each of which has a deadline of a minute at most.
_TURN_S = 240.0
_PROMPTS_CHECK_S = 1.0


class KeyframeListener(Protocol):
    """Told of each good keyframe, with its latent where it is at hand; must not wait."""

    def __call__(self, keyframe: Keyframe, latent: Tensor | None, /) -> object: ...


class Errand(Protocol):
    """What is dreamt beside the loop, when the engine has nothing more urgent to do."""

    def send(self) -> bool:
        """Give the engine what was ordered; False if nothing was."""
        ...

    def collect(self) -> bool:
        """Take over what is done; False if nothing is."""
        ...


class DreamController:
    """Decides what the engine works on next, and what to do when something goes wrong.

    Args:
        buffer_s: Seconds of dream to have ahead before the engine may rest.
        clock: Monotonic seconds.
        wall: Local time of day, for the prompts.
        rng: Jitter of the back-off.
        resuming: Keeps what a restart goes on from; None where none is to.
        resumed: What an earlier run had come to.
        aside: What is dreamt beside the loop, if anything is.
    """

    def __init__(
        self,
        engine: Connectable,
        generator: DreamGenerator,
        gaps: GapFiller,
        prompts: PromptManager,
        buffer: FrameBuffer,
        playback: Playback,
        *,
        buffer_s: float,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        rng: random.Random,
        wake: threading.Event,
        resuming: Resuming | None = None,
        resumed: Resumed | None = None,
        aside: Errand | None = None,
    ) -> None:
        counts = resumed.counts if resumed else Counts()
        self.keyframes = counts.keyframes
        self.keyframe_seconds = 0.0
        self.newest: Keyframe | None = resumed.keyframe if resumed else None
        self.prompt_problems: tuple[Problem, ...] = ()
        self._generator = generator
        self._gaps = gaps
        self._prompts = prompts
        self._buffer = buffer
        self._playback = playback
        self.headroom = Headroom(buffer_s, buffer, gaps)
        self._clock = clock
        self._wall = wall
        self._wake = wake
        self._aside = aside
        self.on_keyframe: KeyframeListener = lambda *_: None
        self.setbacks = Setbacks(counts)
        self._trouble = Trouble(rng)
        self._care = generator.care
        self._link = EngineLink(engine, self._care, self._trouble, self.setbacks, playback)
        self._resting = Resting(gaps, playback, self._link, self._care)
        self._pending: KeyframeJob | None = None
        self._previous: Keyframe | None = self.newest
        self._resuming = resuming
        self._to_open = resumed.to_open if resumed else ()
        self._dreamt = 0  # in this run
        gaps.in_betweens = counts.in_betweens
        self._given_up: str | None = None
        self._soon: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._prompts_checked = clock()
        self.part = Part("dream-loop", self._one_turn, limit_s=_TURN_S, stumbled=self._stumbled)

    def start(self) -> None:
        """Begin to dream."""
        threading.Thread(target=warm_up, name="warm-up", daemon=True).start()
        self.part.start()

    def announce_stop(self) -> None:
        """The daemon is about to end: the state says so from now on."""
        self.part.stopping.set()
        self._wake.set()

    def give_up(self, why: str) -> None:
        """The daemon is about to end because something of it cannot be kept going."""
        self._given_up = why
        self.announce_stop()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the loop after its turn; one that an engine keeps waiting ends with the process."""
        self.announce_stop()
        self.part.stop(timeout_s)
        if self._resuming is not None and not self.part.runs:
            self._resuming.keep_clock(self.counts)

    def pause(self) -> None:
        """Send for nothing more and hold the picture, until resume()."""
        self._resting.pause()
        self._wake.set()

    def resume(self) -> None:
        """Go on after pause()."""
        self._resting.resume()
        self._wake.set()

    def rest(self, reason: Reason | None, *, dark: bool = False) -> None:
        """Leave the engine and its memory to somebody else for this reason; None: go on.

        Args:
            reason: Why, for the status.
            dark: Whether nothing is shown meanwhile; else memories fade into one another.
        """
        self._resting.leave(reason, dark=dark)
        self._wake.set()

    def next_theme(self) -> None:
        """Turn to another theme with the next keyframe."""
        self._prompts.skip(self._clock())

    def look_at_prompts(self) -> None:
        """Read the themes again with the next turn, which is at once."""
        self._prompts_checked = float("-inf")
        self._wake.set()

    def renew_engine(self, why: str) -> None:
        """Begin an engine of ours anew, once what it is at work on has come."""
        self._resting.renew(why)
        self._wake.set()

    def soon(self, work: Callable[[], None]) -> None:
        """Have something done between two turns, by the loop's own thread: it may ask the engine."""
        self._soon.put(work)
        self._wake.set()

    @property
    def resume_problem(self) -> str | None:
        """Why a restart would not go on from the newest keyframe; None where it would."""
        return None if self._resuming is None else self._resuming.problem

    @property
    def engine_restarts(self) -> int:
        """How often an engine of ours was begun anew."""
        return self._care.restarts

    @property
    def engine_restarted_why(self) -> str | None:
        """Why, the last time; None for never."""
        return self._care.restarted_why

    @property
    def connected(self) -> bool:
        """Whether the engine has answered and nothing has been heard to the contrary."""
        return self._link.connected

    def turn(self) -> bool:
        """Do the most urgent thing there is; False if there is nothing to do before the next event."""
        with contextlib.suppress(queue.Empty):
            self._soon.get_nowait()()
        now = self._clock()
        self._look_at_prompts(now)
        self._care.recover(now)
        if self._pending is not None and self._pending.job.done():
            pending, self._pending = self._pending, None
            self._receive(pending, now)
            return True
        if self._gaps.collect():
            if self._link.brings_nothing and not self._playback.engine_away:
                self._link.go_on_without()
            return True
        if self._aside is not None and self._aside.collect():
            return True
        # Work for the engine comes before the pictures that it has made: it must never wait for us.
        if not self._resting.wished and self._send(now):
            return True
        if self._gaps.waiting and self._nothing_follows:
            self._gaps.settle()
            return True
        return self._gaps.check() or (not self._at_engine and self._resting.settle())

    @property
    def _at_engine(self) -> bool:
        """Whether the engine is at work for the dream."""
        return self._pending is not None or self._gaps.busy_at_engine

    @property
    def _nothing_follows(self) -> bool:
        """Whether a keyframe that there is room for is not to be had: then no gap waits for it.

        While the engine rests, one may: there is enough to show, and the next keyframe comes in time.
        """
        return self._pending is None and (self._resting.wished or self.headroom.has_room(self._pending))

    def _send(self, now: float) -> bool:
        """Give the engine work: a keyframe before in-betweens."""
        if self._link.connected and self._link.notice_another():
            return True
        if self._link.may_try(now):
            if not self._link.connected:
                return self._connect(now)
            # In-betweens that a sick engine is not sent take up room, and it gets well by a keyframe only.
            if self._pending is None and (self.headroom.has_room(self._pending) or not self._care.well):
                return self._send_for_next(now)
        try:
            return self._link.connected and (self._gaps.send() or self._send_aside())
        except EngineError as error:
            self._link.lose(error, now)
            return False

    def _send_aside(self) -> bool:
        """What is beside the loop goes to the end of the queue, behind the next keyframe and its gap."""
        calm = self._care.well and (self._pending is not None or not self.headroom.has_room(self._pending))
        return self._aside is not None and calm and self._aside.send()

    @property
    def state(self) -> State:
        """What the machine is doing, in one word."""
        return self._standing.state

    @property
    def reason(self) -> Reason:
        """Why the state is what it is, as a code and a sentence."""
        return self._standing.reason

    @property
    def _standing(self) -> Standing:
        playback = self._playback
        return Standing(
            stopping=self.part.stopping.is_set(),
            given_up=self._given_up,
            paused=self._resting.paused,
            resting_for=self._resting.left_for,
            dark=playback.dark,
            replaying=playback.replaying,
            engine_away=playback.engine_away,
            connected=self._link.connected,
            begun=self._dreamt > 0,
            has_enough=self._pending is None
            and not self._gaps.busy
            and not self.headroom.has_room(self._pending),
            ready_s=self._buffer.ready_s,
            late=playback.is_late or not self._walked,
            storage_error=playback.storage_error,
            sick=self._care.sick,
            trouble=self._trouble.reason,
            prompt_problems=self.prompt_problems,
            size=self._generator.size,
            full_size=self._generator.full_size,
        )

    @property
    def last_error(self) -> str | None:
        """The newest complaint of the engine, None once a keyframe has come."""
        return self._trouble.last_error

    @property
    def _walked(self) -> bool:
        return self._playback.frames_shown > 1 and self.keyframes > 1

    def _look_at_prompts(self, now: float) -> None:
        if now - self._prompts_checked >= _PROMPTS_CHECK_S:
            self._prompts_checked = now
            self.prompt_problems = self._prompts.reload()

    def _connect(self, now: float) -> bool:
        if not self._link.connect(now):
            return False
        self._gaps.engine_begins()
        self._open_what_was_ahead()
        return True

    def _open_what_was_ahead(self) -> None:
        """Have the frames dreamt that an earlier run had promised but did not come to."""
        to_open, self._to_open = self._to_open, ()
        for previous, keyframe in to_open:
            try:
                self._gaps.open(previous, keyframe)
            except (EngineError, LatentRejected) as error:
                log.warning("the way to keyframe %d is left out: %s", keyframe.number, error)

    def _send_for_next(self, now: float) -> bool:
        if not self._gaps.busy:
            self._gaps.engine_begins()
        previous = None if self.setbacks.latent_is_suspect else self._previous
        try:
            self._pending = self._generator.request(self._prompts.current(now, self._wall()), previous)
        except EngineError as error:
            self.setbacks.not_sent(error)
            self._link.lose(error, now)
            return False
        self._care.breaker.sent()
        self._pending.job.add_done_callback(lambda _: self._wake.set())
        return True

    def _receive(self, pending: KeyframeJob, now: float) -> None:
        if self._resuming is not None:
            self._resuming.about_to_ask()
        try:
            keyframe = self._generator.collect(pending)
            self._care.keyframe_worked()
            # The next one first: the engine works on it while the gap up to this one is prepared.
            if not self._resting.wished and self.headroom.has_room_after(keyframe):
                self._continue_from(keyframe, now)
            self._gaps.open(self._previous, keyframe)
        except (EngineError, PictureRejected, LatentRejected) as error:
            self._refuse(error, now)
            return
        self._accept(keyframe)

    def _continue_from(self, keyframe: Keyframe, now: float) -> None:
        try:
            self._pending = self._generator.request(self._prompts.current(now, self._wall()), keyframe)
        except EngineError as error:
            self._link.lose(error, now)
            return
        self._pending.job.add_done_callback(lambda _: self._wake.set())

    @property
    def counts(self) -> Counts:
        """What was counted since the dream began."""
        gaps, setbacks = self._gaps, self.setbacks
        return Counts(
            self.keyframes,
            gaps.in_betweens,
            setbacks.rejected + gaps.rejected,
            setbacks.failed_jobs + gaps.failed_jobs,
            setbacks.retries + gaps.retries,
        )

    def _accept(self, keyframe: Keyframe) -> None:
        if self._resuming is not None:  # before anybody is told of it: what was told is never taken back
            counts = self.counts
            self._resuming.keep(keyframe, replace(counts, keyframes=counts.keyframes + 1))
        spent, self._previous, self.newest = self._previous, keyframe, keyframe
        self.keyframes += 1
        self.keyframe_seconds += keyframe.seconds
        self._dreamt += 1
        self._link.worked()
        self.on_keyframe(keyframe, self._generator.known_latent(keyframe))
        if spent is not None:
            self._generator.retire(spent)

    def _refuse(self, error: DreamloopError, now: float) -> None:
        """A keyframe is no good: count it, wait a little, try another seed."""
        if went_with_engine(error):
            self.setbacks.lost()
            self._link.lose(error, now)
            return
        self.setbacks.refused(error)
        if isinstance(error, JobFailed):
            self._care.keyframe_failed(error, now)
        else:
            self._generator.rejects[error.reason if isinstance(error, PictureRejected) else "latent"] += 1
        if isinstance(error, PictureRejected):
            self._care.keyframe_worked()
        self._trouble.happened(error, now)
        if self._link.brings_nothing:
            self._link.go_on_without()

    def _one_turn(self) -> None:
        self._wake.clear()
        if not self.turn():
            self._wake.wait(_LONGEST_WAIT_S)

    def _stumbled(self, error: Exception) -> None:
        self._trouble.happened(error, self._clock())
