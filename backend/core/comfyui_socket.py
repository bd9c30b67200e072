"""The one WebSocket: keeps it open, reads it, and hands on what it says. Never any HTTP in here.

A client that reads slowly blocks the whole server, so the thread does nothing but read.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from backend.core.comfyui_messages import FEATURE_FLAGS, Event, parse_binary, parse_text
from backend.core.wire import ControlFrame, Wire, WireClosed, connect_wire
from backend.utils.part import Part

log = logging.getLogger(__name__)

# The longest wait between two attempts and the longest handshake that the settings allow, and some more.
_TURN_S = 120.0


class Ears(Protocol):
    """Who listens. The calls come from the listener's thread and must return quickly."""

    def opened(self, client_id: str) -> None: ...

    def closed(self, reason: str, *, nobody: bool) -> None:
        """The connection is gone, or could not be made; ``nobody`` says that nobody answered at all."""
        ...

    def heard(self, event: Event) -> None: ...

    def tick(self) -> bool:
        """Called a few times a second; True asks for a new connection."""
        ...


@dataclass(frozen=True)
class SocketTimes:
    """Intervals in seconds.

    Attributes:
        connect_s: Until a handshake is given up.
        tick_s: Between two ticks while nothing comes.
        ping_s: After this long without a sign of life one is asked for.
        silence_s: After this long without one the connection is dead (half-open).
        backoff_s: First and least wait between two attempts to connect; doubles up to ``backoff_max_s``.
    """

    connect_s: float = 5.0
    tick_s: float = 0.25
    ping_s: float = 5.0
    silence_s: float = 15.0
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0


class SocketListener:
    """Keeps one connection open, with a new client id each time, until it is closed."""

    def __init__(
        self,
        url: Callable[[], str],
        ears: Ears,
        *,
        connect: Callable[[str, float], Wire] | None = None,
        times: SocketTimes | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._url = url
        self._ears = ears
        self._connect = connect or connect_wire
        self._times = times or SocketTimes()
        self._clock = clock
        self._rng = rng or random.Random()
        self._wire: Wire | None = None
        self._kicked = threading.Event()
        self._failures = 0
        self._tried_at = float("-inf")
        self.part = Part("comfyui-socket", self._one_turn, limit_s=_TURN_S, stumbled=self._stumbled)

    def start(self) -> None:
        """Begins to connect."""
        self.part.start()

    def close(self, timeout_s: float) -> None:
        """Closes the connection and ends the thread."""
        self.part.stopping.set()
        self.kick(anew=True)
        self.part.stop(timeout_s)

    def kick(self, *, anew: bool = False) -> None:
        """Shortens a wait for the next attempt; ``anew`` drops the connection that stands, too."""
        wire = self._wire
        if anew and wire is not None:
            wire.abort()
        self._kicked.set()

    def turn(self) -> None:
        """One connection, from the attempt to its end."""
        self._tried_at = self._clock()
        reason = "closed"
        client_id = str(uuid.uuid4())
        try:
            wire = self._connect(socket_url(self._url(), client_id), self._times.connect_s)
        except WireClosed as error:
            self._failures += 1
            self._ears.closed(str(error), nobody=error.nobody)
            return
        self._wire = wire
        try:
            self._listen(wire, client_id)
        except WireClosed as error:
            reason = str(error)
        finally:
            self._wire = None
            wire.abort()
            self._ears.closed(reason, nobody=False)

    def wait_s(self) -> float:
        """How long to wait from the last attempt to the next: jittered, doubling, never below the least."""
        times = self._times
        longest = min(times.backoff_max_s, times.backoff_s * 2.0 ** min(self._failures, 16))
        return max(times.backoff_s, longest * self._rng.uniform(0.5, 1.0))

    def _one_turn(self) -> None:
        self.turn()
        self._rest()

    def _stumbled(self, error: Exception) -> None:
        self._failures += 1

    def _rest(self) -> None:
        waited = self._kicked.wait(max(0.0, self._tried_at + self.wait_s() - self._clock()))
        self._kicked.clear()
        if waited:
            self.part.stopping.wait(max(0.0, self._tried_at + self._times.backoff_s - self._clock()))

    def _listen(self, wire: Wire, client_id: str) -> None:
        wire.send(FEATURE_FLAGS)
        self._ears.opened(client_id)
        alive_at = ticked_at = pinged_at = self._clock()
        while not self.part.stopping.is_set():
            frame = wire.receive(self._times.tick_s)
            self.part.beat()
            now = self._clock()
            if frame is not None:
                alive_at = now
                self._hand_on(frame)
            if now - ticked_at >= self._times.tick_s or frame is None:
                ticked_at = now
                if self._ears.tick():
                    raise WireClosed("nothing was heard")
                if now - alive_at >= self._times.silence_s:
                    raise WireClosed("no sign of life")
                if now - max(alive_at, pinged_at) >= self._times.ping_s:
                    pinged_at = now
                    wire.ping()

    def _hand_on(self, frame: str | bytes | ControlFrame) -> None:
        self._failures = 0
        if isinstance(frame, str):
            self._ears.heard(parse_text(frame))
        elif isinstance(frame, bytes):
            self._ears.heard(parse_binary(frame))


def socket_url(base_url: str, client_id: str) -> str:
    """``http(s)://host:port/path`` -> ``ws(s)://host:port/path/ws?clientId=...``."""
    return f"ws{base_url.rstrip('/').removeprefix('http')}/ws?clientId={client_id}"
