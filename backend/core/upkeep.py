"""Growth that nobody meant: a process that has become too large is begun anew, at a frame boundary.

A leak in a driver or a library shows after weeks. Better a restart of our own, after which the dream goes on
where it was, than one by the kernel.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil

from backend.utils.logs import EVENT

log = logging.getLogger(__name__)

LOOK_S = 10.0
"""To find the children of a process, every process of the machine is looked at."""
_IN_A_ROW = 3
"""Looks: half a minute beyond a limit is no peak."""
_LEAST_UPTIME_S = 900.0
"""A limit that is reached sooner is too low, and a restart no cure."""
_FILES_SHARE = 0.8


@dataclass(frozen=True)
class Usage:
    """What a process has.

    Attributes:
        memory_bytes: Resident.
        files: Open file descriptors.
        most_files: As many as it may open.
    """

    memory_bytes: int
    files: int = 0
    most_files: int = 0


def own_usage() -> Usage:
    """Of this process; its children are not counted."""
    process = psutil.Process()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Usage(process.memory_info().rss, process.num_fds(), soft)


def usage_of(pids: Iterable[int]) -> Usage | None:
    """Memory of a process and all its children; None where it is gone."""
    total = 0
    for pid in pids:
        try:
            process = psutil.Process(pid)
            total += sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
        except psutil.NoSuchProcess:
            continue
    return Usage(total) if total else None


class Upkeep:
    """Says when a process is to be begun anew.

    Args:
        name: What people call it, as in "Dreamloop holds 5,000 MB".
        usage: What it has now; None while that is not known.
        limit_bytes: Memory that it may hold.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        usage: Callable[[], Usage | None],
        limit_bytes: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._usage = usage
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._since = clock()
        self._looked_at = float("-inf")
        self._beyond = 0
        self._told = False

    def begun_anew(self) -> None:
        """It is another process now."""
        self._since, self._beyond, self._told = self._clock(), 0, False

    def look(self) -> str | None:
        """Why it is to be begun anew, as a sentence; None while it need not. May be called often."""
        now = self._clock()
        if now - self._looked_at < LOOK_S:
            return None
        self._looked_at = now
        usage = self._usage()
        why = None if usage is None else self._too_much(usage)
        self._beyond = 0 if why is None else self._beyond + 1
        if why is None or self._beyond < _IN_A_ROW:
            return None
        if now - self._since < _LEAST_UPTIME_S:
            self._complain(why)
            return None
        return f"{self._name} {why}"

    def _complain(self, why: str) -> None:
        if not self._told:
            log.warning(
                "%s %s so soon: the limit may be too low (machine.*_memory)", self._name, why, extra=EVENT
            )
        self._told = True

    def _too_much(self, usage: Usage) -> str | None:
        limit = self._limit_bytes()
        if usage.memory_bytes > limit:
            return f"holds {usage.memory_bytes / 1e6:,.0f} MB of memory, of {limit / 1e6:,.0f} that it may"
        if usage.most_files > 0 and usage.files > _FILES_SHARE * usage.most_files:
            return f"has {usage.files} files open, of {usage.most_files} that it may"
        return None
