"""How many connections there is room for: each takes one of the files that a process may have open.

Without an end to them, viewers would take the last one, and the status could not be read for anybody.
"""

from __future__ import annotations

import contextlib
import resource

CONNECTIONS = 1500
"""More are asked to come back later, however many files there may be."""
_FILES = 4096
_OWN_FILES = 32
"""What we need ourselves: libraries, logs, and the pictures that are being read."""
_LEAST = 8


def widen() -> None:
    """May open as many files as connections could need, where this user may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections() -> int:
    """How many there may be at a time; one more is cut off."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS
    return max(_LEAST, min(CONNECTIONS, soft - _OWN_FILES))


def answered() -> int:
    """How many of them are served; the others are told to come back later."""
    return max(2, connections() * 7 // 8)


def streams() -> int:
    """How many of them may last: the others are for those who ask and go."""
    return max(1, connections() * 3 // 4)
