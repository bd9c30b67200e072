"""A long-running part of the daemon: a thread that takes one turn after another and can be watched."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from backend.errors import DreamloopError

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 8.0
# The world's doing, not ours: a full disk or a server gone mad is waited out, however often it comes.
_CIRCUMSTANCES = (DreamloopError, OSError)


class Part:
    """Takes turns on a thread of its own until it is told to stop.

    A turn that raises is told of, and the next one comes after a pause, longer each time in a row. Where it
    is a fault of the program it counts as a crash, as does the end of the thread: who supervises decides.

    Args:
        name: What people and the thread call it.
        turn: One step, its waiting included.
        limit_s: No turn takes longer, unless it hangs; beat() within a long one begins the time anew.
        stumbled: Told of what a turn raised.
    """

    def __init__(
        self,
        name: str,
        turn: Callable[[], None],
        *,
        limit_s: float,
        stumbled: Callable[[Exception], None] | None = None,
    ) -> None:
        self.name = name
        self.limit_s = limit_s
        self.stopping = threading.Event()
        self.pausing = False
        """Whether it waits after a turn that raised."""
        self.beats = 0
        """Turns begun, and more where a turn tells of its progress."""
        self.crashes = 0
        self.last_crash = ""
        self._turn = turn
        self._stumbled = stumbled
        self._in_a_row = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to take turns; once more after the thread has died."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Ends after the turn that it is in; may be called from that turn, and more than once."""
        self.stopping.set()
        if self._thread is not None and self._thread.ident != threading.get_ident():
            self._thread.join(timeout_s)

    @property
    def runs(self) -> bool:
        """Whether its thread is there."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def died(self) -> bool:
        """Whether its thread has ended though nobody stopped it."""
        return self._thread is not None and not self._thread.is_alive() and not self.stopping.is_set()

    def beat(self) -> None:
        """Tells of progress within a turn."""
        self.beats += 1

    def _run(self) -> None:
        while not self.stopping.is_set():
            self.beat()
            try:
                self._turn()
                self._in_a_row = 0
            except Exception as error:
                log.exception("%s stumbled; it goes on", self.name)
                self._note(error)
                self.pausing = True
                self.stopping.wait(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._in_a_row, 8)))
                self.pausing = False
                self._in_a_row += 1

    def _note(self, error: Exception) -> None:
        if not isinstance(error, _CIRCUMSTANCES):
            self.crashes += 1
            self.last_crash = f"{type(error).__name__}: {error}"
        if self._stumbled is not None:
            self._stumbled(error)
