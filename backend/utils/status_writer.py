"""**StatusWriter**: the one writer of status/status.json."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from backend.errors import StorageError
from backend.utils.file_ops import write_atomic
from backend.utils.flat_keys import flat_keys
from backend.utils.status_schema import SCHEMA_VERSION, Reason, ReasonCode, Status, StatusBody, utc_text

log = logging.getLogger(__name__)

PERIOD_S = 1.0
"""A status older than this is refreshed by tick(), even if nothing was shown."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class StatusWriter:
    """Writes the status whole or not at all, from whichever thread has news.

    A disk that refuses does not stop anything: the failure is counted, told in ``latest``, and the next
    publish tries again.

    Args:
        path: The status file.
        snapshot: What is known now; may be exchanged later, by assignment. Called under this writer's
            lock: it must not publish.
        clock: Monotonic seconds.
        wall: The time that is written into the file.
    """

    def __init__(
        self,
        path: Path,
        snapshot: Callable[[], StatusBody],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.path = path
        self.boot_id = uuid.uuid4().hex
        self.failures = 0
        self.last_error: str | None = None
        self.snapshot = snapshot
        self._clock = clock
        self._wall = wall
        self._started = clock()
        self._published = float("-inf")
        self._writes = 0
        self._latest: Status | None = None
        self._lock = threading.Lock()

    @property
    def latest(self) -> Status:
        """The newest status, also where the disk refused it; made on the spot if there is none yet."""
        with self._lock:
            return self._latest or self._compose(self.snapshot())

    def publish(self) -> None:
        """Write the status as it is now."""
        with self._lock:
            body = self.snapshot()
            status = self._compose(body)
            self._published = self._clock()
            try:
                write_atomic(self.path, status.model_dump_json().encode() + b"\n")
            except StorageError as error:
                self._refused(error)
                self._latest = self._compose(_unwritable(body, str(error)))
            else:
                self._latest = status
                self._writes += 1
                self._written()

    def tick(self) -> float:
        """Publish if the last status is a second old; returns the seconds until the next is due."""
        age_s = self._clock() - self._published
        if age_s < PERIOD_S:
            return PERIOD_S - age_s
        self.publish()
        return PERIOD_S

    def _compose(self, body: StatusBody) -> Status:
        return compose(
            body,
            boot_id=self.boot_id,
            pid=os.getpid(),
            sequence=self._writes + 1,
            updated_at=self._wall(),
            uptime_s=self._clock() - self._started,
        )

    def _refused(self, error: StorageError) -> None:
        if self.last_error is None:
            log.error("the status cannot be written: %s", error)
        self.failures += 1
        self.last_error = str(error)

    def _written(self) -> None:
        if self.last_error is not None:
            log.info("the status can be written again")
            self.last_error = None


def _unwritable(body: StatusBody, error: str) -> StatusBody:
    """What the control socket tells while the file is stale: before all else, that it is, and why."""
    storage = body.storage.model_copy(update={"last_error": body.storage.last_error or error})
    reason = body.reason
    if reason.code is not ReasonCode.STORAGE:
        sentence = f"the status cannot be written: {error}"
        if reason.code is not ReasonCode.OK:
            sentence += f"; and {reason.sentence}"
        reason = Reason(code=ReasonCode.STORAGE, sentence=sentence)
    return body.model_copy(update={"storage": storage, "reason": reason})


def compose(
    body: StatusBody, *, boot_id: str, pid: int, sequence: int, updated_at: datetime, uptime_s: float
) -> Status:
    """Puts head and flat keys to what the controller knows.

    Every value was checked where its part was built, so this copies without checking (a few microseconds).
    """
    moment = utc_text(updated_at)
    parts = {name: getattr(body, name) for name in StatusBody.model_fields}
    return Status.model_construct(
        schema_version=SCHEMA_VERSION,
        boot_id=boot_id,
        pid=pid,
        sequence=sequence,
        updated_at=moment,
        uptime_s=round(uptime_s, 3),
        **parts,
        **flat_keys(body, moment, uptime_s),
    )
