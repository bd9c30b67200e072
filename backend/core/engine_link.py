"""Between the loop and its engine: does it answer, is it still the same, what is shown where it is away."""

from __future__ import annotations

import logging
from typing import Protocol, TypeGuard

from backend.core.engine import EngineFacts
from backend.core.engine_care import EngineCare
from backend.core.jobs import FailureKind
from backend.core.setbacks import Setbacks
from backend.core.trouble import Trouble
from backend.errors import DreamloopError, EngineError, EngineUnreachable, JobFailed

log = logging.getLogger(__name__)

_TAKEN_ALONG = {kind.value for kind in (FailureKind.UNREACHABLE, FailureKind.LOST, FailureKind.CLOSED)}


class Connectable(Protocol):
    """The engine, as far as the loop itself deals with it."""

    def connect(self) -> EngineFacts: ...

    def free_memory(self) -> None: ...

    @property
    def reachable(self) -> bool:
        """False once the server has been heard to be gone."""
        ...


class Display(Protocol):
    """What shows, with an engine or without."""

    engine_away: bool

    def wake(self) -> None: ...


class EngineLink:
    """Knows whether there is an engine to send to. It belongs to the dream loop and its thread.

    Attributes:
        connected: Whether the engine has answered and nothing has been heard to the contrary.
    """

    def __init__(
        self, engine: Connectable, care: EngineCare, trouble: Trouble, setbacks: Setbacks, playback: Display
    ) -> None:
        self.connected = False
        self._engine = engine
        self._care = care
        self._trouble = trouble
        self._setbacks = setbacks
        self._playback = playback
        self._told = ""

    @property
    def brings_nothing(self) -> bool:
        """Whether an engine that answers has nothing to show for it."""
        return self._care.sick is not None or self._setbacks.nothing_comes

    def may_try(self, now: float) -> bool:
        """Whether it is time to connect, or to ask for a keyframe."""
        return not self._trouble.waiting(now) and self._care.breaker.ready(now)

    def connect(self, now: float) -> bool:
        """Ask the engine what it has; False where it does not answer, or cannot do what is wished."""
        try:
            facts = self._engine.connect()
        except EngineError as error:
            self.lose(error, now)
            self.go_on_without()
            return False
        told = f"dreaming on {facts.kind} {facts.version} at {facts.url} with {facts.checkpoint}"
        if told != self._told:
            log.info("%s", told)
        self._told = told
        self.connected = True
        self._playback.engine_away = self.brings_nothing
        return True

    def notice_another(self) -> bool:
        """Whether the one that we were connected to has gone, or was restarted by us."""
        restarted = self._care.take_restarted()
        if not restarted and self._engine.reachable:
            return False
        if not restarted:
            self._care.server_gone()
            self.go_on_without()  # to start one of ours again takes a while, in which the display moves on
        self.connected = False
        return True

    def lose(self, error: EngineError, now: float) -> None:
        """The engine does not answer, or refuses work: find out what it has before the next try."""
        self.connected = False
        if isinstance(error, EngineUnreachable | JobFailed):
            self._care.server_gone()
        self._trouble.happened(error, now)

    def worked(self) -> None:
        """A good keyframe has come of it."""
        self._setbacks.over()
        if self.connected:
            self._trouble.over()
            self._playback.engine_away = False
        self._playback.wake()

    def go_on_without(self) -> None:
        """The display moves on by itself."""
        self._playback.engine_away = True
        self._playback.wake()

    def let_go(self) -> None:
        """The machine is left to somebody else: the engine gives memory back, and the display moves on."""
        self.go_on_without()
        if self.connected:
            self._engine.free_memory()

    def take_up(self) -> None:
        """The machine is ours again."""
        self._playback.engine_away = self.brings_nothing or not self.connected


def went_with_engine(error: DreamloopError) -> TypeGuard[JobFailed]:
    """Whether a job failed because its engine is gone."""
    return isinstance(error, JobFailed) and error.kind in _TAKEN_ALONG
