from __future__ import annotations

import os
from pathlib import Path

import pytest

from backend.utils.settled_file import SettledFile


class Reads:
    """Counts how often a file is read."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, path: Path) -> bytes:
        self.count += 1
        return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"one")
    return tmp_path / "file"


def test_what_stays_grows_older_and_what_changes_is_young_again(path: Path) -> None:
    file = SettledFile(path, Path.read_bytes)
    assert (file.look(10.0).data, file.look(12.0).age_s) == (b"one", 2.0)
    path.write_bytes(b"two")
    changed = file.look(12.5)
    assert (changed.data, changed.age_s) == (b"two", 0.0)
    assert changed.digest != file.look(10.0).digest or changed.data == b"two"
    assert file.look(13.0).age_s == 0.5


def test_a_file_that_rests_is_not_read_again(path: Path) -> None:
    reads = Reads()
    file = SettledFile(path, reads)
    for second in range(20):
        file.look(float(second))
    assert reads.count < 6


def test_a_second_write_that_its_stat_does_not_show_is_seen_all_the_same(path: Path) -> None:
    file = SettledFile(path, Path.read_bytes)
    stamp = path.stat().st_mtime_ns
    file.look(0.0)
    path.write_bytes(b"two")
    os.utime(path, ns=(stamp, stamp))
    assert file.look(0.4).data == b"two"


def test_a_touch_changes_nothing(path: Path) -> None:
    file = SettledFile(path, Path.read_bytes)
    before = file.look(0.0)
    os.utime(path, (1, 1))
    after = file.look(5.0)
    assert (after.digest, after.age_s) == (before.digest, 5.0)


def test_a_file_renamed_over_it_and_a_link_that_turns_are_other_files(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    file = SettledFile(link, Path.read_bytes)
    assert file.look(0.0).data == b"one"
    (tmp_path / "new").write_bytes(b"two")
    (tmp_path / "new").replace(path)
    assert file.look(10.0).data == b"two"
    (tmp_path / "third").write_bytes(b"three")
    (tmp_path / "turned").symlink_to(tmp_path / "third")
    (tmp_path / "turned").replace(link)
    assert file.look(20.0).data == b"three"


def test_a_file_that_goes_and_comes_back_is_told_each_time(path: Path) -> None:
    file = SettledFile(path, Path.read_bytes)
    file.look(0.0)
    path.unlink()
    gone = file.look(10.0)
    assert (gone.data, gone.gone, gone.age_s) == (None, True, 0.0)
    assert file.look(11.0).age_s == 1.0
    path.write_bytes(b"back")
    assert (file.look(12.0).data, file.look(12.0).gone) == (b"back", False)


def test_what_is_no_file_is_a_cause_and_no_exception(tmp_path: Path) -> None:
    found = SettledFile(tmp_path, Path.read_bytes).look(0.0)
    assert (found.data, found.gone) == (None, False)
    assert "directory" in found.cause
