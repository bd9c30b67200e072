from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from backend.errors import ExportRefused, StorageError
from backend.film.disk_guard import DiskGuard
from backend.film.export import Wishes, check_target, export
from backend.film.formats import format_of
from backend.film.kept_frames import FrameStills, KeptFrame
from backend.film.stills import Still, fitted
from backend.film.writers import Words
from tests.film.pictures import SIZE, decoded, difference, moving

WORDS = Words("A night", "sea", "2026-01-02T03:04:05.000000Z")
STEP = 0.2
WISHES = Wishes(fps=10.0, size=SIZE)


@dataclass
class Dream:
    """Pictures that wander off, a tenth of a second each."""

    count: int = 30
    breaks_at: int | None = None
    sizes: tuple[tuple[int, int], ...] = (SIZE,)

    @property
    def seconds(self) -> float:
        return self.count / 10

    def __iter__(self) -> Iterator[Still]:
        for place in range(self.count):
            if place == self.breaks_at:
                raise OSError(errno.EIO, "Input/output error")
            yield Still(moving(STEP * place, self.sizes[place % len(self.sizes)]), 0.1)


def make(film: Path, dream: Dream, wishes: Wishes = WISHES, **more: bool) -> list[tuple[int, int]]:
    told: list[tuple[int, int]] = []
    made = export(dream, film, format_of(film), wishes, WORDS, progress=lambda *one: told.append(one), **more)
    assert made.frames == len(told) == len(decoded(film))
    assert made.bytes == sum(one.stat().st_size for one in (film.iterdir() if film.is_dir() else [film]))
    return told


@pytest.mark.parametrize("name", ["film.mp4", "film.webm", "film.webp", "film"])
def test_a_film_begins_with_the_first_and_ends_with_the_last_picture(tmp_path: Path, name: str) -> None:
    told = make(tmp_path / name, Dream())
    frames = decoded(tmp_path / name)
    assert len(frames) == 30
    assert difference(frames[0], moving(0)) < 5
    assert difference(frames[-1], moving(STEP * 29)) < 5
    assert (told[0], told[-1]) == ((1, 30), (30, 30))


def test_a_loop_of_frames_of_which_some_cannot_be_read_flows_all_the_same(tmp_path: Path) -> None:
    broken = (1, 2, 20, 21, 39, 40)
    kept = []
    for number in range(60):
        path = tmp_path / f"{number:09d}.png"
        moving(STEP * number).save(path)
        if number in broken:
            path.write_bytes(b"x")
        kept.append(KeptFrame(path, number, number / 10, 0.1))
    stills = FrameStills(kept, 10_000)
    made = export(stills, tmp_path / "loop", format_of(tmp_path / "loop"), replace(WISHES, loops=True), WORDS)
    frames = decoded(tmp_path / "loop")
    assert made.frames == len(frames) == 40
    assert stills.missing == len(broken)
    assert difference(frames[0], moving(STEP * 20)) < 2
    assert difference(frames[-1], moving(STEP * 19)) < 2
    steps = [difference(one, other) for one, other in itertools.pairwise([*frames, frames[0]])]
    assert max(steps) < 4 * sorted(steps)[20]


@pytest.mark.parametrize("name", ["film.mp4", "film.webm", "film.webp", "film"])
def test_the_seam_of_a_loop_is_no_larger_than_any_step_of_it(tmp_path: Path, name: str) -> None:
    make(tmp_path / "straight.mp4", Dream())
    straight = decoded(tmp_path / "straight.mp4")
    make(tmp_path / name, Dream(), replace(WISHES, loops=True))
    frames = decoded(tmp_path / name)
    assert len(frames) == 20
    steps = [difference(one, other) for one, other in itertools.pairwise(frames)]
    assert difference(frames[-1], frames[0]) < 1.2 * max(steps)
    assert difference(frames[-1], frames[0]) < 0.3 * difference(straight[-1], straight[0])


