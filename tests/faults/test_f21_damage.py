"""F21: everything on disk damaged before the start."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

import pytest

from backend.cache.database import DATABASE
from backend.core.frame_shelf import FrameShelf
from tests.cache.memories import added, new, open_memory, picture
from tests.end_to_end.quick_starts import ForkServer, QuickStarts
from tests.end_to_end.test_kills import SMALL, write_config
from tests.fakes.fake_comfy import FakeComfy
from tests.faults.watch import Watch

log = logging.getLogger(__name__)

pytestmark = pytest.mark.timeout(240)

GUARD_S = 60.0
MANY = 10_000


def damaged(folder: Path) -> list[Path]:
    """Writes dust over every file below a folder: nothing, zeros, a part, another sort, by turns."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    for number, path in enumerate(files):
        data = path.read_bytes()
        path.unlink()  # frames are links to one another: each is to have a damage of its own
        dust = (b"", bytes(len(data)), data[: len(data) // 2], b"<html>not found</html>")
        path.write_bytes(dust[number % len(dust)])
    return files


def test_a_start_on_nothing_but_dust_dreams_and_keeps_what_it_could_not_read_by_name(
    fork_server: ForkServer, tmp_path: Path, fake: FakeComfy
) -> None:
    write_config(tmp_path, **SMALL, comfyui={"url": fake.url, "connect_timeout_seconds": 1})
    output, status = tmp_path / "output", tmp_path / "status" / "status.json"
    with QuickStarts(tmp_path, fork_server) as starts:
        starts.start()
        starts.wait_for(lambda now: now["dream"]["number"] >= 3 and now["memory"]["entries"] >= 2)
        starts.end(signal.SIGKILL)
        assert len(damaged(output)) > 20
        damaged(tmp_path / "status")
        (output / "current_frame.png").unlink()
        began = time.monotonic()
        starts.start()
        first = starts.wait_for(lambda now: now["frame"] is not None)
        log.info("F21: a picture %.2f s after the start", time.monotonic() - began)
        with Watch(output, status, lambda: fake):
            now = starts.wait_for(
                lambda now: (
                    now["dream"]["number"] >= 2
                    and now["reason"]["code"] == "ok"
                    and now["memory"]["ready"]
                    and now["memory"]["entries"] >= 1
                )
            )
            assert now["frame"]["sequence"] > first["frame"]["sequence"]
        assert ".resume.unreadable" in now["note"]
        assert (output / ".resume.unreadable" / "point.json").exists()
        assert list((output / "memory").glob("*.corrupt.*"))
        assert starts.end(signal.SIGTERM) == 0


@pytest.mark.faults
def test_ten_thousand_frames_and_memories_of_which_the_index_is_dust_do_not_hold_up_a_start(
    tmp_path: Path,
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    (tmp_path / "one.png").write_bytes(picture(1, (64, 40)))
    for number in range(1, MANY):
        os.link(tmp_path / "one.png", frames / f"{number:09d}.png")
    (frames / f"{MANY:09d}.png").write_bytes(b"dust")
    began = time.monotonic()
    shelf = FrameShelf(tmp_path, keep_s=60, budget_bytes=10**9, max_pixels=10_000, clock=time.monotonic)
    newest = shelf.open()
    log.info("F21: %d frames taken over in %.2f s", shelf.frames, time.monotonic() - began)
    assert newest is not None
    assert newest.sequence == MANY - 1

    with open_memory(tmp_path / "memory") as memory:
        for number in range(MANY):
            added(memory, new(number, embedding=None, identity=None))
    (tmp_path / "memory" / DATABASE).write_bytes(b"dust" * 10_000)
    began = time.monotonic()
    with open_memory(tmp_path / "memory", wait=False) as memory:
        opened_s = time.monotonic() - began
        assert memory.wait_ready(GUARD_S)
        log.info(
            "F21: the memory was open after %.2f s, whole after %.2f s", opened_s, time.monotonic() - began
        )
        assert memory.size == MANY
    assert opened_s < GUARD_S / 2
