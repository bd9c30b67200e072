"""The six invariants, watched all the while that something goes wrong."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from backend.errors import PictureRejected
from backend.utils.picture_check import inspect_picture
from backend.utils.status_schema import SCHEMA_VERSION, Status
from tests.fakes.fake_comfy import FakeComfy

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.02
_MAX_PIXELS = 10_000_000
_STALE_S = 20.0  # a display calls a status stalled after 5 s; this is only to notice one that stands still
_OURS_QUEUED = 6  # a keyframe and two legs are meant; after a lost answer a second life of each may wait
_FEWER_THREADS_THAN = 60  # the fake's own and the proxy's among them
_LINES_ALLOWED = 400


class Watch:
    """Looks at what a display, a script and a neighbour on the server can see.

    A context: what it saw wrong is raised at its end, all of it, with the time since the beginning.

    Args:
        output: The daemon's output folder.
        status: Its status file.
        server: Gives the server as it is now; None where its queue cannot be looked into.
    """

    def __init__(self, output: Path, status: Path, server: Callable[[], FakeComfy | None]) -> None:
        self.violations: list[str] = []
        self.newest: dict[str, Any] = {}
        self.states: list[str] = []
        self.codes: list[str] = []
        self.kinds: set[str] = set()
        self.looks = 0
        self.lines_allowed = _LINES_ALLOWED
        self.longest_still_s = 0.0
        self._output = output
        self._status = status
        self._server = server
        self._began = self._moved_at = time.monotonic()
        self._current: tuple[int, int] | None = None
        self._most = {"threads": 0, "files": 0, "ours queued": 0, "ours running": 0}
        self._log = _Lines(self._violated)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        logging.getLogger("backend").addHandler(self._log)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(30.0)
        logging.getLogger("backend").removeHandler(self._log)
        self._look_at_requests()
        log.info("%d looks, still for %.1f s at most; %s", self.looks, self.longest_still_s, self.states)
        log.info("at most %s; %d log lines", self._most, self._log.count)
        if error is None:
            assert self.looks > 0, "nobody watched"
            assert not self.violations, "\n".join(self.violations)
        elif self.violations:
            error.add_note("the watch saw:\n" + "\n".join(self.violations))

    def _violated(self, what: str) -> None:
        if len(self.violations) < 20:
            self.violations.append(f"after {time.monotonic() - self._began:.2f} s: {what}")

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the test must hear of it
                self._violated(f"the watch stumbled: {error!r}")
            self._stopping.wait(_LOOK_EVERY_S)

    def _look(self) -> None:
        self.looks += 1
        self._look_at_picture()
        self._look_at_status()
        self._look_at_queue()
        if self.looks % 10 == 0:
            self._look_at_process()

    def _look_at_picture(self) -> None:
        """I1: whole, and never a failed one."""
        path = self._output / "current_frame.png"
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                identity = (found.st_ino, found.st_mtime_ns)
                if identity == self._current:
                    return
                data = file.read()
        except FileNotFoundError:
            if self._current is not None:
                self._violated("I1: current_frame.png is gone")
            return
        self._current = identity
        try:
            inspect_picture(data, max_pixels=_MAX_PIXELS)
        except PictureRejected as error:
            self._violated(f"I1: the picture on display is no good: {error}")

    def _look_at_status(self) -> None:
        """I2: parses, complete, and never backwards."""
        try:
            written = self._status.read_bytes()
        except FileNotFoundError:
            if self.newest:
                self._violated("I2: status.json is gone")
            return
        try:
            status: dict[str, Any] = Status.model_validate_json(written).model_dump(mode="json")
        except ValueError as error:
            self._violated(f"I2: the status does not parse: {error}")
            return
        self._compare(self.newest, status)
        self.newest = status
        for seen, now in ((self.states, status["state"]), (self.codes, status["reason"]["code"])):
            if seen[-1:] != [now]:
                seen.append(now)

    def _compare(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        if now["schema_version"] != SCHEMA_VERSION or not now["boot_id"] or not now["reason"]["sentence"]:
            self._violated("I2: the status lacks its version, its boot id or its reason")
        age_s = (datetime.now(UTC) - datetime.fromisoformat(now["updated_at"])).total_seconds()
        if age_s > _STALE_S:
            self._violated(f"I2: the status is {age_s:.0f} s old")
        if now["frame"] is not None:
            self.kinds.add(now["frame"]["kind"])
        if not before:
            return
        if now["boot_id"] == before["boot_id"]:
            for key in ("sequence", "uptime_s"):
                if now[key] < before[key]:
                    self._violated(f"I2: {key} went from {before[key]} to {now[key]}")
        moment = time.monotonic()
        if _shown(now) < _shown(before):
            self._violated(f"I1: the frame went from {_shown(before)} to {_shown(now)}")
        if _shown(now) > _shown(before):
            self._moved_at = moment
        self.longest_still_s = max(self.longest_still_s, moment - self._moved_at)
        self._bounds(now)

    def _bounds(self, now: dict[str, Any]) -> None:
        """I3, as far as the status tells of it."""
        display, storage = now["display"], now["storage"]
        if display["buffer_seconds"] > 3 * max(display["buffer_target_seconds"], 1.0) + 5.0:
            self._violated(f"I3: {display['buffer_seconds']} s are buffered")
        if storage["frame_bytes"] > storage["budget_bytes"] > 0:
            self._violated(f"I3: the frames take {storage['frame_bytes']} bytes")

    def _look_at_queue(self) -> None:
        """I4: few of ours."""
        fake = self._server()
        if fake is None or not fake.up:
            return
        running, waiting = (
            sum(item.prompt_id not in fake.foreign_ids for item in items)
            for items in fake.server.core.queue.snapshot()
        )
        self._note("ours queued", waiting)
        self._note("ours running", running)
        if self._most["ours queued"] > _OURS_QUEUED or self._most["ours running"] > 1:
            self._violated(f"I4: at the server there are of ours: {self._most}")

    def _look_at_process(self) -> None:
        """I3: threads and files of this process, the fake's among them."""
        self._note("threads", threading.active_count())
        self._note("files", len(open_files()))
        if self._most["threads"] > _FEWER_THREADS_THAN:
            self._violated(f"I3: there are {self._most['threads']} threads")
        if self._log.count > self.lines_allowed:
            self._violated(f"I3: {self._log.count} lines were logged")

    def _note(self, what: str, count: int) -> None:
        self._most[what] = max(self._most[what], count)

    def _look_at_requests(self) -> None:
        """I4: the jobs of others are not touched by any request that was ever made."""
        fake = self._server()
        if fake is None:
            return
        for path in ("/queue", "/history", "/interrupt"):
            for request in fake.posted(path):
                body = request.json() if request.body else {}
                named = {*body.get("delete", []), *([body["prompt_id"]] if "prompt_id" in body else [])}
                if "clear" in body or not named or named & fake.foreign_ids:
                    self._violated(f"I4: POST {path} {body}")


class _Lines(logging.Handler):
    """Counts what is logged, and minds what nobody had thought of."""

    def __init__(self, complain: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self.count = 0
        self._complain = complain

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        if record.exc_info or "stumbled" in record.msg:
            self._complain(f"logged: {record.getMessage()} {record.exc_info and record.exc_info[1]!r}")


def _shown(status: dict[str, Any]) -> int:
    return int(status["frame"]["sequence"]) if status["frame"] else 0


def open_files() -> dict[str, str]:
    """The file descriptors of this process, and what each is."""
    found = {}
    for name in os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else []:
        with contextlib.suppress(OSError):  # the listing's own is gone by now
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


def resident_mb() -> float:
    """Memory of this process in megabytes."""
    return float(psutil.Process().memory_info().rss / 1e6)
