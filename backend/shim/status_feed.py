"""status/status.json as a feed: read when it changes, told to everybody who waits, newest only."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.utils.file_ops import read_at_most

log = logging.getLogger(__name__)

POLL_S = 0.04
"""A display of 25 frames a second is told of each."""
_IDLE_POLL_S = 0.25
_IDLE_SHARE = 3.0
"""Where news is rarer it is looked for less often: it is told late by a third of the time since the last."""
STALE_S = 5.0
"""The daemon writes at least once a second."""
_MAX_BYTES = 4_000_000

Signature = tuple[int, int, int]


@dataclass(frozen=True)
class Snapshot:
    """The status at one moment.

    Attributes:
        text: The file as the daemon wrote it.
        status: The same, parsed.
        tag: Differs between any two writes, of different boots too.
    """

    text: bytes
    status: Mapping[str, Any]
    tag: str

    @property
    def sequence(self) -> int:
        """Number of the write in its boot."""
        return int(self.status.get("sequence") or 0)

    @property
    def frame(self) -> Mapping[str, Any] | None:
        """The newest shown frame, None before the first."""
        frame = self.status.get("frame")
        return frame if isinstance(frame, Mapping) else None

    @property
    def frame_sequence(self) -> int:
        """Number of the newest shown frame, 0 before the first."""
        return 0 if self.frame is None else int(self.frame.get("sequence") or 0)


class StatusFeed:
    """Looks at the status file and wakes those who wait.

    How old a status is follows from when its text last changed here, not from its own time: the clocks of
    two machines that share a folder may differ.

    Args:
        path: status.json.
        clock: Monotonic seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self.newest: Snapshot | None = None
        self._path = path
        self._clock = clock
        self._changed_at = clock()
        self._seen: Signature | None = None
        self._complaint: str | None = None
        self._condition = asyncio.Condition()

    @property
    def age_s(self) -> float:
        """Seconds since the status changed, or since we began to look."""
        return self._clock() - self._changed_at

    @property
    def fresh(self) -> bool:
        """Whether a daemon is alive behind it."""
        return self.newest is not None and self.age_s <= STALE_S

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(self.pause_s)

    @property
    def pause_s(self) -> float:
        """Seconds until it is worth looking again."""
        return min(_IDLE_POLL_S, max(POLL_S, self.age_s / _IDLE_SHARE))

    async def look(self) -> bool:
        """Look once; True if there is a new status."""
        found = await asyncio.to_thread(self._read)
        if found is None:
            return False
        first = self.newest is None
        self.newest = found
        # One that was there before us may be a leftover: it counts as fresh once it moves.
        self._changed_at = self._clock() - (2.0 * STALE_S if first else 0.0)
        async with self._condition:
            self._condition.notify_all()
        return True

    async def after(self, tag: str, timeout_s: float) -> Snapshot | None:
        """The newest status, as soon as it is another than ``tag``; None if there is none in time."""
        try:
            async with asyncio.timeout(timeout_s), self._condition:
                await self._condition.wait_for(lambda: self.newest is not None and self.newest.tag != tag)
        except TimeoutError:
            return None
        return self.newest

    def _read(self) -> Snapshot | None:
        """The file if it is another than before; what cannot be read is said once."""
        try:
            stat = self._path.stat()
            signature = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if signature == self._seen:
                return None
            text = read_at_most(self._path, _MAX_BYTES)
            status = json.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            self._complain(f"{type(error).__name__}: {error}")
            return None
        self._seen = signature
        if not isinstance(status, dict):
            self._complain("it holds no JSON object")
            return None
        self._complaint = None
        tag = f"{status.get('boot_id')}-{status.get('sequence')}"
        if self.newest is not None and tag == self.newest.tag:
            return None
        return Snapshot(text, status, tag)

    def _complain(self, why: str) -> None:
        if why != self._complaint:
            log.info("no status from %s: %s", self._path, why)
        self._complaint = why
