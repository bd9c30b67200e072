from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from backend.core.frame_buffer import Frame, FrameKind
from backend.core.frame_shelf import FrameShelf
from backend.film.held import held
from backend.film.kept_frames import FrameStills, list_frames
from backend.utils.picture_check import PictureFacts
from tests.film.pictures import SIZE, difference, encoded, moving

MAX_PIXELS = 10_000


def show(output: Path, count: int, *, wall: float = 1000.0, **changes: object) -> None:
    """What a run of the daemon leaves behind."""
    times = iter(wall + 0.1 * number for number in range(count))
    shelf = FrameShelf(
        output,
        keep_s=60,
        budget_bytes=10**9,
        max_pixels=MAX_PIXELS,
        clock=lambda: 0.0,
        wall=lambda: next(times),
    )
    shelf.open()
    for place in range(count):
        facts = PictureFacts(*SIZE, "png")
        frame = Frame(encoded(moving(place)), facts, FrameKind.IN_BETWEEN, "sea", 0.1)
        shelf.show(replace(frame, **changes))  # type: ignore[arg-type]


def test_frames_come_with_the_time_and_the_length_of_their_showing(tmp_path: Path) -> None:
    show(tmp_path, 5, duration_s=0.25)
    frames = list_frames(tmp_path, usual_s=9.0)
    assert [frame.seconds for frame in frames] == [0.25] * 5
    assert [frame.at for frame in frames] == pytest.approx([1000.0, 1000.1, 1000.2, 1000.3, 1000.4])
    assert {frame.theme for frame in frames} == {"sea"}


def test_titles_are_no_part_of_the_dream(tmp_path: Path) -> None:
    show(tmp_path, 1, kind=FrameKind.TITLE)
    show(tmp_path, 2)
    assert [frame.sequence for frame in list_frames(tmp_path, 0.1)] == [2, 3]


def test_what_was_not_noted_of_a_frame_is_told_by_its_file_and_by_the_others(tmp_path: Path) -> None:
    show(tmp_path, 3, duration_s=0.25)
    late = tmp_path / "frames" / "000000004.jpg"
    late.write_bytes(encoded(moving(3), "JPEG"))
    os.utime(late, (2000.0, 2000.0))
    frame = list_frames(tmp_path, usual_s=9.0)[-1]
    assert (frame.sequence, frame.at, frame.seconds, frame.theme) == (4, 2000.0, 0.25, "")
    for path in (tmp_path / "shown").iterdir():
        path.unlink()
    assert {frame.seconds for frame in list_frames(tmp_path, usual_s=9.0)} == {9.0}


def test_there_are_none_where_nothing_was_dreamt(tmp_path: Path) -> None:
    assert list_frames(tmp_path, 0.1) == []


def test_pictures_of_every_format_are_read_and_broken_ones_passed_over(tmp_path: Path) -> None:
    show(tmp_path, 2)
    folder = tmp_path / "frames"
    (folder / "000000003.webp").write_bytes(encoded(moving(2), "WEBP"))
    (folder / "000000004.png").write_bytes(encoded(moving(3))[:200])
    (folder / "000000005.png").write_bytes(encoded(moving(4, (200, 200))))  # too large
    (folder / "000000006.jpg").write_bytes(encoded(moving(5), "JPEG"))
    (folder / "notes.txt").write_text("mine")
    stills = FrameStills(list_frames(tmp_path, 0.1), MAX_PIXELS)
    for _ in range(2):  # as often as is wished
        read = list(stills)
        assert len(read) == 4
        assert stills.missing == 2
    assert all(
        difference(still.picture, moving(place)) < 8 for still, place in zip(read, (0, 1, 2, 5), strict=True)
    )
    assert stills.seconds == pytest.approx(0.6)
    assert stills.largest() == (200, 200)


def test_the_time_of_what_cannot_be_read_goes_to_its_neighbours(tmp_path: Path) -> None:
    show(tmp_path, 8)
    for number in (1, 2, 5, 8):
        (tmp_path / "frames" / f"{number:09d}.png").write_bytes(b"x")
    stills = FrameStills(list_frames(tmp_path, 0.1), MAX_PIXELS)
    assert [still.duration_s for still in stills] == pytest.approx([0.3, 0.2, 0.1, 0.2])
    assert stills.seconds == pytest.approx(0.8)


def test_what_cannot_be_read_is_counted_once_however_many_read_it(tmp_path: Path) -> None:
    show(tmp_path, 8)
    for number in (2, 7):
        (tmp_path / "frames" / f"{number:09d}.png").write_bytes(b"x")
    stills = FrameStills(list_frames(tmp_path, 0.1), MAX_PIXELS)
    one, other = iter(stills), iter(stills)
    for _ in zip(one, other, strict=True):
        pass
    assert stills.missing == 2


def test_held_files_outlive_their_deletion_and_leave_nothing_behind(tmp_path: Path) -> None:
    show(tmp_path, 3)
    paths = [frame.path for frame in list_frames(tmp_path, 0.1)]
    paths[0].unlink()
    before = sorted(tmp_path.iterdir())
    with held(paths, tmp_path) as places:
        assert set(places) == set(paths[1:])
        for path in paths[1:]:
            path.unlink()
        assert all(
            difference(_opened(place), moving(number)) == 0 for number, place in enumerate(places.values(), 1)
        )
        assert sum(place.stat().st_nlink for place in places.values()) <= 3  # current_frame.png is the third
    assert sorted(tmp_path.iterdir()) == before


def _opened(path: Path):  # type: ignore[no-untyped-def]
    from PIL import Image

    return Image.open(path)


def test_what_a_killed_export_held_is_let_go_by_the_next(tmp_path: Path) -> None:
    show(tmp_path, 2)
    program = (
        "import os, signal, sys; from pathlib import Path; from backend.film.held import held\n"
        "output = Path(sys.argv[1])\n"
        "with held(list((output / 'frames').iterdir()), output): os.kill(os.getpid(), signal.SIGKILL)"
    )
    before = sorted(tmp_path.iterdir())
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)
    assert sorted(tmp_path.iterdir()) != before
    with held([], tmp_path):
        pass
    assert sorted(tmp_path.iterdir()) == before


def test_files_are_read_where_they_are_when_they_cannot_be_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(tmp_path, 2)
    paths = [frame.path for frame in list_frames(tmp_path, 0.1)]

    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with held(paths, tmp_path) as places:
        assert places == {path: path for path in paths}
