"""F26: the clock of the day leaps by a year, back again, over the change to summer time; the machine sleeps.

Nothing of it makes a burst, a stall or a mass eviction: intervals are counted by the monotonic clock, which
libfaketime is told to leave alone.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.daemon import Daemon, daemon, write_config
from tests.fakes.fake_comfy import FakeComfy

log = logging.getLogger(__name__)

FPS = 20
_LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib/faketime",
)
LEAPS = ("+365d", "-365d", "+0")


def library() -> str:
    found = next((path for one in _LIBRARIES if (path := Path(one) / "libfaketimeMT.so.1").exists()), None)
    if found is None:
        pytest.skip("needs libfaketime (apt-get install libfaketime)")
    return str(found)


class Wall:
    """The clock of the day of one daemon."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.leap("+0")

    def leap(self, offset: str) -> None:
        """As ``date --set`` would, seen from the next reading on."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(f"{offset}\n")
        fresh.replace(self.path)

    @property
    def surroundings(self) -> tuple[str, ...]:
        told = {
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": str(self.path),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        return ("env", *(f"{name}={value}" for name, value in told.items()))


@pytest.fixture
def dream(tmp_path: Path) -> Iterator[tuple[Daemon, Wall]]:
    wall = Wall(tmp_path / "wall")
    with FakeComfy(tmp_path / "comfy") as fake:
        memory = {"matcher": "perceptual"}
        write_config(tmp_path, display={"fps": FPS}, memory=memory, comfyui={"url": fake.url})
        yield from _dreaming(tmp_path, wall)


def _dreaming(folder: Path, wall: Wall) -> Iterator[tuple[Daemon, Wall]]:
    with daemon(folder, prefix=wall.surroundings) as running:
        running.wait_for(lambda status: status["memory"]["entries"] >= 3 and status["state"] == "dreaming")
        yield running, wall
        assert running.end() == 0


def shown(status: dict[str, Any]) -> int:
    return int(status["display"]["frames_shown"])


def moves_on(running: Daemon, frames: int) -> dict[str, Any]:
    """So many frames more; the status counts its writes without a gap, and no frame goes backwards."""
    before = last = running.status()
    while shown(last) < shown(before) + frames:
        seen = last["sequence"]
        now = running.wait_for(lambda status, seen=seen: status["sequence"] > seen)  # type: ignore[misc]
        assert now["frame"]["sequence"] >= last["frame"]["sequence"]
        assert now["boot_id"] == before["boot_id"]
        last = now
    return last


def test_a_clock_that_leaps_makes_no_burst_no_stall_and_forgets_nothing(dream: tuple[Daemon, Wall]) -> None:
    leap(*dream, LEAPS[:1])


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_clock_that_leaps_to_and_fro_is_nobodys_business(dream: tuple[Daemon, Wall]) -> None:
    leap(*dream, LEAPS * 3)


def leap(running: Daemon, wall: Wall, offsets: tuple[str, ...]) -> None:
    for offset in offsets:
        before, began = running.status(), time.monotonic()
        wall.leap(offset)
        year = time.gmtime(time.time() + int(offset.removesuffix("d")) * 86400).tm_year
        running.wait_for(lambda status, year=year: status["updated_at"].startswith(str(year)))  # type: ignore[misc]
        after = moves_on(running, 2 * FPS)
        seconds = time.monotonic() - began
        log.info("F26: %s: %d frames in %.1f s", offset, shown(after) - shown(before), seconds)
        assert shown(after) - shown(before) <= 1.5 * FPS * (seconds + 1.0), "a burst"
        assert after["memory"]["entries"] >= before["memory"]["entries"], "memories were lost"
        assert after["storage"]["frames"] >= 1
        assert after["dream"]["keyframes"] >= before["dream"]["keyframes"]
        assert after["uptime_s"] - before["uptime_s"] <= seconds + 2.0


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_machine_that_slept_goes_on_without_a_burst(dream: tuple[Daemon, Wall]) -> None:
    running, wall = dream
    before = running.status()
    everybody = [running.process.pid, *sorted(running.seen_children)]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    wall.leap("+8h")
    time.sleep(2.0)  # so long nothing of it runs, which is what is tried
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    began = time.monotonic()
    after = moves_on(running, 2 * FPS)
    seconds = time.monotonic() - began
    log.info("F26: slept: %d frames in %.1f s after it", shown(after) - shown(before), seconds)
    assert shown(after) - shown(before) <= 1.5 * FPS * (seconds + 1.0), "a burst"
    assert after["memory"]["entries"] >= before["memory"]["entries"]
