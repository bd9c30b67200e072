"""Prompts of ours that nobody waits for any more, until the server has given them back."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Container

from backend.core.job_actions import Cancel, Patience

_MAX_PROMPTS = 64
_MAX_WATCHED = 8
_TRIES = 5
"""So often a server that answers everything else may leave one unanswered."""


class Cancels:
    """What is to be taken from the server, one call at a time, and never for ever.

    A server that is away is waited for: the prompt may still run there. Not thread-safe.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._waiting: deque[Cancel] = deque(maxlen=_MAX_PROMPTS)
        self._watched: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._not_before = float("-inf")
        self._wait_s = patience.retry_s
        self._answered = True

    @property
    def due_at(self) -> float:
        """When the next one may be tried; infinity where there is none."""
        return self._not_before if self._waiting else float("inf")

    def due(self, now: float) -> bool:
        """Whether next() has one to try now."""
        return bool(self._waiting) and self._not_before <= now

    def add(self, prompt_id: str) -> None:
        """Wants a prompt taken from the server."""
        self._waiting.append(Cancel(prompt_id))

    def watch(self, prompt_id: str, what: str, now: float) -> None:
        """Wants to know whether a prompt that was cancelled at ``now`` stops; ``what`` is it for people."""
        self._watched[prompt_id] = (now, what)
        while len(self._watched) > _MAX_WATCHED:
            self._watched.popitem(last=False)

    def not_stopped(self, running: Container[str], since: float) -> str | None:
        """The watched one, for people, that still runs though it was cancelled at ``since`` or before."""
        for prompt_id in [watched for watched in self._watched if watched not in running]:
            del self._watched[prompt_id]
        return next((what for at, what in self._watched.values() if at <= since), None)

    def next(self) -> Cancel:
        """The one to try now; it is tried again only if it comes back by failed()."""
        return self._waiting.popleft()

    def failed(self, cancel: Cancel, now: float) -> bool:
        """It was not answered; False if it is given up."""
        tries = cancel.tries + self._answered
        self._answered = False
        if tries >= _TRIES:
            return False
        self._not_before = now + self._wait_s
        self._wait_s = min(2 * self._wait_s, self._patience.retry_max_s)
        self._waiting.append(Cancel(cancel.prompt_id, tries))
        return True

    def server_answered(self) -> None:
        """Some call was answered: the server lives."""
        self._answered = True
        self._wait_s = self._patience.retry_s

    def clear(self) -> list[str]:
        """Gives up all of them; their prompts."""
        prompt_ids = [cancel.prompt_id for cancel in self._waiting]
        self._waiting.clear()
        return prompt_ids
