"""With little room on the disk, whoever writes more than a display needs leaves it."""

from __future__ import annotations

from pathlib import Path

from backend.core.frame_buffer import Frame, FrameKind
from backend.core.frame_shelf import FrameShelf
from backend.core.frame_spool import FrameSpool
from backend.utils.picture_check import inspect_picture
from tests.core.test_controller import Clock
from tests.fakes.memory_engine import picture


def frame(number: int) -> Frame:
    data = picture(number)
    return Frame(data, inspect_picture(data, max_pixels=100_000), FrameKind.IN_BETWEEN, "", 0.1)


def test_shown_frames_stay_for_seconds_only(tmp_path: Path) -> None:
    clock, scarce = Clock(), [False]
    shelf = FrameShelf(
        tmp_path, keep_s=60, budget_bytes=10**9, max_pixels=10**6, clock=clock, scarce=lambda: scarce[0]
    )
    shelf.open()
    for number in range(30):
        shelf.show(frame(number))
        clock.now += 1.0
    assert shelf.frames == 30
    scarce[0] = True
    shown = shelf.show(frame(99))
    assert shelf.frames <= 7
    assert shown.path.exists()


def test_frames_ahead_are_kept_in_memory(tmp_path: Path) -> None:
    spool = FrameSpool(tmp_path, lambda: True)
    ahead = frame(1)
    assert spool.keep(1, ahead) is ahead
    assert list(tmp_path.rglob("*.png")) == []