def test_a_ring_is_closed_without_a_fade(tmp_path: Path) -> None:
    make(tmp_path / "film", Dream(), replace(WISHES, fps=20.0, loops=True), is_ring=True)
    frames = decoded(tmp_path / "film")
    assert len(frames) == 60
    halfway = difference(frames[-1], moving(STEP * 29)) / difference(moving(0), moving(STEP * 29))
    assert halfway == pytest.approx(0.5, abs=0.05)


def test_pictures_of_several_sizes_become_one_film(tmp_path: Path) -> None:
    dream = Dream(sizes=((64, 48), (96, 72), (33, 50)))
    make(tmp_path / "film.mp4", dream, replace(WISHES, size=(80, 60)))
    assert {frame.size for frame in decoded(tmp_path / "film.mp4")} == {(80, 60)}


def test_other_proportions_are_cut_or_framed_and_never_stretched() -> None:
    wide = moving(0, (200, 100))
    cover, contain = fitted(wide, (100, 100), "cover"), fitted(wide, (100, 100), "contain")
    assert difference(cover, wide.crop((50, 0, 150, 100))) < 2
    assert difference(contain.crop((0, 25, 100, 75)), wide.resize((100, 50))) < 2
    assert contain.crop((0, 0, 100, 20)).getextrema() == ((0, 0),) * 3
    assert fitted(wide, (200, 100), "cover") is wide


@pytest.mark.parametrize("name", ["film.mp4", "film.webm", "film.webp", "film"])
def test_a_source_that_breaks_off_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError):
        make(tmp_path / name, Dream(breaks_at=20))
    assert list(tmp_path.iterdir()) == []


def test_a_film_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match="none of its pictures"):
        make(tmp_path / "film.webp", Dream(count=0))
    with pytest.raises(ExportRefused, match=r"10,000,000"):
        make(tmp_path / "film.webp", Dream(count=10**9))
    assert list(tmp_path.iterdir()) == []


@dataclass
class Usage:
    total: int
    free: int


def test_a_film_that_would_not_fit_is_refused_before_it_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.film.disk_guard.shutil.disk_usage", lambda _: Usage(10**12, 10**9))
    guard = DiskGuard(tmp_path / "not" / "yet", lambda _: Usage(10**12, 10**9), reserve_bytes=200_000_000)
    guard.check(700_000_000)
    with pytest.raises(ExportRefused, match=r"about 900 MB, and .* has 800 MB to spare"):
        guard.check(900_000_000)


def test_a_disk_that_fills_ends_the_film_while_the_dream_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([10**9, 10**9, 150_000_000])
    monkeypatch.setattr(
        "backend.film.export.DiskGuard",
        lambda folder, **_: DiskGuard(folder, lambda _: Usage(10**12, next(left)), reserve_bytes=200_000_000),
    )
    with pytest.raises(StorageError, match="nearly full") as refused:
        make(tmp_path / "film.mp4", Dream())
    assert refused.value.full
    assert list(tmp_path.iterdir()) == []


def test_small_disks_keep_a_twentieth_for_the_dream(tmp_path: Path) -> None:
    DiskGuard(tmp_path, lambda _: Usage(1000, 51), reserve_bytes=10**9).look()
    with pytest.raises(StorageError):
        DiskGuard(tmp_path, lambda _: Usage(1000, 50), reserve_bytes=10**9).look()


def test_what_is_there_is_replaced_only_when_that_is_wished(tmp_path: Path) -> None:
    film, folder = tmp_path / "film.mp4", tmp_path / "film"
    for target in (film, folder):
        check_target(target, format_of(target), force=False)
        make(target, Dream(3))
        with pytest.raises(ExportRefused, match="--force"):
            check_target(target, format_of(target), force=False)
        check_target(target, format_of(target), force=True)


def test_a_folder_that_holds_anything_else_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    make(folder, Dream(3))
    (folder / "diary.txt").write_text("mine")
    with pytest.raises(ExportRefused, match="not replaced"):
        check_target(folder, format_of(folder), force=True)
    (tmp_path / "film.mp4").mkdir()
    with pytest.raises(ExportRefused, match="not replaced"):
        check_target(tmp_path / "film.mp4", format_of(tmp_path / "film.mp4"), force=True)
