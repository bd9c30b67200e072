"""What a dream that rests costs: shares of a core of daemon, engine and pages, by the kernel's count.

``main.py run`` as a user starts it, with the embedded engine and the settings' defaults.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from tests.end_to_end.daemon import Daemon, command, daemon, write_config

MOST = 0.02
_KEYFRAMES = 6
_SETTLED_S = 4.0


@dataclass(frozen=True)
class Cost:
    """Shares of a core.

    Attributes:
        shown_fps: Frames shown a second meanwhile.
    """

    daemon: float
    others: float
    shown_fps: float

    @property
    def all(self) -> float:
        return self.daemon + self.others


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def cost(running: Daemon, seconds: float) -> Cost:
    """What it costs now, over so many seconds."""
    process = psutil.Process(running.process.pid)
    children = process.children(recursive=True)
    shown = running.status()["display"]["frames_shown"]
    began, own_s, others_s = time.monotonic(), _cpu_s(process), sum(map(_cpu_s, children))
    time.sleep(seconds)
    took_s = time.monotonic() - began
    return Cost(
        (_cpu_s(process) - own_s) / took_s,
        (sum(map(_cpu_s, children)) - others_s) / took_s,
        (running.status()["display"]["frames_shown"] - shown) / took_s,
    )


@contextmanager
def dreaming() -> Iterator[Daemon]:
    """A dream that has a memory and a full buffer, and whose pages are served."""
    with tempfile.TemporaryDirectory(prefix="dreamloop-bench-") as name:
        folder = Path(name)
        write_config(
            folder,
            dream={"size": "auto", "seconds_per_keyframe": 4},
            display={"fps": 10, "buffer_seconds": 12, "keep_seconds": 60},
            shim={"serve": "always", "port": 0},
        )
        with daemon(folder, forked=False) as running:
            running.wait_for(
                lambda now: now["dream"]["keyframes"] >= _KEYFRAMES and now["memory"]["entries"] >= 3
            )
            yield running
            running.end()


def _set(running: Daemon, **machine: Any) -> None:
    """As somebody would who edits the file."""
    path = running.folder / "config.yaml"
    tree = json.loads(path.read_text())
    tree["machine"] = machine
    taken = running.status()["config"]["taken"]
    path.write_text(json.dumps(tree))
    running.wait_for(lambda now: now["config"]["taken"] > taken)


def _told(running: Daemon, word: str, what: Callable[[dict[str, Any]], bool]) -> None:
    done = command(running.folder, word)
    if done.returncode:
        raise RuntimeError(done.stderr)
    running.wait_for(what)
    time.sleep(_SETTLED_S)


def _other_hours() -> list[str]:
    """An hour of the day that is not now."""
    begin = datetime.now() + timedelta(hours=12)
    return [f"{begin:%H}:00-{begin:%H}:30"]


def measure(seconds: float) -> dict[str, Cost]:
    """Each way to rest, one after the other, of one daemon."""
    found: dict[str, Cost] = {}
    with dreaming() as running:
        found["dreaming, for comparison"] = cost(running, seconds)
        _told(running, "pause", lambda now: now["state"] == "paused")
        found["paused"] = cost(running, seconds)
        _told(running, "resume", lambda now: now["state"] != "paused")
        _set(running, hours=_other_hours(), display="dark")
        running.wait_for(lambda now: now["reason"]["code"] == "schedule" and now["state"] == "paused")
        time.sleep(_SETTLED_S)
        found["resting by the hours, dark"] = cost(running, seconds)
        _set(running, hours=_other_hours(), display="remember")
        running.wait_for(
            lambda now: now["frame"]["kind"] == "replay" and now["display"]["buffer_seconds"] == 0.0
        )
        time.sleep(_SETTLED_S)
        found["resting by the hours, memories fade"] = cost(running, seconds)
    return found


def rows(quick: bool) -> list[tuple[str, str, str]]:
    """The table."""
    found = measure(10.0 if quick else 60.0)
    told: list[tuple[str, str, str]] = []
    for name, one in found.items():
        wish = "" if "comparison" in name else f"at most {MOST}"
        told.append((f"{name}, share of a core", f"{one.all:.3f}", wish))
        parts = f"{one.daemon:.3f}, {one.others:.3f}, {one.shown_fps:.1f}"
        told.append(("    daemon, engine and pages, frames/s", parts, ""))
    return told


def main() -> None:
    for what, measured, wished in rows(quick=False):
        print(f"{what:<66}{measured:>24}   {wished}")


if __name__ == "__main__":
    main()
