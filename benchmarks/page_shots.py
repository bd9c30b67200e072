"""Pictures of both pages for docs/, desktop and phone, of a real dream: ``python -m benchmarks.page_shots``.

Needs Debian's chromium; the dream is a daemon with the embedded engine, begun for it in a folder of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from benchmarks.window_page import FLAGS, ROOT

DESKTOP, PHONE = (1280, 720), (390, 844)
JPEG_QUALITY = 86
_GUARD_S = 600.0
_LOOK_S = 0.5
_SETTLE_MS = 2500
_GROUND = (10, 10, 13)


def shoot(folder: Path, memories: int) -> Iterator[Path]:
    """Writes one picture after another.

    Args:
        folder: Where they are to lie.
        memories: So many are waited for.
    """
    with _dreaming(memories) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        display = _page(browser, url, DESKTOP)
        display_phone = _page(browser, url, PHONE, dark=True, touch=True)
        studio = _page(browser, f"{url}studio", (1280, 900), dark=True)
        bright = _page(browser, f"{url}studio", (1280, 900))
        studio_phone = _page(browser, f"{url}studio", PHONE, dark=True, touch=True)
        shots = {
            "display": display,
            "display-phone": display_phone,
            "studio": studio,
            "studio-light": bright,
            "studio-phone": studio_phone,
        }
        for name, image in shots.items():
            path = folder / f"{name}.jpg"
            image.save(path, quality=JPEG_QUALITY, optimize=True)
            yield path
        path = folder / "pages.jpg"
        _beside([display, studio], [display_phone, studio_phone]).save(
            path, quality=JPEG_QUALITY, optimize=True
        )
        yield path
        browser.close()


@contextlib.contextmanager
def _dreaming(memories: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="dreamloop-shots-") as name:
        folder = Path(name)
        tree: dict[str, dict[str, Any]] = {
            "storage": {"output": "output", "status": "status"},
            "shim": {"serve": "always", "port": 0},
            "prompts": {"folder": str(ROOT / "prompts"), "seconds_per_theme": 20},
            "dream": {"seconds_per_keyframe": 2, "seed": 11},
            "display": {"fps": 5},
        }
        (folder / "config.yaml").write_text(json.dumps(tree))
        log = folder / "log"
        with log.open("wb") as file:
            words = [sys.executable, str(ROOT / "main.py"), "--config", str(folder / "config.yaml"), "run"]
            process = subprocess.Popen(words, stdout=file, stderr=file)
        try:
            yield _address(log, folder / "status" / "status.json", memories)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _address(log: Path, status: Path, memories: int) -> str:
    until = time.monotonic() + _GUARD_S
    while time.monotonic() < until:
        time.sleep(_LOOK_S)
        told = log.read_text()
        if "to watch" not in told or not status.exists():
            continue
        if json.loads(status.read_bytes())["memory"]["entries"] >= memories:
            return told.split(" open ")[1].split(" ")[0]
    raise TimeoutError(log.read_text())


def _page(
    browser: Browser, url: str, size: tuple[int, int], *, dark: bool = False, touch: bool = False
) -> Image.Image:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        has_touch=touch,
        is_mobile=touch,
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_timeout(_SETTLE_MS)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    context.close()
    return image


def _beside(
    wide: list[Image.Image], narrow: list[Image.Image], height: int = 480, gap: int = 12
) -> Image.Image:
    """Wide ones and narrow ones in a row each, all of one height."""
    row = [
        one.resize((round(one.width * height / one.height), height), Image.Resampling.LANCZOS)
        for pair in zip(wide, narrow, strict=True)
        for one in pair
    ]
    whole = Image.new("RGB", (sum(one.width for one in row) + gap * (len(row) - 1), height), _GROUND)
    left = 0
    for one in row:
        whole.paste(one, (left, 0))
        left += one.width + gap
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.page_shots", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs", help="docs by default")
    parser.add_argument("--memories", type=int, default=18)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for path in shoot(args.folder, args.memories):
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
