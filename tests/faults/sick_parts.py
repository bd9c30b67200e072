"""What makes a daemon ill: called in its process before it begins."""

from __future__ import annotations

import itertools
import resource
import signal
import time
from typing import Any

from backend.core import playback, supervisor, upkeep
from backend.core.controller import DreamController
from backend.core.playback import Playback
from backend.core.scorer import Scorer
from backend.utils import part

_HEALTHY_TICKS = 40
FILES = 64
LEAK_BYTES = 300_000_000


def _in_a_hurry() -> None:
    """Milliseconds where there would be seconds: how long they are is tested where a clock is handed in."""
    part._FIRST_PAUSE_S = 0.01  # type: ignore[misc]
    supervisor._FIRST_PAUSE_S = 0.01  # type: ignore[misc]
    playback._TURN_S = 0.6  # type: ignore[misc]


def _falls_ill(kind: type, method: str, after: int, how: Any) -> None:
    healthy, counter = getattr(kind, method), itertools.count()

    def ill(*args: Any, **kwargs: Any) -> Any:
        if next(counter) >= after:
            how()
        return healthy(*args, **kwargs)

    setattr(kind, method, ill)


def _raise() -> None:
    raise ZeroDivisionError("a bug of ours")


def playback_raises() -> None:
    _in_a_hurry()
    _falls_ill(Playback, "tick", _HEALTHY_TICKS, _raise)


def playback_hangs() -> None:
    _in_a_hurry()
    supervisor._HUNG_S = 3.0  # type: ignore[misc]
    _falls_ill(Playback, "tick", _HEALTHY_TICKS, lambda: time.sleep(3600))


def threads_die_once() -> None:
    """The loop's and the scorer's, without a word, as by a fault in a library."""
    _in_a_hurry()
    for kind in (DreamController, Scorer):
        left = [SystemExit()]

        def die(left: list[SystemExit] = left) -> None:
            if left:
                raise left.pop()

        _falls_ill(kind, "turn", 30, die)


def grows_when_told() -> None:
    """SIGUSR1 makes it leak; what is too large is seen within a second, not within minutes."""
    upkeep.LOOK_S = 0.1  # type: ignore[misc]
    upkeep._LEAST_UPTIME_S = 0.0  # type: ignore[misc]
    leaked = []
    signal.signal(signal.SIGUSR1, lambda *_: leaked.append(b"leak" * (LEAK_BYTES // 4)))


def has_few_files_and_grows_when_told() -> None:
    """It, its next life and its children may open few files."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    grows_when_told()
