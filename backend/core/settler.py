"""The settler: the thread that does over HTTP what the job tracker decides."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from backend.core.attempt import Attempt
from backend.core.comfyui_server import ComfyServer
from backend.core.job_actions import Action, Cancel, Fetch, Forget, LookUp, PostAgain
from backend.core.job_tracker import JobTracker
from backend.core.jobs import Picture
from backend.errors import EngineAnswerError, EngineError, EngineUnreachable, GraphRejected
from backend.utils.part import Part

log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 60.0
# A wait, then a question and a file, each with a deadline of its own.
_TURN_S = 240.0


class Settler:
    """Looks up, fetches, posts again and cancels, one call at a time."""

    def __init__(
        self,
        server: ComfyServer,
        tracker: JobTracker,
        lock: threading.Condition,
        post: Callable[[Attempt], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the tracker and the lock that guards it, which is notified when something may be due."""
        self._server = server
        self._tracker = tracker
        self._lock = lock
        self._post = post
        self._clock = clock
        self.emptied = 0
        """Pictures that were fetched and left as empty files, since the server deletes none."""
        self.part = Part("comfyui-settler", self._one_turn, limit_s=_TURN_S, stumbled=self._stumbled)

    def start(self) -> None:
        """Starts the thread."""
        self.part.start()

    def close(self, timeout_s: float) -> None:
        """Ends the thread after the call that it is in."""
        with self._lock:
            self.part.stopping.set()
            self._lock.notify_all()
        self.part.stop(timeout_s)

    def turn(self) -> bool:
        """Does what is due, one thing at most; False if there was nothing."""
        with self._lock:
            action = self._tracker.next_action(self._clock())
        tell_news(self._tracker, self._lock)
        if action is None:
            return False
        try:
            self._do(action)
        except EngineError as error:
            log.debug("%s: %s", type(action).__name__, error)
            with self._lock:
                self._tracker.back_off(self._clock())
        tell_news(self._tracker, self._lock)
        return True

    def _one_turn(self) -> None:
        if not self.turn():
            self._wait()

    def _stumbled(self, error: Exception) -> None:
        with self._lock:
            self._tracker.back_off(self._clock())

    def _wait(self) -> None:
        with self._lock:
            wait_s = self._tracker.wake_at() - self._clock()
            if wait_s > 0 and not self.part.stopping.is_set():
                self._lock.wait(min(wait_s, _LONGEST_WAIT_S))

    def _do(self, action: Action) -> None:
        match action:
            case LookUp():
                self._look_up(action)
            case Fetch():
                self._fetch(action)
            case PostAgain():
                self._post_again(action)
            case Cancel():
                self._cancel(action)
            case Forget():
                self._server.forget(action.prompt_ids)

    def _look_up(self, action: LookUp) -> None:
        entry = self._server.history(action.prompt_id)
        queue = self._server.queue() if entry is None and action.queue_too else None
        queued = None if queue is None else action.prompt_id in queue
        with self._lock:
            now = self._clock()
            if queue is not None:
                self._tracker.saw_running(queue.running, now)
            self._tracker.looked_up(action.prompt_id, entry, queued, now)

    def _fetch(self, action: Fetch) -> None:
        pictures: list[Picture] = []
        try:
            for node_id, file in action.files:
                self.part.beat()
                pictures.append(self._server.picture(file, node_id))
        except EngineAnswerError as error:
            log.warning("a picture cannot be had: %s", error)
        with self._lock:
            self._tracker.fetched(action.prompt_id, pictures)
        tell_news(self._tracker, self._lock)
        for _, file in action.files[: len(pictures)]:
            # The server keeps them until it ends, at a deaf socket gigabytes an hour: leave an empty file.
            self.part.beat()
            self._server.upload(b"", file, overwrite=True)
            self.emptied += 1

    def _post_again(self, action: PostAgain) -> None:
        attempt = action.attempt
        try:
            self._post(attempt)
        except EngineUnreachable:
            with self._lock:
                self._tracker.not_posted(attempt)
            raise
        except (GraphRejected, EngineAnswerError) as error:
            with self._lock:
                self._tracker.refused(attempt, str(error))
            return
        log.info("posted %s again as %s", action.instead_of, attempt.prompt_id)
        self._server.forget([action.instead_of])

    def _cancel(self, action: Cancel) -> None:
        """Failing here must not make look-ups wait: its tries have a back-off of their own."""
        try:
            self._server.take_back([action.prompt_id])
        except EngineAnswerError as error:
            log.warning("%s stays on the server: %s", action.prompt_id, error)
        except EngineUnreachable as error:
            with self._lock:
                again = self._tracker.cancel_failed(action, self._clock())
            if not again:
                log.warning("%s stays on the server: %s", action.prompt_id, error)


def tell_news(tracker: JobTracker, lock: threading.Condition) -> None:
    """Hands jobs their pictures, and ends those that the tracker has decided upon.

    Their callbacks run without the lock.
    """
    with lock:
        arrived, ended = tracker.take_arrived(), tracker.take_ended()
    for job, place, picture in arrived:
        job.deliver(place, picture)
    for job, end in ended:
        job.end(end)
