"""Decides what becomes of each job, without touching the network.

In go the socket's events, the answers to our questions and clock readings; out come what to do next and the
jobs that have ended. The socket is only a hint and the history is the truth: a job without news is looked
up, one that is nowhere to be found twice over is lost and posted again, and so is one that succeeded while
its pictures went by on a socket that was not heard. Nothing goes on beyond a job's deadline, and what the
server works on without showing anything for too long is given up before, with what waits behind it.

Not thread-safe: the client holds its lock around every call.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from backend.core.attempt import Attempt
from backend.core.cancels import Cancels
from backend.core.comfyui_answers import HistoryEntry, Outcome
from backend.core.comfyui_messages import Event, Executing, PictureArrived
from backend.core.failures import failed
from backend.core.job_actions import Action, Cancel, Fetch, Forget, LookUp, Patience, PostAgain
from backend.core.jobs import Failed, FailureKind, Finished, Graph, Interrupted, Job, JobEnd, Picture
from backend.core.silence import Silence

# Whoever takes this share of the patience to answer a question was standing still himself.
_STOOD_STILL = 1 / 3
# One call for so many keeps the cost small; fewer than this are left behind at the end.
_FORGET_AT_ONCE = 16


class _Step(Enum):
    WATCH = "watch"
    FETCH = "fetch"
    POST_AGAIN = "post_again"


@dataclass
class _Tracked:
    job: Job
    attempt: Attempt
    deadline_at: float
    step: _Step = _Step.WATCH
    instead_of: str = ""
    losses_left: int = 1
    interrupts_left: int = 1
    silences_left: int = 2
    distrusted: int | None = None
    had: int = 0


class JobTracker:
    """All jobs that have not ended, in the order in which they were submitted."""

    def __init__(self, new_id: Callable[[], str], patience: Patience | None = None) -> None:
        self._new_id = new_id
        self._patience = patience or Patience()
        self._jobs: OrderedDict[str, _Tracked] = OrderedDict()
        self._cancels = Cancels(self._patience)
        self._silence = Silence(self._patience)
        self._listened: int | None = None
        self._quiet_from = float("-inf")
        self._cancelled_last = False
        self._ended: list[tuple[Job, JobEnd]] = []
        self._arrived: list[tuple[Job, int, Picture]] = []
        self._to_forget: deque[str] = deque(maxlen=4 * _FORGET_AT_ONCE)
        self._speaker: str | None = None
        self._retry_at = float("-inf")
        self._retry_s = self._patience.retry_s
        self.listening: int | None = None
        """The number of the connection that is heard, or None."""
        self.reachable = False
        """Whether the last call was answered."""
        self.reposts = 0

    def add(self, graph: Graph, pictures: int, deadline_at: float, now: float) -> tuple[Job, Attempt]:
        """A new job, not yet posted."""
        attempt = Attempt(self._new_id(), graph, pictures, self.listening, now)
        job = Job(attempt.prompt_id)
        self._jobs[attempt.prompt_id] = _Tracked(job, attempt, deadline_at)
        return job, attempt

    def remove(self, attempt: Attempt) -> None:
        """Forgets a job whose first POST was refused; its caller gets the error."""
        self._jobs.pop(attempt.prompt_id, None)

    def answered(self, attempt: Attempt, now: float) -> None:
        """The POST was answered, or its answer is lost and the server may have taken it."""
        attempt.answered = True
        attempt.heard_at = max(attempt.heard_at, now)

    def holds(self, attempt: Attempt) -> bool:
        """Whether anybody still waits for this attempt."""
        return attempt.prompt_id in self._jobs

    def tracks(self, prompt_id: str) -> bool:
        """Whether this is the newest id of a job of ours that has not ended."""
        return prompt_id in self._jobs

    def cancel(self, job: Job) -> str | None:
        """Ends a job as Interrupted; returns the prompt to take from the server."""
        tracked = self._jobs.get(job.prompt_id)
        if tracked is None or tracked.job is not job:
            return None
        self._end(tracked, Interrupted(job.prompt_id))
        return job.prompt_id

    def cancel_failed(self, cancel: Cancel, now: float) -> bool:
        """A prompt could not be taken from the server, which did not answer; False if it is given up."""
        return self._cancels.failed(cancel, now)

    def close(self) -> list[str]:
        """Ends everything; returns the prompts to take from the server."""
        ids = [*self._cancels.clear(), *self._jobs]
        for tracked in list(self._jobs.values()):
            end = Failed(tracked.job.prompt_id, FailureKind.CLOSED, "the client was closed")
            self._end(tracked, end)
        return ids

    def take_ended(self) -> list[tuple[Job, JobEnd]]:
        """The jobs that have ended since the last call; to be told without the lock."""
        ended, self._ended = self._ended, []
        return ended

    def take_arrived(self) -> list[tuple[Job, int, Picture]]:
        """The pictures that have come since the last call, with their places; to be told without the lock."""
        arrived, self._arrived = self._arrived, []
        return arrived

    def hear(self, event: Event, now: float, *, named_pictures: bool = False) -> None:
        """Takes in an event; ``named_pictures`` says that our own pictures carry their prompt's id."""
        prompt_id = getattr(event, "prompt_id", None)
        if isinstance(event, PictureArrived) and prompt_id is None:
            # Pictures of prompts without a client id are sent to everybody.
            prompt_id = None if named_pictures else self._speaker
        elif prompt_id is not None:
            self._speaker = prompt_id
        tracked = self._jobs.get(prompt_id or "")
        if tracked is None:
            return
        step_s = tracked.attempt.hear(event, now)
        if step_s is not None:
            self._silence.took(step_s)
        tracked.job.started = tracked.attempt.started
        tracked.job.progress = tracked.attempt.progress
        self._note_arrived(tracked)
        if isinstance(event, Executing) and event.node is None:
            self._over(tracked)

    def _note_arrived(self, tracked: _Tracked) -> None:
        fresh, tracked.attempt.fresh = tracked.attempt.fresh, []
        self._arrived += [(tracked.job, place, picture) for place, picture in fresh]

    def _over(self, tracked: _Tracked) -> None:
        attempt = tracked.attempt
        if attempt.interrupted:
            self._interrupted(tracked)
        elif attempt.error is not None:
            self._end(tracked, failed(attempt.prompt_id, attempt.error))
        elif attempt.succeeded and attempt.whole:
            self._end(tracked, attempt.finish())
        else:
            attempt.asked_at = float("-inf")

    def next_action(self, now: float) -> Action | None:
        """What to do now; None where nothing is due."""
        self.expire(now)
        if self.listening != self._listened:
            # What was said before this was not for us to hear.
            self._listened, self._quiet_from = self.listening, now
        waits = now < self._retry_at
        due = None if waits else next((one for one in self._jobs.values() if self._due_at(one) <= now), None)
        # In turns: neither may starve the other, however long its calls take to fail.
        self._cancelled_last = self._cancels.due(now) and not (due and self._cancelled_last)
        if self._cancelled_last:
            return self._cancels.next()
        if due is not None:
            return self._action(due, now)
        if len(self._to_forget) >= _FORGET_AT_ONCE and not waits:
            forget = Forget(tuple(self._to_forget))
            self._to_forget.clear()
            return forget
        return None

    def expire(self, now: float) -> None:
        """Ends the jobs whose deadline has passed."""
        for tracked in list(self._jobs.values()):
            if now >= tracked.deadline_at:
                self._expire(tracked, now)

    def wake_at(self) -> float:
        """When next_action() should next be asked, by the same clock."""
        soonest = min((self._due_at(tracked) for tracked in self._jobs.values()), default=float("inf"))
        at_once = len(self._to_forget) >= _FORGET_AT_ONCE
        due = max(self._retry_at, float("-inf") if at_once else soonest)
        return min([due, self._cancels.due_at, *(tracked.deadline_at for tracked in self._jobs.values())])

    def _due_at(self, tracked: _Tracked) -> float:
        attempt, patience = tracked.attempt, self._patience
        if not attempt.answered:
            return float("inf")
        if tracked.step is not _Step.WATCH:
            return float("-inf")
        if attempt.over:
            return attempt.asked_at + patience.deaf_poll_s
        newest = max(attempt.heard_at, attempt.asked_at)
        if attempt.succeeded:
            return newest + patience.success_s
        # The server works in order, so only the first of several can be the next to end.
        unheard_first = not self.hears(attempt) and attempt.prompt_id == next(iter(self._jobs))
        return newest + (patience.deaf_poll_s if unheard_first else patience.poll_s)

    def hears(self, attempt: Attempt) -> bool:
        """Whether the socket that the attempt was posted for is heard."""
        return attempt.connection is not None and attempt.connection == self.listening

    def _action(self, tracked: _Tracked, now: float) -> Action:
        attempt = tracked.attempt
        if tracked.step is _Step.FETCH:
            return Fetch(attempt.prompt_id, attempt.previews)
        if tracked.step is _Step.POST_AGAIN:
            return PostAgain(self._renew(tracked, now), tracked.instead_of)
        attempt.asked_at = now
        queue_too = now - attempt.queue_asked_at >= self._patience.miss_gap_s
        if queue_too:
            attempt.queue_asked_at = now
        return LookUp(attempt.prompt_id, queue_too)

    def _renew(self, tracked: _Tracked, now: float) -> Attempt:
        old = tracked.attempt
        del self._jobs[old.prompt_id]
        # A socket that kept its pictures back once is not trusted with them again.
        connection = None if tracked.distrusted == self.listening else self.listening
        had = old.carried_over()
        tracked.attempt = Attempt(self._new_id(), old.graph, old.expected, connection, now, pictures=had)
        tracked.had = len(had)
        tracked.job.prompt_id = tracked.attempt.prompt_id
        tracked.step = _Step.WATCH
        self._jobs[tracked.attempt.prompt_id] = tracked
        self.reposts += 1
        return tracked.attempt

    def _expire(self, tracked: _Tracked, now: float) -> None:
        if not self.reachable:
            kind, message = FailureKind.UNREACHABLE, "the server did not answer until its deadline"
        elif self.hears(tracked.attempt) and not tracked.attempt.started:
            kind, message = FailureKind.WAITED, "it had not begun by its deadline, behind other jobs"
        else:
            kind, message = FailureKind.DEADLINE, "it had not ended by its deadline and was cancelled"
        self._give_up(tracked, kind, message, now)

    def _give_up(self, tracked: _Tracked, kind: FailureKind, message: str, now: float) -> None:
        attempt = tracked.attempt
        self._end(tracked, Failed(attempt.prompt_id, kind, message, attempt.node, attempt.node_type))
        self._cancels.add(attempt.prompt_id)
        self._cancels.watch(attempt.prompt_id, attempt.at_work, now)

    def saw_running(self, prompt_ids: Sequence[str], now: float) -> None:
        """What the server works on: one that was given up and does not stop keeps all others waiting."""
        hangs = self._cancels.not_stopped(prompt_ids, now - self._silence.stop_s)
        if hangs is None:
            return
        message = f"it waits behind {hangs}, which hangs and does not stop though it was told to"
        for tracked in list(self._jobs.values()):
            attempt = tracked.attempt
            if attempt.answered and not attempt.started and tracked.step is _Step.WATCH:
                self._give_up(tracked, FailureKind.DEADLINE, message, now)

    def _check_silence(self, tracked: _Tracked, now: float) -> None:
        """The server has just said that a job has not ended: it must have been heard of lately."""
        attempt = tracked.attempt
        if attempt.steps is None or not attempt.running or not self.hears(attempt):
            return
        if now - attempt.asked_at >= _STOOD_STILL * self._patience.step_s:
            self._quiet_from = now
        silent_s = now - max(attempt.heard_at, self._quiet_from)
        if silent_s < self._silence.allowed_s(attempt.steps):
            return
        self._silence.given_up()
        message = f"{attempt.at_work} showed no progress for {silent_s:.0f} s; it was cancelled"
        self._give_up(tracked, FailureKind.DEADLINE, message, now)

    def answer_came(self) -> None:
        """Any call was answered."""
        self.reachable = True
        self._retry_at, self._retry_s = float("-inf"), self._patience.retry_s
        self._cancels.server_answered()

    def back_off(self, now: float) -> None:
        """A call of ours was not answered, or not in a way that makes sense: wait before the next."""
        self._retry_at = now + self._retry_s
        self._quiet_from = now
        self._retry_s = min(2 * self._retry_s, self._patience.retry_max_s)

    def looked_up(self, prompt_id: str, entry: HistoryEntry | None, queued: bool | None, now: float) -> None:
        """The answer to LookUp; ``queued`` is None if the queue was not asked."""
        tracked = self._jobs.get(prompt_id)
        if tracked is None or tracked.step is not _Step.WATCH:
            return
        if entry is None:
            self._not_ended(tracked, queued, now)
            return
        tracked.attempt.missed_at = None
        if entry.outcome is Outcome.INTERRUPTED:
            self._interrupted(tracked)
        elif entry.outcome is Outcome.ERROR:
            self._end(tracked, failed(prompt_id, entry.error))
        else:
            tracked.attempt.read(entry)
            self._succeeded(tracked, now)

    def fetched(self, prompt_id: str, pictures: Sequence[Picture]) -> None:
        """The answer to Fetch; too few pictures mean that they cannot be had."""
        tracked = self._jobs.get(prompt_id)
        if tracked is None:
            return
        for place, picture in zip(tracked.attempt.missing, pictures, strict=False):
            tracked.attempt.take(place, picture)
        self._note_arrived(tracked)
        if tracked.attempt.has_pictures:
            self._end(tracked, tracked.attempt.finish())
        else:
            self._end(tracked, _no_pictures(tracked.attempt))

    def not_posted(self, attempt: Attempt) -> None:
        """PostAgain did not reach the server for certain: it stays to be posted."""
        tracked = self._jobs.get(attempt.prompt_id)
        if tracked is not None:
            attempt.answered = True
            tracked.step = _Step.POST_AGAIN

    def refused(self, attempt: Attempt, message: str) -> None:
        """The server refused a graph that it took before."""
        tracked = self._jobs.get(attempt.prompt_id)
        if tracked is not None:
            self._end(tracked, Failed(attempt.prompt_id, FailureKind.REJECTED, message))

    def _not_ended(self, tracked: _Tracked, queued: bool | None, now: float) -> None:
        attempt = tracked.attempt
        if queued is None:
            return
        if queued:
            attempt.missed_at = None
            self._check_silence(tracked, now)
        elif attempt.missed_at is None:
            attempt.missed_at = now
        elif now - attempt.missed_at < self._patience.miss_gap_s:
            return
        elif attempt.streamers and attempt.whole:  # all that it was to bring had come before it was lost
            self._end(tracked, attempt.finish())
        else:
            message = "the server knows nothing of it any more"
            end = Failed(attempt.prompt_id, FailureKind.LOST, message)
            tracked.losses_left = self._again(tracked, tracked.losses_left, end)

    def _succeeded(self, tracked: _Tracked, now: float) -> None:
        attempt = tracked.attempt
        if attempt.has_pictures:
            self._end(tracked, attempt.finish())
        elif attempt.by_preview and attempt.previews:
            tracked.step = _Step.FETCH
        elif attempt.over or not self.hears(attempt) or now - attempt.heard_at >= self._patience.grace_s:
            tracked.distrusted = attempt.connection
            # What brought some pictures is asked for the others as often as it goes on to bring some.
            left = tracked.silences_left + (len(attempt.carried_over()) > tracked.had)
            tracked.silences_left = self._again(tracked, left, _no_pictures(attempt))

    def _interrupted(self, tracked: _Tracked) -> None:
        # Not by us: what we cancel is no longer tracked.
        end = Interrupted(tracked.attempt.prompt_id)
        tracked.interrupts_left = self._again(tracked, tracked.interrupts_left, end)

    def _again(self, tracked: _Tracked, tries_left: int, end: JobEnd) -> int:
        """Has the job posted again if it may be, or ends it; returns the tries that are left then."""
        if tries_left <= 0:
            self._end(tracked, end)
            return 0
        tracked.step = _Step.POST_AGAIN
        tracked.instead_of = tracked.attempt.prompt_id
        return tries_left - 1

    def _end(self, tracked: _Tracked, end: JobEnd) -> None:
        if self._jobs.pop(tracked.attempt.prompt_id, None) is not None:
            self._ended.append((tracked.job, end))
            if isinstance(end, Finished):  # failures stay in the history, for whoever looks into them
                self._to_forget.append(end.prompt_id)
                self._silence.ended_well()


def _no_pictures(attempt: Attempt) -> Failed:
    message = f"it succeeded, but of {attempt.expected} pictures {len(attempt.pictures)} came"
    return Failed(attempt.prompt_id, FailureKind.NO_PICTURES, message)
