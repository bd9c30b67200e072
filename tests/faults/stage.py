"""A whole daemon in this process, dreaming small and fast, with a watch on it."""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: F401 - the fake, in this process, must not find it half imported

import main
from backend.config import load_settings
from backend.core.comfyui_http import HttpLimits
from backend.core.comfyui_socket import SocketTimes
from backend.core.config_watch import ConfigSource
from backend.core.job_actions import Patience
from tests.end_to_end.daemon import write_config
from tests.fakes.fake_comfy import FakeComfy
from tests.faults.watch import Watch

log = logging.getLogger(__name__)

Status = dict[str, Any]

GUARD_S = 60.0
_TICK_S = 0.1
_SMALL = {"size": "128x64", "seconds_per_keyframe": 0.5, "steps": 2}
_DISPLAY = {"fps": 20, "buffer_seconds": 2, "keep_seconds": 5}


@dataclass
class Stage:
    """A daemon, its server, and who watches both."""

    folder: Path
    server: FakeComfy | None
    watch: Watch
    dream: main.Dreamloop
    denoise: dict[int, float] = field(default_factory=dict)

    @property
    def fake(self) -> FakeComfy:
        """The server, where it is in this process."""
        assert self.server is not None
        return self.server

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def status(self) -> Status:
        return dict(json.loads((self.folder / "status" / "status.json").read_bytes()))

    def wait_for(self, what: Callable[[Status], bool], guard_s: float = GUARD_S) -> Status:
        """The first status for which ``what`` holds."""
        until = time.monotonic() + guard_s
        while time.monotonic() < until:
            status = self.status()
            if status["dream"]["keyframes"]:
                self.denoise[status["dream"]["keyframes"]] = status["dream"]["denoise"]
            if what(status):
                return status
            assert not self.dream.finished.is_set(), "the daemon ended by itself"
            time.sleep(0.01)
        raise AssertionError(f"it did not come to that: {self.status()}")

    def more(self, count: int = 2) -> Status:
        """Waits for so many further keyframes, and for all to be well."""
        before = self.status()["dream"]["keyframes"]
        return self.wait_for(lambda now: well(now) and now["dream"]["keyframes"] >= before + count)

    def recovers(self, count: int = 1) -> Status:
        """I5: the fault is over; a new keyframe comes by itself. Says how long it took."""
        before, began = self.status()["dream"]["keyframes"], time.monotonic()
        status = self.wait_for(lambda now: now["dream"]["keyframes"] >= before + count)
        log.info("I5: %d new keyframe(s) %.2f s after the fault", count, time.monotonic() - began)
        self.wait_for(well)
        return status

    def keyframe_posts(self) -> list[dict[str, Any]]:
        """The graphs of all POSTs that ask for a keyframe, those again that were posted again."""
        graphs = [request.json()["prompt"] for request in self.fake.posted("/prompt")]
        return [graph for graph in graphs if seed_of(graph) is not None]


def well(status: Status) -> bool:
    return status["state"] in {"dreaming", "resting"} and status["reason"]["code"] == "ok"


def dreams(status: Status) -> bool:
    return well(status) and status["dream"]["keyframes"] >= 3 and status["dream"]["in_betweens"] >= 5


def seed_of(graph: dict[str, Any]) -> int | None:
    """The seed that a graph samples with; None if it does not sample."""
    for node in graph.values():
        for name in ("seed", "noise_seed"):
            if isinstance(node["inputs"].get(name), int):
                return int(node["inputs"][name])
    return None


def hurry(monkeypatch: pytest.MonkeyPatch, kind: type, **shorter: float) -> None:
    """Makes every object of a dataclass of waits that is built from now on a less patient one.

    Its own waits are asserted where a clock is handed in; here it is what happens after them.
    """
    patient = kind.__init__  # type: ignore[misc]

    @functools.wraps(patient)
    def impatient(self: object, *args: Any, **kwargs: Any) -> None:
        patient(self, *args, **{**kwargs, **shorter})

    monkeypatch.setattr(kind, "__init__", impatient)


def hurry_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds where there would be tens."""
    hurry(monkeypatch, HttpLimits, answer_s=1.0)
    hurry(monkeypatch, SocketTimes, tick_s=0.05, ping_s=0.5, silence_s=1.5)
    hurry(monkeypatch, Patience, poll_s=0.5, miss_gap_s=0.5, grace_s=0.3, retry_s=0.1)


@contextmanager
def stage(
    folder: Path, fake: FakeComfy | None, *, url: str | None = None, **sections: dict[str, Any]
) -> Iterator[Stage]:
    """Composes the daemon as ``main.py run`` does, and watches it from the first moment to the last.

    Args:
        folder: Where it keeps everything.
        fake: Its server, whose queue and requests are watched, too.
        url: Where to find it, if not at the fake's own address.
        sections: Settings that differ.
    """
    settings = {
        "dream": {**_SMALL, **sections.pop("dream", {})},
        "display": {**_DISPLAY, **sections.pop("display", {})},
        "comfyui": {
            "url": url or (fake.url if fake else None),
            "connect_timeout_seconds": 1,
            **sections.pop("comfyui", {}),
        },
    }
    path = write_config(folder, **settings, **sections)
    source = ConfigSource(path, load_settings(path, {}), {})
    watch = Watch(folder / "output", folder / "status" / "status.json", lambda: fake)
    with watch, main.compose(source.loaded.settings, None, source) as dream:
        done = threading.Event()
        ticker = threading.Thread(target=_tick, args=(dream, done), name="ticker", daemon=True)
        ticker.start()
        try:
            yield Stage(folder, fake, watch, dream)
        finally:
            done.set()
            ticker.join(GUARD_S)


def _tick(dream: main.Dreamloop, done: threading.Event) -> None:
    while not done.wait(_TICK_S):
        dream.tick()


def long_forms(*values: str) -> list[Any]:
    """Values of a parameter that only the long forms of the fault table are tried with."""
    return [pytest.param(value, marks=pytest.mark.faults) for value in values]
