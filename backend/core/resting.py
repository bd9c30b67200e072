"""Why nothing is sent for at present: a pause, a machine left to others, an engine that is to begin anew."""

from __future__ import annotations

import logging

from backend.core.engine_care import EngineCare
from backend.core.engine_link import EngineLink
from backend.core.gap import GapFiller
from backend.core.playback import Playback
from backend.utils.logs import EVENT
from backend.utils.status_schema import Reason

log = logging.getLogger(__name__)


class Resting:
    """Who wants the engine left alone. Whoever wishes it so may say it from any thread.

    Attributes:
        paused: Whether somebody has asked for a pause.
        left_for: For whom the machine is left alone; None while it is not.
    """

    def __init__(self, gaps: GapFiller, playback: Playback, link: EngineLink, care: EngineCare) -> None:
        self.paused = False
        self.left_for: Reason | None = None
        self._gaps = gaps
        self._playback = playback
        self._link = link
        self._care = care
        self._renewing: str | None = None
        self._freed = True

    @property
    def wished(self) -> bool:
        """Whether nothing more is to be sent for."""
        return self.paused or self.left_for is not None or self._renewing is not None

    def pause(self) -> None:
        """Hold the picture, too, until resume()."""
        self.paused = self._playback.paused = True

    def resume(self) -> None:
        """Go on after pause()."""
        self._gaps.engine_begins()
        self.paused = self._playback.paused = False
        self._playback.wake()

    def leave(self, reason: Reason | None, *, dark: bool) -> None:
        """Leave the machine to somebody else for this reason, showing nothing if ``dark``; None: go on."""
        before, self.left_for = self.left_for, reason
        self._playback.dark = dark and reason is not None
        if reason is None and before is not None:
            self._gaps.engine_begins()
            self._link.take_up()
        elif reason is not None and before is None:
            self._freed = False
        self._playback.wake()

    def renew(self, why: str) -> None:
        """Begin an engine of ours anew, once what it is at work on has come."""
        if self._renewing is None:
            log.warning("%s: the engine is begun anew", why, extra=EVENT)
        self._renewing = why

    def settle(self) -> bool:
        """Nothing of ours is with the engine: do what waited for that; False if nothing did."""
        if self.left_for is not None and not self._freed:
            self._freed = True
            self._link.let_go()
            return True
        if self._renewing is None:
            return False
        why, self._renewing = self._renewing, None
        return self._care.renew(why)
