"""kill -9 at random instants of a dream on the embedded engine: what a display sees of it, and for how long.

Nothing here is faked: ``main.py run`` as a user starts it, killed, started again.
"""

from __future__ import annotations

import json
import random
import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.end_to_end.daemon import Daemon, daemon, write_config
from tests.end_to_end.quick_starts import Display, watched

_LONGEST_S = 4.0
_SEED = 9
_DREAMS = 2


@dataclass
class Restarts:
    """What was measured, in seconds from the start of the process.

    Attributes:
        status_s: Until there was a status of it, which names the picture on display.
        moved_s: Until the picture moved on.
        before_engine: How many of them moved on before any engine had answered.
        keyframe_s: Until a new keyframe had come.
        continued: How many went on from the last acknowledged keyframe.
        wrong: What a display saw that was not whole, or went backwards.
    """

    status_s: list[float] = field(default_factory=list)
    moved_s: list[float] = field(default_factory=list)
    before_engine: int = 0
    keyframe_s: list[float] = field(default_factory=list)
    continued: int = 0
    wrong: list[str] = field(default_factory=list)
    looks: int = 0


def kill_and_restart(kills: int) -> Restarts:
    """Kills a dream so many times, each time at another instant."""
    told, rng = Restarts(), random.Random(_SEED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_config(folder, shim={"serve": "never"})
        try:
            with watched(folder) as display:
                _dream_and_die(folder, rng)
                for _ in range(kills):
                    _measure(folder, rng, told)
        except AssertionError as error:
            told.wrong.append(str(error))
        told.looks = display.looks
        told.wrong += _breaks(display)
    return told


def _dream_and_die(folder: Path, rng: random.Random) -> None:
    with daemon(folder) as running:
        running.wait_for(lambda status: status["dream"]["number"] >= _DREAMS)
        time.sleep(rng.uniform(0.0, _LONGEST_S))
        running.end(signal.SIGKILL)


def _measure(folder: Path, rng: random.Random, told: Restarts) -> None:
    before = json.loads((folder / "status" / "status.json").read_bytes())["frame"]["sequence"]
    number = _acknowledged(folder)
    began = time.monotonic()
    with daemon(folder) as running:
        running.wait_for(lambda status: True)
        told.status_s.append(time.monotonic() - began)
        moved = running.wait_for(lambda status: status["frame"]["sequence"] > before)
        told.moved_s.append(time.monotonic() - began)
        told.before_engine += not moved["engine"]["reachable"]
        came = _new_keyframe(running, number)
        told.keyframe_s.append(time.monotonic() - began)
        told.continued += came["parent"] == came["number"] - 1 >= number
        time.sleep(rng.uniform(0.0, _LONGEST_S))
        running.end(signal.SIGKILL)


def _new_keyframe(running: Daemon, after: int) -> dict[str, Any]:
    return dict(running.wait_for(lambda status: status["dream"]["number"] > after)["dream"])


def _acknowledged(folder: Path) -> int:
    point = json.loads((folder / "output" / ".resume" / "point.json").read_bytes())
    return int(point["tail"][-1]["number"])


def _breaks(display: Display) -> list[str]:
    """Keyframes that were shown and not dreamt from the one before them."""
    first, *others = sorted(display.chain)
    return [
        f"keyframe {number} from {display.chain[number]}"
        for number in others
        if number != first and display.chain[number] != (number - 1,)
    ]


def rows(quick: bool) -> list[tuple[str, str, str]]:
    """The table."""
    told = kill_and_restart(3 if quick else 20)
    kills = len(told.status_s)
    return [
        ("kill -9 at random instants", f"{kills}", ""),
        ("went on from the last acknowledged keyframe", f"{told.continued}/{kills}", "all"),
        (f"torn, black or backwards in {told.looks:,} looks", f"{len(told.wrong)}", "0"),
        ("until the status names the picture, s, median", f"{median(told.status_s):.2f}", ""),
        ("until the picture moves on, s, median", f"{median(told.moved_s):.2f}", ""),
        ("    before any engine answered", f"{told.before_engine}/{kills}", "all"),
        ("until a new keyframe, s, median", f"{median(told.keyframe_s):.2f}", ""),
    ]
