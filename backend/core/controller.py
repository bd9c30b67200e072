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

from backend.core.engine import EngineFacts
from backend.core.frame_buffer import FrameBuffer
from backend.core.gap import GapFiller
from backend.core.generator import DreamGenerator, Keyframe, KeyframeJob
from backend.core.jobs import FailureKind
from backend.core.playback import Playback
from backend.core.resuming import Counts, Resumed, Resuming
from backend.core.standing import Standing
from backend.core.trouble import Trouble
from backend.errors import (
    DreamloopError,
    EngineError,
    EngineUnreachable,
    GraphRejected,
    JobFailed,
    LatentRejected,
    PictureRejected,
    Problem,
)
from backend.interpolation.latent_encoder import warm_up
from backend.utils.logs import EVENT
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
# After so many bad keyframes from one latent the next is dreamt fresh: the latent may be the fault.
_FRESH_AFTER = 3
_ENGINE_LOST = {"unreachable", "lost", "closed"}
# The engine's own troubles, for which no latent is to blame.
_NOT_THE_LATENT = {
    kind.value
    for kind in (
        FailureKind.OUT_OF_MEMORY,
        FailureKind.DEVICE,
        FailureKind.DEADLINE,
        FailureKind.WAITED,
    )
}
# So many keyframes in a row that came to nothing are an engine that is away, for the display.
_AWAY_AFTER = 3


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


