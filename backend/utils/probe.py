"""Questions that may never be answered (a driver that hangs), asked so that nobody waits for long."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

DEADLINE_S = 2.0


class Probe(Generic[T]):
    """Asks one thing, on a thread of its own that may be given up.

    A question that hangs is not asked again before it has ended: there is never more than one thread of it.

    Args:
        name: What is asked, for the log.
        ask: Gives the answer; may take for ever, and may raise.
        deadline_s: How long to wait for it.
    """

    def __init__(self, name: str, ask: Callable[[], T], deadline_s: float = DEADLINE_S) -> None:
        self._name = name
        self._ask = ask
        self._deadline_s = deadline_s
        self._running: threading.Thread | None = None
        self._found: T | None = None
        self._told: str | None = None
        self._told_now: str | None = None

    def __call__(self) -> T | None:
        """The answer; None for unknown: it did not come in time, or could not be had."""
        if self._running is not None and self._running.is_alive():
            return None
        self._found, self._told_now = None, None
        thread = threading.Thread(target=self._run, name=f"probe-{self._name}", daemon=True)
        self._running = thread
        thread.start()
        thread.join(self._deadline_s)
        if thread.is_alive():
            self._tell(f"no answer within {self._deadline_s:g} s")
            return None
        self._tell(self._told_now)
        return self._found

    def _run(self) -> None:
        try:
            self._found = self._ask()
        except Exception as error:  # noqa: BLE001 - drivers raise whatever they like, and nothing here depends on them
            self._told_now = f"{type(error).__name__}: {error}"

    def _tell(self, why: str | None) -> None:
        """Say once what is wrong, and once that it is well again."""
        if why is not None and why != self._told:
            log.info("%s is not known: %s", self._name, why)
        elif why is None and self._told is not None:
            log.info("%s is known again", self._name)
        self._told = why
