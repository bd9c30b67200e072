from __future__ import annotations

import errno
import hashlib
import io
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.core import frame_shelf
from backend.core.frame_buffer import Frame, FrameKind
from backend.core.frame_shelf import FrameShelf
from backend.core.shown_log import read_shown
from backend.errors import PictureRejected, StorageError
from backend.utils.file_ops import write_atomic
from backend.utils.picture_check import PictureFacts
from backend.utils.picture_formats import Encoding, pixels_of
from tests.fakes.memory_engine import picture

SIZE = (64, 40)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def frame(seed: int, data: bytes | None = None, format: str = "png") -> Frame:
    facts = PictureFacts(*SIZE, format)
    return Frame(data or picture(seed), facts, FrameKind.IN_BETWEEN, "sea", 0.1)


def opened(folder: Path, clock: Clock, budget: int = 10**9, keep_s: float = 60.0) -> FrameShelf:
    shelf = FrameShelf(folder, keep_s=keep_s, budget_bytes=budget, max_pixels=10_000, clock=clock)
    shelf.open()
    return shelf


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shelf(tmp_path: Path, clock: Clock) -> FrameShelf:
    return opened(tmp_path, clock)


def test_a_frame_reaches_the_disk_byte_for_byte_under_two_names(shelf: FrameShelf) -> None:
    shown = shelf.show(frame(1))
    assert shown.path == shelf.frames_folder / "000000001.png"
    assert shown.path.read_bytes() == shelf.current_path.read_bytes() == picture(1)
    assert shown.sha256 == hashlib.sha256(picture(1)).hexdigest()


def test_the_current_frame_is_a_png_even_if_the_engine_sends_jpeg(shelf: FrameShelf) -> None:
    file = io.BytesIO()
    with Image.open(io.BytesIO(picture(1))) as opened_picture:
        opened_picture.save(file, "JPEG")
    shown = shelf.show(frame(1, file.getvalue(), "jpeg"))
    assert shown.path.suffix == ".jpg"
    assert shown.path.read_bytes() == file.getvalue()
    with Image.open(shelf.current_path) as current:
        assert current.format == "PNG"


def test_the_current_frame_follows_to_the_last_one_before_the_shelf_is_closed(shelf: FrameShelf) -> None:
    for seed in range(3):
        shelf.show(frame(seed, Encoding("webp").encode(pixels_of(picture(seed))), "webp"))
    shelf.close()
    newest = shelf.kept()[-1].path
    assert newest.suffix == ".webp"
    assert np.array_equal(pixels_of(shelf.current_path.read_bytes()), pixels_of(newest.read_bytes()))


def test_sequence_numbers_go_on_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    first = opened(tmp_path, clock)
    for seed in range(3):
        first.show(frame(seed))
    assert opened(tmp_path, clock).show(frame(9)).sequence == 4


def test_old_frames_are_deleted_and_the_newest_never(shelf: FrameShelf, clock: Clock) -> None:
    for seed in range(5):
        clock.now = seed * 20.0
        shelf.show(frame(seed))
    assert [path.stem for path in sorted(shelf.frames_folder.iterdir())] == [
        "000000002",
        "000000003",
        "000000004",
        "000000005",
    ]
    clock.now = 10_000.0
    shelf.prune()
    assert [path.stem for path in shelf.frames_folder.iterdir()] == ["000000005"]


def test_the_budget_holds_whatever_the_frame_rate(tmp_path: Path, clock: Clock) -> None:
    size = len(picture(0))
    shelf = opened(tmp_path, clock, budget=size * 10)
    for seed in range(50):
        shelf.show(frame(seed))
    on_disk = sum(path.stat().st_size for path in shelf.frames_folder.iterdir())
    assert on_disk <= size * 10 * 1.2
    assert shelf.size_bytes == on_disk
    assert shelf.frames < 50


def test_pinned_frames_stay_until_others_are_pinned(shelf: FrameShelf, clock: Clock) -> None:
    kept = [shelf.show(frame(seed)).path for seed in range(3)]
    shelf.pin(tuple(kept))
    clock.now = 1000.0
    shelf.show(frame(7))
    assert all(path.exists() for path in kept)
    shelf.pin(())
    shelf.prune()
    assert not any(path.exists() for path in kept)


def test_showing_a_frame_again_gives_it_a_new_number_and_takes_no_space(
    shelf: FrameShelf, clock: Clock
) -> None:
    first = shelf.show(frame(1))
    os.utime(first.path, (1, 1))
    again, data = shelf.show_again(first.path, 0.1)
    assert again.sequence == 2
    assert again.kind is FrameKind.REPLAY
    assert data == picture(1)
    assert os.path.samefile(first.path, again.path)
    assert shelf.current_path.stat().st_mtime > 1


def test_a_broken_kept_frame_is_refused(shelf: FrameShelf) -> None:
    first = shelf.show(frame(1))
    first.path.unlink()
    first.path.write_bytes(b"not a picture")
    with pytest.raises(PictureRejected):
        shelf.show_again(first.path, 0.1)


def test_after_a_crash_the_newest_whole_frame_is_current(tmp_path: Path, clock: Clock) -> None:
    first = opened(tmp_path, clock)
    first.show(frame(1))
    first.current_path.unlink()
    (first.frames_folder / "000000002.png").write_bytes(picture(2)[:50])
    (first.frames_folder / "000000003.png").write_bytes(b"")
    (first.frames_folder / ".000000004.png.999999999.1.tmp").write_bytes(b"half")
    again = FrameShelf(tmp_path, keep_s=60, budget_bytes=10**9, max_pixels=10_000, clock=clock)
    left_over = again.open()
    assert left_over is not None
    assert left_over.sequence == 1
    assert again.current_path.read_bytes() == picture(1)
    assert [path.name for path in again.frames_folder.iterdir()] == ["000000001.png"]
    assert again.show(frame(5)).sequence == 4


