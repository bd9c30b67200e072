"""Does judging and remembering slow the display down? The whole daemon, with a memory and without, in turns.

The engine keeps well ahead of the display, so that whatever frames come late, come late because of us.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.paced import paced_engine
from tests.end_to_end.daemon import Daemon, daemon, write_config

FPS = 15
SIZE = "768x432"
_POLL_S = 0.004


@dataclass(frozen=True)
class Shown:
    """What a display saw for a while.

    Attributes:
        rate: Frames a second.
        gap_s: Between a frame and the next, at the 99th percentile.
        judged: Keyframes that were judged meanwhile.
    """

    rate: float
    gap_s: float
    judged: int


@dataclass(frozen=True)
class Compared:
    """Medians of turns with a memory (``on``) and without (``off``); the ratio is that of each turn."""

    on: Shown
    off: Shown
    ratio: float
    least_ratio: float


def compare(turns: int, seconds: float, *, fps: float = FPS) -> Compared:
    """Watch so many turns of so many seconds, of each."""
    with paced_engine() as engine:
        watched = [
            {remembers: _watch(engine.url, remembers, seconds, fps) for remembers in order}
            for order in ((True, False), (False, True))[:turns] * -(-turns // 2)
        ][:turns]
    ratios = [turn[True].rate / turn[False].rate for turn in watched]
    return Compared(
        on=_median([turn[True] for turn in watched]),
        off=_median([turn[False] for turn in watched]),
        ratio=statistics.median(ratios),
        least_ratio=min(ratios),
    )


def _median(shown: list[Shown]) -> Shown:
    return Shown(
        statistics.median(one.rate for one in shown),
        statistics.median(one.gap_s for one in shown),
        round(statistics.median(one.judged for one in shown)),
    )


def _watch(url: str, remembers: bool, seconds: float, fps: float) -> Shown:
    with _dreaming(url, remembers, fps) as running:
        running.wait_for(lambda status: _at_ease(status, remembers))
        first = last = running.status()
        times = [_shown_at(first)]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            status = running.status()
            if status["frame"]["sequence"] != last["frame"]["sequence"]:
                times.append(_shown_at(status))
                last = status
            time.sleep(_POLL_S)
    frames = last["frame"]["sequence"] - first["frame"]["sequence"]
    gaps = sorted(later - sooner for sooner, later in itertools.pairwise(times))
    return Shown(
        frames / (times[-1] - times[0]),
        gaps[int(0.99 * (len(gaps) - 1))],
        last["memory"]["judged"] - first["memory"]["judged"],
    )


@contextmanager
def _dreaming(url: str, remembers: bool, fps: float) -> Iterator[Daemon]:
    folder = Path(tempfile.mkdtemp(prefix="dreamloop-rate-"))
    write_config(
        folder,
        comfyui={"url": url},
        dream={"size": SIZE, "seconds_per_keyframe": 2, "seed": 1},
        interpolation={"pacing": "uniform"},  # else each gap has a rate of its own
        display={"fps": fps, "buffer_seconds": 6},
        memory={"enabled": remembers, "matcher": "perceptual"},
        log={"level": "warning"},
    )
    try:
        with daemon(folder) as running:
            yield running
            running.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _at_ease(status: dict[str, Any], remembers: bool) -> bool:
    """It dreams with frames in reserve, and the memory is at work."""
    ready = not remembers or (status["memory"]["ready"] and status["memory"]["judged"] >= 1)
    display = status["display"]
    return bool(
        ready
        and status["state"] in ("dreaming", "resting")
        and display["buffer_seconds"] >= 0.7 * display["buffer_target_seconds"]
    )


def _shown_at(status: dict[str, Any]) -> float:
    return datetime.fromisoformat(status["frame"]["shown_at"]).timestamp()


def rows(quick: bool) -> list[tuple[str, str, str]]:
    """The rows for ``make bench``."""
    done = compare(*((2, 8.0) if quick else (5, 20.0)))
    return [
        (f"frames/s shown of {FPS}, without a memory", f"{done.off.rate:.2f}", ""),
        (f"frames/s shown of {FPS}, judging and remembering", f"{done.on.rate:.2f}", ""),
        ("    keyframes judged meanwhile", f"{done.on.judged}", ""),
        ("display rate, with : without", f"{done.ratio:.4f}", "0.98 to 1.02"),
        ("    the least of all turns", f"{done.least_ratio:.4f}", ""),
        (
            "99th percentile between two frames, with, without, ms",
            f"{1e3 * done.on.gap_s:.0f} {1e3 * done.off.gap_s:.0f}",
            "",
        ),
    ]
