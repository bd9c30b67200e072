from __future__ import annotations

from pathlib import Path

import pytest

from backend.utils.rotating_log import RotatingLog


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def test_two_files_hold_the_newest_lines_and_no_more(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "new" / "a.log", max_bytes=1000)
    for number in range(1000):
        log.write(f"line {number:04d}")
    files = sizes(tmp_path / "new")
    assert files.keys() == {"a.log", "a.log.1"}
    assert all(size <= 1000 for size in files.values())
    text = (tmp_path / "new" / "a.log.1").read_text() + (tmp_path / "new" / "a.log").read_text()
    assert text.splitlines() == [f"line {number:04d}" for number in range(1000)][-len(text.splitlines()) :]


def test_an_earlier_runs_file_is_gone_on_with_and_counts(tmp_path: Path) -> None:
    RotatingLog(tmp_path / "a.log", max_bytes=30).write("x" * 20)
    log = RotatingLog(tmp_path / "a.log", max_bytes=30)
    log.write("y")
    assert sizes(tmp_path) == {"a.log": 23}
    log.write("z" * 20)
    assert sizes(tmp_path) == {"a.log": 21, "a.log.1": 23}


def test_the_last_lines_are_at_hand_without_the_empty_ones_and_not_too_long(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log")
    for line in ("one", "", " 0%\r 50%\r 100%\r", "x" * 10_000):
        log.write(line)
    assert log.last_lines(2) == (" 100%", "x" * 300)
    assert log.last_lines(9)[0] == "one"


def test_a_disk_that_takes_nothing_costs_lines_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    log = RotatingLog(tmp_path / "file" / "a.log")
    log.write("one")
    log.write("two")
    assert log.last_lines(5) == ("one", "two")
    assert len(caplog.records) == 1
    (tmp_path / "file").unlink()
    log.write("three")
    assert (tmp_path / "file" / "a.log").read_text() == "three\n"
