"""A dream, its pages, and Debian's Chromium to look at them with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.daemon import Daemon, daemon, write_config
from tests.fakes.fake_comfy import FakeComfy

_FLAGS = [
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]
WAIT_MS = 60_000
_LOOK_MS = 50


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; what lacks it skips.

    Of one module, since Playwright holds the event loop of the thread for as long as it is there.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (requirements-dev.lock)")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs Debian's chromium (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=_FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def dream(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[tuple[Daemon, str]]:
    """A running dream and the address of its pages."""
    folder = tmp_path_factory.mktemp("dream")
    with FakeComfy(folder / "comfy") as fake:
        yield from _dreaming(folder, fake.url)


def _dreaming(folder: Path, url: str) -> Iterator[tuple[Daemon, str]]:
    write_config(
        folder,
        comfyui={"url": url},
        shim={"serve": "always", "port": 0},
        dream={"seconds_per_keyframe": 1},
        display={"fps": 5, "buffer_seconds": 2, "keep_seconds": 60},
        memory={"matcher": "perceptual"},
    )
    with daemon(folder) as running:
        running.wait_for(
            lambda status: status["memory"]["remembered"] >= 2 and "to watch" in running.log.read_text()
        )
        yield running, address(running.log)
        assert running.end() == 0


def _is_wrong(said: Any) -> bool:
    """Whether it is an error; that the network was taken away is none of the page's."""
    return said.type == "error" and "ERR_INTERNET_DISCONNECTED" not in said.text


def until(page: Any, condition: str) -> None:
    """Wait until JavaScript says so; Playwright's own way needs eval, which the pages forbid."""
    for _ in range(WAIT_MS // _LOOK_MS):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(_LOOK_MS)
    raise AssertionError(f"it did not come to that: {condition}")


def address(log: Path) -> str:
    """Where the daemon said that its pages are."""
    line = next(line for line in log.read_text().splitlines() if "to watch" in line)
    return line.split(" open ")[1].split(" ")[0]


@pytest.fixture
def page(browser: Any, dream: tuple[Daemon, str]) -> Iterator[Any]:
    """A fresh desktop page; whatever goes wrong in it fails the test."""
    context = browser.new_context(viewport={"width": 960, "height": 540})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if _is_wrong(said) else None)
    yield page
    context.close()
    assert wrong == []
