"""A disk that fills while a film is made on it and a dream goes on; run by test_export.py, in a namespace."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.end_to_end.daemon import MAIN, daemon, environment, is_whole, write_config

GUARD_S = 60.0
LEFT_BYTES = 3_000_000
"""Half of what a film leaves to the dream on a disk of this size."""


def fill_and_look(folder: Path) -> None:
    write_config(folder, display={"fps": 10, "buffer_seconds": 3})
    with daemon(folder) as dream:
        dream.wait_for(lambda status: status["frame_number"] > 30)
        config = ["--config", str(folder / "config.yaml")]
        words = [
            "--fps",
            "240",
            "--size",
            "1536x864",
            "--quality",
            "20",
            "--quiet",
            str(folder / "film.webp"),
        ]
        film = subprocess.Popen(
            [sys.executable, str(MAIN), *config, "export", *words],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        until = time.monotonic() + GUARD_S
        while not list(folder.glob(".film.webp.*")) and film.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        others = folder / "of others"
        with others.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free(folder) - LEFT_BYTES)
        _, said = film.communicate(timeout=GUARD_S)
        assert film.returncode == 74, (film.returncode, said)
        assert "nearly full" in said
        assert not [path for path in folder.iterdir() if "film" in path.name]
        before = dream.status()["frame_number"]
        after = dream.wait_for(lambda status: status["frame_number"] > before + 20)
        assert after["storage"]["last_error"] is None
        # A disk of this size has never what the settings want to be free, and that is said; no more is wrong.
        assert after["reason"]["code"] == "storage", after["reason"]
        assert is_whole(dream.current())
        assert "No space left" not in dream.log.read_text()
        assert dream.end() == 0


def free(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


if __name__ == "__main__":
    fill_and_look(Path(sys.argv[1]))
