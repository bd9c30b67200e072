"""Is the socket heard? Decides from what came over it and when, without touching it.

An open socket is not yet a heard one: the server drops a client's registration in silence when an older
socket of the same id closes, and its publishing can stall altogether. Each POST makes the server broadcast a
``status``; where none comes within a second, the socket is stale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

SocketState: TypeAlias = Literal["open", "stale", "closed"]


@dataclass(frozen=True)
class Connection:
    """How we stand with the server.

    Attributes:
        reachable: Whether it answered when it was last asked.
        socket: ``open`` and heard, ``stale`` (open, but deaf), or ``closed``.
        since_s: For how long this has been so.
    """

    reachable: bool
    socket: SocketState
    since_s: float


class Hearing:
    """The state of the newest connection. Not thread-safe: the client holds its lock around every call."""

    def __init__(self, *, deaf_after_s: float = 1.0, reopen_every_s: float = 60.0) -> None:
        self._deaf_after_s = deaf_after_s
        self._reopen_every_s = reopen_every_s
        self._awaited_since: float | None = None
        self._reopened_at = float("-inf")
        self._heard = 0
        self._open = False
        self._stale = False
        self.number = 0
        """Counts connections, from 1."""
        self.client_id = ""
        self.named_pictures = False
        """Whether the server agreed to name prompt and node of each picture."""

    @property
    def state(self) -> SocketState:
        """The newest connection's state; a new one counts as stale until something is heard."""
        if not self._open:
            return "closed"
        return "open" if self._heard and not self._stale else "stale"

    @property
    def settled(self) -> bool:
        """Whether waiting for a better state is of no use."""
        return self.state == "open" or self._stale

    @property
    def listening(self) -> int | None:
        """The number of the connection if it is heard."""
        return self.number if self.state == "open" else None

    @property
    def heard(self) -> int:
        """How many messages came over this connection."""
        return self._heard

    def opened(self, client_id: str, now: float) -> None:
        """A new connection stands; the server greets with a status."""
        self.number += 1
        self.client_id = client_id
        self.named_pictures = False
        self._open, self._stale, self._heard = True, False, 0
        self._awaited_since = now

    def closed(self) -> None:
        """The connection is gone."""
        self._open = self._stale = False
        self._awaited_since = None

    def message(self) -> None:
        """Something came: whatever it is, the socket is heard."""
        self._heard += 1
        self._stale = False
        self._awaited_since = None

    def posted(self, heard_before: int, now: float) -> None:
        """A POST was answered, before which ``heard_before`` messages had come: a status is due."""
        if self._open and self._heard == heard_before and self._awaited_since is None:
            self._awaited_since = now

    def tick(self, now: float) -> bool:
        """Whether the socket should be closed and opened anew, now."""
        awaited_s = 0.0 if self._awaited_since is None else now - self._awaited_since
        self._stale = self._stale or awaited_s >= self._deaf_after_s
        # A second of grace: what is only late is had without losing the pictures on their way.
        if awaited_s < 2 * self._deaf_after_s or now - self._reopened_at < self._reopen_every_s:
            return False
        self._reopened_at = now
        return True
