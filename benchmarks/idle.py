"""``python -m benchmarks.idle``: how long a server idles between two jobs of ours, by its own events.

The gap is the time from ``execution_success`` of one job to ``execution_start`` of the next, both by the
server's clock; ours has no part in it. A gap is the server's own where our next job waited in its queue
already (``queue_remaining`` counts the running one, too), else it is ours.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from backend.core.comfyui_api import ComfyUIClient
from backend.core.comfyui_messages import Event, ExecutionStart, ExecutionSuccess, Status, parse_text
from backend.core.wire import Frame, Wire, connect_wire
from backend.engine.process import EngineProcess
from benchmarks.loop import running_loop
from benchmarks.paced import paced_engine

OUTLIER_MS = 20.0
"""Several times what a server needs by itself between two jobs (1 to 4 ms)."""
COLLECT_EVERY_MS = 10_000.0
"""A ComfyUI collects garbage after a job, at most so often (``gc_collect_interval`` in its main.py)."""
COLLECT_ABOUT_MS = 1_000.0
"""A longer pause than this is not garbage (measured: about 300 ms)."""
_SLACK_MS = 100.0
_GUARD_S = 3_600.0


class Cause(StrEnum):
    """Why a gap is long."""

    NONE = "short"
    NOT_QUEUED = "our next job was not there yet"
    GARBAGE = "the server's garbage collection"
    OTHER = "unknown, at the server"


@dataclass(frozen=True)
class Gap:
    """The idle time before one job."""

    ms: float
    queued: bool
    cause: Cause


@dataclass
class Tally:
    """Gaps and jobs, from the events in the order in which the socket brought them."""

    jobs_ms: list[float] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    _remaining: int = 0
    _started: dict[str, float] = field(default_factory=dict)
    _ended_ms: float | None = None
    _queued: bool = False
    _collected_ms: float = float("-inf")

    def hear(self, event: Event) -> None:
        """Takes one event; others than the three that count are passed over."""
        match event:
            case Status(queue_remaining=remaining):
                self._remaining = remaining
            case ExecutionStart(prompt_id, float(moment)):
                if self._ended_ms is not None:
                    self._note(moment - self._ended_ms, moment)
                self._started = {prompt_id: moment}
                self._ended_ms = None
            case ExecutionSuccess(prompt_id, float(moment)) if prompt_id in self._started:
                self.jobs_ms.append(moment - self._started.pop(prompt_id))
                self._ended_ms, self._queued = moment, self._remaining > 1

    def _note(self, gap_ms: float, moment: float) -> None:
        self.gaps.append(Gap(gap_ms, self._queued, self._cause(gap_ms, moment)))

    def _cause(self, gap_ms: float, moment: float) -> Cause:
        if gap_ms <= OUTLIER_MS:
            return Cause.NONE
        if not self._queued:
            return Cause.NOT_QUEUED
        if gap_ms <= COLLECT_ABOUT_MS and moment - self._collected_ms >= COLLECT_EVERY_MS - _SLACK_MS:
            self._collected_ms = moment
            return Cause.GARBAGE
        return Cause.OTHER

    def count(self, cause: Cause) -> int:
        """How many gaps have this cause."""
        return sum(gap.cause is cause for gap in self.gaps)


class _Overheard:
    """A wire whose texts are told to a tally, too."""

    def __init__(self, wire: Wire, tally: Tally) -> None:
        self._wire, self._tally = wire, tally
        self.send, self.ping, self.abort = wire.send, wire.ping, wire.abort

    def receive(self, timeout_s: float) -> Frame:
        frame = self._wire.receive(timeout_s)
        if isinstance(frame, str):
            self._tally.hear(parse_text(frame))
        return frame


def measure(url: str, keyframes: int, size: tuple[int, int] | None) -> Tally:
    """Dream on the server until it has given so many keyframes; the first cycle does not count."""
    tally = Tally()
    client = ComfyUIClient(url, connect=lambda at, connect_s: _Overheard(connect_wire(at, connect_s), tally))
    with running_loop(url, size=size, client=client) as loop:
        loop.wait_for(lambda now: now.controller.keyframes >= 2, _GUARD_S)
        tally.jobs_ms.clear()
        tally.gaps.clear()
        loop.wait_for(lambda now: now.controller.keyframes >= keyframes + 2, _GUARD_S)
    return tally


def table(name: str, tally: Tally) -> Iterator[tuple[str, str, str]]:
    """What was measured, as rows: what, how much, what is wished."""
    gaps = sorted(gap.ms for gap in tally.gaps)
    job_ms, gap_ms = statistics.median(tally.jobs_ms), statistics.median(gaps)
    yield f"{name}: jobs", f"{len(tally.jobs_ms)}", ""
    yield f"{name}: median job, ms", f"{job_ms:.0f}", ""
    yield f"{name}: gap, median / p90 / longest, ms", f"{gap_ms:.0f} / {_p90(gaps):.0f} / {gaps[-1]:.0f}", ""
    yield f"{name}: median gap : median job", f"{gap_ms / job_ms:.2%}", "below 1 %"
    yield f"{name}: all gaps : all time", f"{sum(gaps) / (sum(gaps) + sum(tally.jobs_ms)):.2%}", ""
    queued = sum(gap.queued for gap in tally.gaps)
    yield f"{name}: next job was waiting already", f"{queued} of {len(gaps)}", ""
    for cause in Cause:
        if cause is not Cause.NONE:
            longest = max((gap.ms for gap in tally.gaps if gap.cause is cause), default=0.0)
            yield f"{name}: > {OUTLIER_MS:.0f} ms, {cause}", f"{tally.count(cause)}, <= {longest:.0f} ms", ""


def _p90(ascending: list[float]) -> float:
    return ascending[min(len(ascending) - 1, int(0.9 * len(ascending)))]


@contextmanager
def _embedded() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="dreamloop-bench-") as folder:
        process = EngineProcess(Path(folder))
        try:
            yield process.ensure_running(60.0)
        finally:
            process.stop()


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.idle", description=__doc__)
    parser.add_argument("--comfyui-url", metavar="URL", help="measure this server; else our own two")
    parser.add_argument("--keyframes", type=int, default=50, metavar="N")
    parser.add_argument("--size", type=_size, metavar="WxH", help="of a keyframe, in pixels")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    rows: list[tuple[str, str, str]] = []
    if args.comfyui_url:
        rows += table("server", measure(args.comfyui_url, args.keyframes, args.size))
    else:
        with paced_engine() as paced:
            rows += table("FakeComfy, paced", measure(paced.url, args.keyframes, args.size or (512, 288)))
        with _embedded() as url:
            rows += table("embedded", measure(url, args.keyframes, args.size))
    print(f"{'what':<66}{'measured':>20}   wished")
    for what, measured, wished in rows:
        print(f"{what:<66}{measured:>20}   {wished}")


if __name__ == "__main__":
    main()
