"""The one thread that executes prompts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from backend.engine.executor import Executor
from backend.engine.progress import Audience, Progress
from backend.engine.prompt_queue import PromptQueue, QueueItem

_log = logging.getLogger(__name__)

_IDLE_S = 1.0


@dataclass(frozen=True)
class Busyness:
    """How well the engine is used.

    Attributes:
        jobs: Prompts that ended.
        busy_s: Seconds spent in executing them.
        wall_s: Seconds since the first one started; 0 before.
    """

    jobs: int
    busy_s: float
    wall_s: float


class Worker:
    """Takes prompts from the queue and runs them, one ``turn`` at a time."""

    def __init__(
        self,
        queue: PromptQueue,
        executor: Executor,
        audience: Audience,
        *,
        clock: Callable[[], float],
        wall_ms: Callable[[], int],
    ) -> None:
        self._queue = queue
        self._executor = executor
        self._audience = audience
        self._clock = clock
        self._wall_ms = wall_ms
        self._thread: threading.Thread | None = None
        self._to_forget = threading.Event()
        self._first_at_s: float | None = None
        self._busy_s = 0.0
        self._jobs = 0
        self.progress: Progress | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="engine-worker", daemon=True)
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Waits for the thread after the queue was closed; whether it ended."""
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def forget_results(self) -> None:
        """Before the next prompt all node results are dropped."""
        self._to_forget.set()

    def busyness(self) -> Busyness:
        wall_s = 0.0 if self._first_at_s is None else self._clock() - self._first_at_s
        return Busyness(self._jobs, self._busy_s, wall_s)

    def _run(self) -> None:
        while not self._queue.closed:
            try:
                self.turn(_IDLE_S)
            except Exception:  # noqa: BLE001 - the top of the thread: it must outlive whatever happens
                _log.exception("the engine's worker stumbled")
                self._queue.abandon()

    def turn(self, timeout_s: float) -> bool:
        """Runs the next prompt, if one comes in time; whether one did."""
        item = self._queue.take(timeout_s)
        if self._to_forget.is_set():
            self._to_forget.clear()
            self._executor.forget()
        if item is None:
            return False
        self._execute(item)
        return True

    def _execute(self, item: QueueItem) -> None:
        began_s = self._clock()
        self._first_at_s = began_s if self._first_at_s is None else self._first_at_s
        self.progress = progress = Progress(item, self._audience, self._wall_ms)
        result = self._executor.run(item, progress).as_json()
        self._busy_s += self._clock() - began_s
        self._jobs += 1
        # History first: the end that clients hear promises that it is written.
        self._queue.done(item, result)
        progress.end()
        self.progress = None