class Connectable(Protocol):
    """The engine, as far as the loop itself deals with it."""

    def connect(self) -> EngineFacts: ...

    def free_memory(self) -> None: ...

    @property
    def reachable(self) -> bool:
        """False once the server has been heard to be gone."""
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
        self.rejected = counts.rejected
        self.keyframe_seconds = 0.0
        self.failed_jobs = counts.failed_jobs
        self.retries = counts.retries
        self.newest: Keyframe | None = resumed.keyframe if resumed else None
        self.prompt_problems: tuple[Problem, ...] = ()
        self._engine = engine
        self._generator = generator
        self._gaps = gaps
        self._prompts = prompts
        self._buffer = buffer
        self._playback = playback
        self.buffer_s = buffer_s
        self._clock = clock
        self._wall = wall
        self._wake = wake
        self._aside = aside
        self.on_keyframe: KeyframeListener = lambda *_: None
        self._trouble = Trouble(rng)
        self._care = generator.care
        self._bad_in_a_row = 0
        self._refused_in_a_row = 0
        self._connected = False
        self._told = ""
        self._pending: KeyframeJob | None = None
        self._previous: Keyframe | None = self.newest
        self._resuming = resuming
        self._to_open = resumed.to_open if resumed else ()
        self._dreamt = 0  # in this run
        gaps.in_betweens = counts.in_betweens
        self._paused = False
        self._resting_for: Reason | None = None
        self._renewing: str | None = None
        self._freed = True
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
            self._resuming.keep_clock(self._counts)

    def pause(self) -> None:
        """Send for nothing more and hold the picture, until resume()."""
        self._paused = self._playback.paused = True
        self._wake.set()

    def resume(self) -> None:
        """Go on after pause()."""
        self._gaps.engine_begins()
        self._paused = self._playback.paused = False
        self._wake.set()
        self._playback.wake()

    def rest(self, reason: Reason | None, *, dark: bool = False) -> None:
        """Leave the engine and its memory to somebody else for this reason; None: go on.

        Args:
            reason: Why, for the status.
            dark: Whether nothing is shown meanwhile; else memories fade into one another.
        """
        before, self._resting_for = self._resting_for, reason
        self._playback.dark = dark and reason is not None
        if reason is None and before is not None:
            self._gaps.engine_begins()
            self._playback.engine_away = self._is_away or not self._connected
        elif reason is not None and before is None:
            self._freed = False
        self._wake.set()
        self._playback.wake()

    def next_theme(self) -> None:
        """Turn to another theme with the next keyframe."""
        self._prompts.skip(self._clock())

    def look_at_prompts(self) -> None:
        """Read the themes again with the next turn, which is at once."""
        self._prompts_checked = float("-inf")
        self._wake.set()

    def renew_engine(self, why: str) -> None:
        """Begin an engine of ours anew, once what it is at work on has come."""
        if self._renewing is None:
            log.warning("%s: the engine is begun anew", why, extra=EVENT)
        self._renewing = why
        self._wake.set()

    def soon(self, work: Callable[[], None]) -> None:
        """Have something done between two turns, by the loop's own thread: it may ask the engine."""
        self._soon.put(work)
        self._wake.set()

    @property
    def buffer_target_s(self) -> float:
        """Seconds of dream to have ahead: gaps that are longer must fit, too."""
        return max(self.buffer_s, self._gaps.gap_s)

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
        return self._connected

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
            if self._is_away and not self._playback.engine_away:
                self._stay_away()
            return True
        if self._aside is not None and self._aside.collect():
            return True
        # Work for the engine comes before the pictures that it has made: it must never wait for us.
        if not self._is_idle and self._send(now):
            return True
        if self._gaps.waiting and self._nothing_follows:
            self._gaps.settle()
            return True
        return self._gaps.check() or self._let_go() or self._renew()

    @property
    def _is_idle(self) -> bool:
        return self._paused or self._resting_for is not None or self._renewing is not None

    def _renew(self) -> bool:
        """Another process of the engine, now that nothing of ours is with this one."""
        if self._renewing is None or self._pending is not None or self._gaps.busy_at_engine:
            return False
        why, self._renewing = self._renewing, None
        return self._care.renew(why)

    def _let_go(self) -> bool:
        """Once what was under way has come, the engine lets go of its memory; the display moves on alone."""
        if self._resting_for is None or self._freed or self._pending is not None or self._gaps.busy_at_engine:
            return False
        self._freed = self._playback.engine_away = True
        self._playback.wake()
        if self._connected:
            self._engine.free_memory()
        return True

    @property
    def _nothing_follows(self) -> bool:
        """Whether a keyframe that there is room for is not to be had: then no gap waits for it.

        While the engine rests, one may: there is enough to show, and the next keyframe comes in time.
        """
        return self._pending is None and (self._is_idle or self._has_room())

    def _send(self, now: float) -> bool:
        """Give the engine work: a keyframe before in-betweens."""
        if self._connected and self._is_another_engine():
            return True
        if not self._trouble.waiting(now) and self._care.breaker.ready(now):
            if not self._connected:
                return self._connect(now)
            # In-betweens that a sick engine is not sent take up room, and it gets well by a keyframe only.
            if self._pending is None and (self._has_room() or not self._care.well):
                return self._send_for_next(now)
        try:
            return self._connected and (self._gaps.send() or self._send_aside())
        except EngineError as error:
            self._lose(error, now)
            return False

    def _send_aside(self) -> bool:
        """What is beside the loop goes to the end of the queue, behind the next keyframe and its gap."""
        calm = self._care.well and (self._pending is not None or not self._has_room())
        return self._aside is not None and calm and self._aside.send()

    def _is_another_engine(self) -> bool:
        """Whether the one that we were connected to has gone, or was restarted by us."""
        restarted = self._care.take_restarted()
        if not restarted and self._engine.reachable:
            return False
        if not restarted:
            self._care.server_gone()
            self._stay_away()  # to start one of ours again takes a while, in which the display moves on
        self._connected = False
        return True

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
            paused=self._paused,
            resting_for=self._resting_for,
            dark=playback.dark,
            replaying=playback.replaying,
            engine_away=playback.engine_away,
            connected=self._connected,
            begun=self._dreamt > 0,
            has_enough=self._pending is None and not self._gaps.busy and not self._has_room(),
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

    def _has_room(self) -> bool:
        coming_s = self._gaps.coming_s(self._pending.folded) if self._pending is not None else 0.0
        room_s = self.buffer_target_s - self._ahead_s - coming_s
        return room_s > 0.0 and self._buffer.size_bytes < self._buffer.max_bytes / 2

    def _look_at_prompts(self, now: float) -> None:
        if now - self._prompts_checked >= _PROMPTS_CHECK_S:
            self._prompts_checked = now
            self.prompt_problems = self._prompts.reload()

    def _connect(self, now: float) -> bool:
        try:
            facts = self._engine.connect()
        except EngineError as error:
            self._lose(error, now)
            self._stay_away()
            return False
        told = f"dreaming on {facts.kind} {facts.version} at {facts.url} with {facts.checkpoint}"
        if told != self._told:
            log.info("%s", told)
        self._told = told
        self._connected = True
        self._gaps.engine_begins()
        self._playback.engine_away = self._is_away
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

    @property
    def _is_away(self) -> bool:
        """Whether an engine that answers brings nothing to show."""
        return self._care.sick is not None or self._refused_in_a_row >= _AWAY_AFTER

    def _stay_away(self) -> None:
        self._playback.engine_away = True
        self._playback.wake()

    def _send_for_next(self, now: float) -> bool:
        if not self._gaps.busy:
            self._gaps.engine_begins()
        previous = self._previous if self._bad_in_a_row < _FRESH_AFTER else None
        try:
            self._pending = self._generator.request(self._prompts.current(now, self._wall()), previous)
        except EngineError as error:
            self._bad_in_a_row += isinstance(error, GraphRejected)
            self._lose(error, now)
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
            if not self._is_idle and self._has_room_after_gap(keyframe):
                self._continue_from(keyframe, now)
            self._gaps.open(self._previous, keyframe)
        except (EngineError, PictureRejected, LatentRejected) as error:
            self._refuse(error, now)
            return
        self._accept(keyframe)

    def _has_room_after_gap(self, keyframe: Keyframe) -> bool:
        return self._ahead_s + self._gaps.coming_s(keyframe.folded) < self.buffer_target_s

    @property
    def _ahead_s(self) -> float:
        return self._buffer.promised_s + self._gaps.opening_s

    def _continue_from(self, keyframe: Keyframe, now: float) -> None:
        try:
            self._pending = self._generator.request(self._prompts.current(now, self._wall()), keyframe)
        except EngineError as error:
            self._lose(error, now)
            return
        self._pending.job.add_done_callback(lambda _: self._wake.set())

    @property
    def _counts(self) -> Counts:
        gaps = self._gaps
        return Counts(
            self.keyframes,
            gaps.in_betweens,
            self.rejected + gaps.rejected,
            self.failed_jobs + gaps.failed_jobs,
            self.retries + gaps.retries,
        )

    def _accept(self, keyframe: Keyframe) -> None:
        if self._resuming is not None:  # before anybody is told of it: what was told is never taken back
            counts = self._counts
            self._resuming.keep(keyframe, replace(counts, keyframes=counts.keyframes + 1))
        spent, self._previous, self.newest = self._previous, keyframe, keyframe
        self.keyframes += 1
        self.keyframe_seconds += keyframe.seconds
        self._dreamt += 1
        self._bad_in_a_row = self._refused_in_a_row = 0
        if self._connected:
            self._trouble.over()
            self._playback.engine_away = False
        self._playback.wake()
        self.on_keyframe(keyframe, self._generator.known_latent(keyframe))
        if spent is not None:
            self._generator.retire(spent)

    def _refuse(self, error: DreamloopError, now: float) -> None:
        """A keyframe is no good: count it, wait a little, try another seed."""
        if isinstance(error, JobFailed):
            self.failed_jobs += 1
            if error.kind in _ENGINE_LOST:
                self._lose(error, now)
                return
            self._care.keyframe_failed(error, now)
        else:
            self.rejected += 1
            reason = error.reason if isinstance(error, PictureRejected) else "latent"
            self._generator.rejects[reason] += 1
        if isinstance(error, PictureRejected):
            self._care.keyframe_worked()
        self._bad_in_a_row += not (isinstance(error, JobFailed) and error.kind in _NOT_THE_LATENT)
        self._refused_in_a_row += 1
        self.retries += 1
        self._trouble.happened(error, now)
        if self._is_away:
            self._stay_away()

    def _lose(self, error: EngineError, now: float) -> None:
        """The engine does not answer, or refuses work: find out what it has before the next try."""
        self._connected = False
        if isinstance(error, EngineUnreachable | JobFailed):
            self._care.server_gone()
        self._trouble.happened(error, now)

    def _one_turn(self) -> None:
        self._wake.clear()
        if not self.turn():
            self._wake.wait(_LONGEST_WAIT_S)

    def _stumbled(self, error: Exception) -> None:
        self._trouble.happened(error, self._clock())
