"""What is measured of a daemon while it is soaked, and what is made of it."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import requests

from tests.faults.watch import Watch
from tests.soak.dreamer import Dreamer

_SAMPLE_S = 1.0
_SLOPE_STEP = 8
MOST_OURS = (1, 6)
"""Of ours at the engine: running, and waiting (a keyframe, two legs, and a second life of each)."""


@dataclass(frozen=True)
class Sample:
    """One look.

    Attributes:
        at_s: Seconds since the beginning.
        life: Number of the daemon's life, from 0.
        daemon_mb: Resident memory of the daemon; engine_mb and pages_mb that of its children.
        files: Open files of the daemon.
        disk_mb: What it has written and not deleted; engine_disk_mb the same of the engine.
        frame: Sequence number of the frame on display.
    """

    at_s: float
    life: int
    daemon_mb: float
    engine_mb: float
    pages_mb: float
    files: int
    threads: int
    disk_mb: float
    engine_disk_mb: float
    frame: int
    keyframe: int
    well: bool


def slope_a_minute(at_s: Sequence[float], values: Sequence[float]) -> float:
    """How fast something grows, by the median of all slopes of pairs (Theil, Sen): peaks do not count."""
    points = list(zip(at_s, values, strict=True))[:: max(1, len(at_s) // 400)]
    slopes = [
        60.0 * (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in itertools.combinations(points, 2)
        if later[0] > earlier[0]
    ]
    return median(slopes) if slopes else 0.0


class SoakWatch(Watch):
    """The six invariants, of a daemon in another process."""

    def __init__(self, dreamer: Dreamer) -> None:
        super().__init__(dreamer.output, dreamer.status_path, lambda: None)
        self._dreamer = dreamer

    def _look_at_process(self) -> None:
        """The sampler does."""


class Sampler:
    """Looks once a second, in a thread of its own; a context.

    Attributes:
        samples: What was seen.
        frames: Sequence numbers of all frames that lay on the disk at any look.
        watch: Who looks on beside it.
        most_ours: Of our jobs at the engine at most: running, waiting.
    """

    def __init__(self, dreamer: Dreamer, watch: Watch) -> None:
        self.samples: list[Sample] = []
        self.frames: set[int] = set()
        self.most_ours = [0, 0]
        self.failed: list[str] = []
        self._dreamer = dreamer
        self.watch = watch
        self.began = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30.0)

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.began

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due + _SAMPLE_S, time.monotonic())
            try:
                self._look()
            except (psutil.Error, AssertionError, OSError):
                continue  # it is just being killed
            except Exception as error:  # noqa: BLE001 - whatever it is, the test must hear of it
                self.failed.append(repr(error))

    def _look(self) -> None:
        dreamer = self._dreamer
        self.frames |= numbers(dreamer.output / "frames")
        self._look_at_queue()
        process, status = dreamer.process, self.watch.newest
        with process.oneshot():
            rss, files, threads = process.memory_info().rss, process.num_fds(), process.num_threads()
        if not status or status["pid"] != process.pid:
            return
        self.samples.append(
            Sample(
                at_s=self.now_s,
                life=len(dreamer.ends),
                daemon_mb=rss / 1e6,
                engine_mb=_resident_mb(dreamer.engine()),
                pages_mb=_resident_mb(dreamer.shim()),
                files=files,
                threads=threads,
                disk_mb=held_mb(dreamer.disk.seen),
                engine_disk_mb=held_mb(dreamer.comfy),
                frame=status["frame"]["sequence"] if status["frame"] else 0,
                keyframe=status["dream"]["number"],
                well=status["reason"]["code"] == "ok",
            )
        )

    def _look_at_queue(self) -> None:
        """I4, as anybody may see it; nobody else has jobs here."""
        with contextlib.suppress(requests.RequestException, ValueError, KeyError):
            told = requests.get(f"http://127.0.0.1:{self._dreamer.port}/queue", timeout=2.0).json()
            for place, key in enumerate(("queue_running", "queue_pending")):
                self.most_ours[place] = max(self.most_ours[place], len(told[key]))

    def gaps(self) -> list[int]:
        """Sequence numbers of frames that there never were, between the first and the last."""
        if not self.frames:
            return []
        return sorted(set(range(min(self.frames), max(self.frames))) - self.frames)


def numbers(folder: Path) -> set[int]:
    """Of the frames that lie in a folder."""
    with contextlib.suppress(OSError):
        return {int(path.stem) for path in folder.iterdir() if path.stem.isdigit()}
    return set()


def held_mb(folder: Path) -> float:
    """What all files of a folder take; one under several names counts once, the filler of the disk never."""
    held: dict[int, int] = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            found = path.lstat()
            if path.name != "filler" and not path.is_dir():
                held[found.st_ino] = found.st_size
    return sum(held.values()) / 1e6


def _resident_mb(process: psutil.Process | None) -> float:
    with contextlib.suppress(psutil.Error):
        return process.memory_info().rss / 1e6 if process is not None else 0.0
    return 0.0
