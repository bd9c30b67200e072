"""The engine's queue of prompts, and the history of those that ended."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from backend.engine.node_type import Graph, JsonObject

HISTORY_SIZE = 1000
"""Prompts remembered; at about 20 kB of memory each. ComfyUI keeps 10 000."""

MAX_PENDING = 10_000


class QueueFull(Exception):  # noqa: N818
    """More prompts are waiting than anybody could want."""


@dataclass(frozen=True, order=True)
class QueueItem:
    """One prompt that waits or runs; the lower number runs first, then the older one.

    Attributes:
        number: Priority as posted or counted.
        age: Count of prompts put before it.
        outputs: Ids of the output nodes to run.
    """

    number: float
    age: int
    prompt_id: str = field(compare=False)
    graph: Graph = field(compare=False)
    extra_data: JsonObject = field(compare=False)
    outputs: tuple[str, ...] = field(compare=False)

    @property
    def client_id(self) -> str | None:
        return self.extra_data.get("client_id")

    def as_json(self) -> list[Any]:
        return [self.number, self.prompt_id, self.graph, self.extra_data, list(self.outputs)]


class PromptQueue:
    """A bounded priority queue with one consumer, and a bounded history.

    Args:
        on_change: Called after each change of the queue, from whatever thread made it, without the lock.
    """

    def __init__(self, on_change: Callable[[], None], *, history_size: int = HISTORY_SIZE) -> None:
        self._on_change = on_change
        self._history_size = history_size
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._pending: list[QueueItem] = []
        self._running: QueueItem | None = None
        self._history: dict[str, JsonObject] = {}
        self._put = 0
        self._closed = False
        self._interrupted = threading.Event()

    def put(
        self, number: float, prompt_id: str, graph: Graph, extra_data: JsonObject, outputs: tuple[str, ...]
    ) -> None:
        """Lets a prompt wait for its turn.

        Raises:
            QueueFull: Too many wait already.
            TypeError: The same id waits with the same number (ComfyUI cannot order these either).
        """
        with self._lock:
            if len(self._pending) >= MAX_PENDING:
                raise QueueFull
            if any(item.number == number and item.prompt_id == prompt_id for item in self._pending):
                raise TypeError(f"prompt {prompt_id} with number {number} waits already")
            heapq.heappush(self._pending, QueueItem(number, self._put, prompt_id, graph, extra_data, outputs))
            self._put += 1
            self._filled.notify()
        self._on_change()

    def take(self, timeout_s: float) -> QueueItem | None:
        """The next prompt, which runs from now on; None if none came in time or the queue was closed."""
        with self._lock:
            self._filled.wait_for(lambda: self._pending or self._closed, timeout_s)
            if self._closed or not self._pending:
                return None
            item = self._running = heapq.heappop(self._pending)
            self._interrupted.clear()
        self._on_change()
        return item

    def done(self, item: QueueItem, result: JsonObject) -> None:
        """The running prompt ended: into the history with it."""
        with self._lock:
            self._running = None
            self._history.pop(item.prompt_id, None)
            self._history[item.prompt_id] = {"prompt": item.as_json(), **result}
            while len(self._history) > self._history_size:
                self._history.pop(next(iter(self._history)))
        self._on_change()

    def abandon(self) -> None:
        """The running prompt is lost: neither ended nor waiting."""
        with self._lock:
            self._running = None
        self._on_change()

    def close(self) -> None:
        """Nothing is taken any more, and what runs is interrupted."""
        with self._lock:
            self._closed = True
            self._interrupted.set()
            self._filled.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def interrupted(self) -> bool:
        """Whether the running prompt is to stop; forgotten when the next one starts."""
        return self._interrupted.is_set()

    def interrupt(self, prompt_id: str | None = None) -> bool:
        """Asks the running prompt to stop; with an id only if it is that one. Whether it was asked."""
        with self._lock:
            if prompt_id is not None and (self._running is None or self._running.prompt_id != prompt_id):
                return False
            self._interrupted.set()
            return self._running is not None

    def delete(self, prompt_ids: Collection[str]) -> bool:
        """Takes waiting prompts back; whether there were any."""
        with self._lock:
            kept = [item for item in self._pending if item.prompt_id not in prompt_ids]
            found = len(kept) < len(self._pending)
            self._pending = kept
            heapq.heapify(self._pending)
        if found:
            self._on_change()
        return found

    def clear(self) -> None:
        """Takes all waiting prompts back, whoever posted them."""
        with self._lock:
            self._pending.clear()
        self._on_change()

    def remaining(self) -> int:
        with self._lock:
            return len(self._pending) + (self._running is not None)

    def running(self) -> QueueItem | None:
        return self._running

    def snapshot(self) -> tuple[list[QueueItem], list[QueueItem]]:
        """What runs and what waits, the latter in no particular order."""
        with self._lock:
            return ([self._running] if self._running else []), list(self._pending)

    def history(self, prompt_id: str | None = None) -> dict[str, JsonObject]:
        """All ended prompts, oldest first, or the one asked for if it ended."""
        with self._lock:
            if prompt_id is None:
                return dict(self._history)
            entry = self._history.get(prompt_id)
            return {} if entry is None else {prompt_id: entry}

    def forget(self, prompt_ids: Collection[str]) -> None:
        with self._lock:
            for prompt_id in prompt_ids:
                self._history.pop(prompt_id, None)

    def forget_all(self) -> None:
        with self._lock:
            self._history.clear()
