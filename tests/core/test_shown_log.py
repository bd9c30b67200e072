from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.core.frame_buffer import FrameKind
from backend.core.shown_log import FOLDER, Showing, ShownLog, read_shown


def showing(number: int) -> Showing:
    return Showing(number, 1_767_000_000.0 + number / 10, 0.1, FrameKind.IN_BETWEEN, "Meer 🌊")


def test_what_is_noted_is_read_again(tmp_path: Path) -> None:
    log = ShownLog(tmp_path)
    for number in (1, 2, 3):
        log.add(showing(number), oldest_kept=1)
    assert list(read_shown(tmp_path)) == [showing(1), showing(2), showing(3)]
    assert list(read_shown(tmp_path, 3)) == [showing(3)]


def test_the_log_stays_as_small_as_what_is_kept(tmp_path: Path) -> None:
    log = ShownLog(tmp_path)
    for number in range(1, 12_001):
        log.add(showing(number), oldest_kept=max(1, number - 600))
    assert len(list(read_shown(tmp_path))) <= 4_000
    assert [one.sequence for one in read_shown(tmp_path, 11_400)] == list(range(11_400, 12_001))


def test_a_disk_that_refuses_is_told_once_and_never_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    log = ShownLog(tmp_path)
    for number in range(1, 5):
        log.add(showing(number), oldest_kept=1)
    assert len(caplog.records) == 1
    assert list(read_shown(tmp_path)) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("duration_s", -1),
        ("duration_s", None),
        ("shown_at", "noon"),
        ("kind", "advertisement"),
        ("sequence", 0),
        ("sequence", 1e400),
    ],
)
def test_a_line_without_sense_is_passed_over(tmp_path: Path, key: str, value: object) -> None:
    line = {"sequence": 1, "shown_at": 1.0, "duration_s": 0.1, "kind": "keyframe", "theme": ""}
    (tmp_path / FOLDER).mkdir()
    lines = json.dumps({**line, key: value}) + "\n" + json.dumps(line) + "\n"
    (tmp_path / FOLDER / "000000001.jsonl").write_text(lines)
    assert len(list(read_shown(tmp_path))) == 1