def test_other_peoples_files_are_left_alone(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "frames").mkdir()
    note = tmp_path / "frames" / "holiday.png"
    note.write_bytes(b"mine")
    shelf = opened(tmp_path, clock, budget=1)
    shelf.show(frame(1))
    shelf.show(frame(2))
    assert note.read_bytes() == b"mine"


def test_a_folder_that_is_a_file_is_refused_by_name(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "output").write_text("a file")
    with pytest.raises(StorageError, match="output"):
        opened(tmp_path / "output", clock)


@dataclass
class SmallDisk:
    """Refuses to write when it holds too much."""

    folder: Path
    max_bytes: int

    def __call__(self, path: Path, data: bytes, **options: Any) -> None:
        taken = sum(file.stat().st_size for file in (self.folder / "frames").iterdir())
        if taken + len(data) > self.max_bytes:
            raise StorageError(path, OSError(errno.ENOSPC, "No space left on device"))
        write_atomic(path, data, **options)


def test_on_a_full_disk_the_oldest_frames_make_room_for_the_next(
    tmp_path: Path, shelf: FrameShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SmallDisk(tmp_path, max_bytes=20 * len(picture(0)))
    monkeypatch.setattr(frame_shelf, "write_atomic", disk)
    for seed in range(50):
        shown = shelf.show(frame(seed))
    assert shown.sequence == 50
    assert shown.path.read_bytes() == picture(49)
    assert shelf.size_bytes == sum(path.stat().st_size for path in (tmp_path / "frames").iterdir())
    assert 10 < shelf.frames < 25
    disk.max_bytes = 0
    with pytest.raises(StorageError):
        shelf.show(frame(50))
    assert (tmp_path / "current_frame.png").read_bytes() == picture(49)


def test_frames_do_not_pile_up_while_the_current_one_cannot_be_written(
    tmp_path: Path, shelf: FrameShelf, clock: Clock
) -> None:
    (tmp_path / "current_frame.png").mkdir()
    for seed in range(30):
        clock.now += 10.0
        with pytest.raises(StorageError, match="current_frame"):
            shelf.show(frame(seed))
    assert shelf.frames <= 7
    (tmp_path / "current_frame.png").rmdir()
    assert shelf.show(frame(30)).sequence == 31


def test_a_start_on_a_full_disk_takes_over_what_is_there(
    tmp_path: Path, shelf: FrameShelf, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.show(frame(1))

    def refuse(_source: Path, path: Path) -> None:
        raise StorageError(path, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(frame_shelf, "link_atomic", refuse)
    again = FrameShelf(tmp_path, keep_s=60, budget_bytes=10**9, max_pixels=10_000, clock=clock)
    left = again.open()
    assert left is not None
    assert left.sequence == 1


def test_how_long_frames_were_shown_is_known_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    first = opened(tmp_path, clock)
    for number, seconds in enumerate((0.1, 0.25, 4.0)):
        first.show(replace(frame(number), duration_s=seconds))
    assert [kept.duration_s for kept in opened(tmp_path, clock).kept()] == [0.1, 0.25, 4.0]
    shown = list(read_shown(tmp_path))
    assert [(one.sequence, one.theme, one.kind) for one in shown] == [
        (number, "sea", FrameKind.IN_BETWEEN) for number in (1, 2, 3)
    ]


def test_numbers_that_begin_anew_take_nothing_from_an_older_dream(tmp_path: Path, clock: Clock) -> None:
    first = opened(tmp_path, clock)
    shown = [first.show(frame(number)) for number in range(3)]
    for one in shown:
        one.path.unlink()
    opened(tmp_path, clock).show(replace(frame(9), duration_s=2.0))
    assert [one.duration_s for one in read_shown(tmp_path)] == [2.0]


def test_a_frame_is_shown_though_nothing_can_be_noted_of_it(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "shown").write_text("a file where the folder should be")
    assert opened(tmp_path, clock).show(frame(1)).path.exists()


def test_a_frame_that_lies_on_disk_already_is_not_written_again(tmp_path: Path, clock: Clock) -> None:
    told: list[Path | None] = []
    shelf = FrameShelf(
        tmp_path, keep_s=60, budget_bytes=10**9, max_pixels=10_000, clock=clock, spooled=told.append
    )
    shelf.open()
    (tmp_path / "ahead.png").write_bytes(picture(1))
    shown = shelf.show(replace(frame(1), file=tmp_path / "ahead.png"))
    assert shown.path.samefile(tmp_path / "ahead.png")
    assert shelf.show(replace(frame(2), file=tmp_path / "gone.png")).path.read_bytes() == picture(2)
    assert told == [tmp_path / "ahead.png", tmp_path / "gone.png"]


def test_how_long_the_newest_frame_is_to_be_shown_is_known_at_the_next_start(
    shelf: FrameShelf, tmp_path: Path, clock: Clock
) -> None:
    shelf.show(replace(frame(1), duration_s=40.0))
    again = FrameShelf(tmp_path, keep_s=60, budget_bytes=10**9, max_pixels=10_000, clock=clock)
    newest = again.open()
    assert newest is not None
    assert (newest.duration_s, newest.kind, newest.theme) == (40.0, FrameKind.IN_BETWEEN, "sea")
