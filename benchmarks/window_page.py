"""The display page in a browser: how often it draws, how old it is, whether it grows, how soon it is back.

Run it alone: ``python -m benchmarks.window_page [--frames N]``. A stand-in for the daemon shows pictures of a
real size; the shim and Chromium (headless, drawing without a GPU here) are real.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from backend.engine import png
from backend.shim.process import shim_command
from backend.shim.spec import ShimSpec
from tests.shim.stand_in import StandIn

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
FLAGS += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
FLAGS += ["--js-flags=--expose-gc", "--enable-precise-memory-info"]
_RECOVERY_GUARD_S = 60.0


class Show:
    """Shows kept pictures at a rate, to and fro."""

    def __init__(self, daemon: StandIn, pictures: list[bytes]) -> None:
        self.fps = 5.0
        self._daemon = daemon
        self._pictures = pictures
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Show:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        at, due = 0, time.monotonic()
        while not self._over.is_set():
            self._daemon.show(self._pictures[at % len(self._pictures)], seconds=1.0 / self.fps)
            stale = self._daemon.output / "frames" / f"{self._daemon.sequence - 100:09d}.png"
            stale.unlink(missing_ok=True)
            at += 1
            due = max(due + 1.0 / self.fps, time.monotonic() - 1.0)
            time.sleep(max(0.0, due - time.monotonic()))


class Shim:
    """The real one, which can be killed and started again at the same address."""

    def __init__(self, spec: ShimSpec) -> None:
        self._spec = spec
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            shim_command(self._spec), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def pictures(size: tuple[int, int] = (768, 432), count: int = 24) -> list[bytes]:
    """Smooth pictures that move."""
    rng = np.random.default_rng(5)
    small = [rng.integers(0, 255, (6, 9, 3), np.uint8) for _ in range(2)]
    ends = [Image.fromarray(one).resize(size, Image.Resampling.BICUBIC) for one in small]
    blends = [Image.blend(*ends, at / (count - 1)) for at in range(count)]
    encoded = [png.encode(np.array(one)) for one in blends]
    return encoded + encoded[::-1]


def measure(frames: int) -> Iterator[tuple[str, str, str]]:
    """Yields the rows of the table as they are known."""
    with _stage() as (page, show, shim):
        yield from _steady(page, show)
        yield from _recoveries(page, shim)
        yield from _growth(page, show, frames)


def _steady(page: Page, show: Show) -> Iterator[tuple[str, str, str]]:
    time.sleep(8.0)
    drawn, shown, ages, start = _now(page, "drawn"), _now(page, "shown"), [], time.monotonic()
    while time.monotonic() - start < 20.0:
        ages.append(_now(page, "age"))
        time.sleep(0.1)
    past = time.monotonic() - start
    draws, arrivals = (_now(page, "drawn") - drawn) / past, (_now(page, "shown") - shown) / past
    yield ("frames arrive a second", f"{arrivals:.1f}", f"{show.fps:.0f}")
    yield (f"drawn a second ({_now(page, 'renderer')}, thrift {_now(page, 'thrift')})", f"{draws:.1f}", "")
    yield ("drawn : arriving", f"{draws / max(arrivals, 0.1):.1f}", "10 with a GPU")
    yield ("age of the shown frame, most, s", f"{max(ages):.2f}", "below 2")


def _recoveries(page: Page, shim: Shim) -> Iterator[tuple[str, str, str]]:
    def killed() -> None:
        shim.kill()
        time.sleep(6.0)
        shim.start()

    def offline() -> None:
        page.context.set_offline(True)
        time.sleep(6.0)
        page.context.set_offline(False)

    def frozen() -> None:
        session = page.context.new_cdp_session(page)
        session.send("Page.setWebLifecycleState", {"state": "frozen"})
        time.sleep(20.0)
        session.send("Page.setWebLifecycleState", {"state": "active"})

    for name, fault in (("server killed", killed), ("network off", offline), ("tab frozen", frozen)):
        yield (f"back after: {name}, s", f"{_back_after(page, fault):.1f}", "below 10")


def _back_after(page: Page, fault: Callable[[], None]) -> float:
    fault()
    seen, start = _now(page, "shown"), time.monotonic()
    while _now(page, "shown") <= seen:
        if time.monotonic() - start > _RECOVERY_GUARD_S:
            return float("inf")
        time.sleep(0.05)
    return time.monotonic() - start


def _growth(page: Page, show: Show, frames: int) -> Iterator[tuple[str, str, str]]:
    show.fps = 30.0
    heaps: list[tuple[int, float]] = []
    first = _now(page, "newest")
    while (seen := _now(page, "newest") - first) < frames:
        page.evaluate("window.gc?.()")
        heaps.append((seen, page.evaluate("performance.memory.usedJSHeapSize") / 1e6))
        time.sleep(2.0)
    half = heaps[len(heaps) // 2 :]
    slope = np.polyfit([at for at, _ in half], [heap for _, heap in half], 1)[0]
    yield (
        f"JS heap over {frames:,} frames, MB, first -> last",
        f"{heaps[1][1]:.2f} -> {heaps[-1][1]:.2f}",
        "flat",
    )
    yield ("    slope over the second half, bytes a frame", f"{1e6 * slope:.1f}", "flat")


def _now(page: Page, name: str) -> Any:
    return page.evaluate(f"dreamloop.{name}")


@contextmanager
def _stage() -> Iterator[tuple[Page, Show, Shim]]:
    program = shutil.which("chromium")
    if program is None:
        sys.exit("needs Debian's chromium")
    with tempfile.TemporaryDirectory(prefix="dreamloop-page-") as name:
        daemon = StandIn(Path(name))
        listener = free_port()
        shim = Shim(replace(daemon.spec, port=listener))
        shim.start()
        with Show(daemon, pictures()) as show, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=program, args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            _open(page, f"http://127.0.0.1:{listener}/?reload=0")
            try:
                yield page, show, shim
            finally:
                browser.close()
                shim.kill()


def _open(page: Page, url: str) -> None:
    for _ in range(100):
        try:
            page.goto(url)
            if page.evaluate("window.dreamloop?.shown > 0"):
                return
        except Exception:  # noqa: BLE001 - it is not there yet
            time.sleep(0.3)
        time.sleep(0.2)
    sys.exit("the page does not open")


def free_port() -> int:
    """A port of this machine that is free now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000)
    for what, measured, wished in measure(parser.parse_args().frames):
        print(f"{what:<54}{measured:>18}   {wished}", flush=True)


if __name__ == "__main__":
    main()
