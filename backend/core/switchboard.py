"""Where the socket's news meets the jobs: what the listener hears goes to the tracker, under one lock."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from backend.core.comfyui_messages import Event, FeatureFlags
from backend.core.hearing import Connection, Hearing
from backend.core.job_tracker import JobTracker
from backend.core.settler import tell_news

log = logging.getLogger(__name__)


class Switchboard:
    """The listener's ears, and what is known of the connection. Thread-safe.

    Attributes:
        lock: Guards the tracker and the hearing; notified when either changes.
    """

    def __init__(self, tracker: JobTracker, *, clock: Callable[[], float]) -> None:
        self.lock = threading.Condition()
        self._tracker = tracker
        self._clock = clock
        self._hearing = Hearing()
        self._failed_connects = 0
        self._waited_in_vain = False
        self._state: tuple[bool, str] = (False, "closed")
        self._state_since = clock()

    @property
    def client_id(self) -> str:
        """The id of the newest connection, empty before the first."""
        return self._hearing.client_id

    @property
    def messages(self) -> int:
        """How many messages the newest connection has brought."""
        return self._hearing.heard

    @property
    def connection(self) -> Connection:
        """How we stand with the server."""
        with self.lock:
            self._note_state()
            return Connection(self._tracker.reachable, self._hearing.state, self._clock() - self._state_since)

    def opened(self, client_id: str) -> None:
        """A new connection stands."""
        with self.lock:
            self._hearing.opened(client_id, self._clock())
            self._tracker.reachable = True
            self._waited_in_vain = False
            self._changed()

    def closed(self, reason: str, *, nobody: bool) -> None:
        """The connection is gone, or could not be made."""
        log.debug("socket: %s", reason)
        with self.lock:
            self._failed_connects += 1
            if nobody:
                self._tracker.reachable = False
            self._hearing.closed()
            self._changed()

    def heard(self, event: Event) -> None:
        """Something was said; jobs that it ends are told here and now."""
        with self.lock:
            now = self._clock()
            self._hearing.message()
            if isinstance(event, FeatureFlags):
                self._hearing.named_pictures = event.preview_metadata
            self._tracker.hear(event, now, named_pictures=self._hearing.named_pictures)
            if self._tracker.listening != self._hearing.listening:
                self._changed()
            elif self._tracker.wake_at() <= now:
                self.lock.notify_all()
        tell_news(self._tracker, self.lock)

    def tick(self) -> bool:
        """Whether the listener should connect anew."""
        with self.lock:
            now = self._clock()
            anew = self._hearing.tick(now)
            if self._tracker.listening != self._hearing.listening:
                self._changed()
            self._tracker.expire(now)
        tell_news(self._tracker, self.lock)
        return anew

    def posted(self, messages_before: int) -> None:
        """A POST was answered, before which so many messages had come."""
        with self.lock:
            self._hearing.posted(messages_before, self._clock())

    def answered(self, reachable: bool) -> bool:
        """A call was answered, or not; True if the server has just come back."""
        with self.lock:
            came_back = reachable and not self._tracker.reachable
            if reachable:
                self._tracker.answer_came()
            self._tracker.reachable = reachable
            self._waited_in_vain = self._waited_in_vain and not came_back
            self._note_state()
        return came_back

    def await_socket(self, kick: Callable[[], None], timeout_s: float) -> None:
        """Waits until something is heard, if it is of use: ``kick`` makes the listener try at once."""
        with self.lock:
            if self._hearing.settled or self._waited_in_vain:
                return
            failed = self._failed_connects
            kick()
            self.lock.wait_for(lambda: self._hearing.settled or self._failed_connects > failed, timeout_s)
            self._waited_in_vain = not self._hearing.settled

    def _changed(self) -> None:
        self._tracker.listening = self._hearing.listening
        self._note_state()
        self.lock.notify_all()

    def _note_state(self) -> None:
        state = (self._tracker.reachable, self._hearing.state)
        if state != self._state:
            self._state, self._state_since = state, self._clock()
