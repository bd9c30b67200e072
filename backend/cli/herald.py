"""Tells the service manager how the dream goes; what is told is true, or it is not told."""

from __future__ import annotations

import logging
from collections.abc import Callable

from backend.service.notify import ServiceManager

log = logging.getLogger(__name__)

# Systemd recommends half of the watchdog's time; a machine under load may be late by as much again.
_PINGS_A_WATCHDOG = 4
_STATUS_S = 5.0


class Herald:
    """Speaks for the main loop, a few times a second.

    Args:
        manager: Who is told.
        clock: Monotonic seconds.
    """

    def __init__(self, manager: ServiceManager, clock: Callable[[], float]) -> None:
        self._manager = manager
        self._clock = clock
        self._pinged = self._told = float("-inf")
        self._line = ""
        self._silent_about: str | None = None
        self._reloaded: Callable[[], bool] | None = None

    def ready(self) -> None:
        """All parts have been started."""
        self._manager.ready()

    def reloading(self, done: Callable[[], bool]) -> None:
        """Settings are being read again until ``done`` says that they are."""
        self._manager.reloading()
        self._reloaded = done

    def stopping(self) -> None:
        """The parts are about to be stopped."""
        self._manager.stopping()

    def turn(self, stalled: str | None, describe: Callable[[], str]) -> None:
        """Tell what is due.

        Args:
            stalled: Who hangs; None while the dream lives, and only then a watchdog is told so.
            describe: How it goes, in one line.
        """
        if not self._manager.there:
            return
        now = self._clock()
        if self._reloaded is not None and self._reloaded():
            self._reloaded = None
            self._manager.ready()
        self._ping(now, stalled)
        if now - self._told >= _STATUS_S:
            self._told = now
            line = describe() if stalled is None else f"{stalled}; {describe()}"
            if line != self._line:
                self._line = line
                self._manager.status(line)

    def _ping(self, now: float, stalled: str | None) -> None:
        if stalled != self._silent_about:
            self._silent_about = stalled
            if stalled is not None and self._manager.watchdog_s is not None:
                log.error("the watchdog is not told of life: %s", stalled)
        if self._manager.watchdog_s is None or stalled is not None:
            return
        if now - self._pinged >= self._manager.watchdog_s / _PINGS_A_WATCHDOG:
            self._pinged = now
            self._manager.alive()
