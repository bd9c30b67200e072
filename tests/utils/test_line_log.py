from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from backend.errors import StorageError
from backend.utils.line_log import LineLog, read_lines


def numbers(folder: Path, first: int = 0) -> list[int]:
    return [line["n"] for line in read_lines(folder, first)]


def filled(folder: Path, count: int, per_segment: int = 10) -> LineLog:
    log = LineLog(folder, per_segment)
    for number in range(1, count + 1):
        log.append(number, {"n": number})
    return log


def test_lines_come_back_in_order_across_segments_and_restarts(tmp_path: Path) -> None:
    filled(tmp_path, 25).close()
    again = LineLog(tmp_path, 10)
    again.append(26, {"n": 26})
    assert numbers(tmp_path) == list(range(1, 27))
    assert numbers(tmp_path, 15) == list(range(11, 27))  # from the segment on that holds line 15


def test_what_is_forgotten_is_gone_and_the_rest_stays(tmp_path: Path) -> None:
    log = filled(tmp_path, 45)
    log.forget_before(25)
    assert numbers(tmp_path) == list(range(21, 46))
    log.forget_before(1000)
    assert numbers(tmp_path) == list(range(41, 46))
    log.clear()
    assert numbers(tmp_path) == []
    log.append(1, {"n": 1})
    assert numbers(tmp_path) == [1]


def test_a_line_of_a_killed_writer_costs_only_itself(tmp_path: Path) -> None:
    filled(tmp_path, 3).close()
    with (tmp_path / "000000001.jsonl").open("ab") as file:
        file.write(b'{"n": 4, "wo')
    again = LineLog(tmp_path)
    again._begin(1)  # as a run does whose frames began at the same number
    again.append(5, {"n": 5})
    assert numbers(tmp_path) == [1, 2, 3, 5]


def test_a_full_disk_is_told_and_costs_only_the_lines_that_it_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = filled(tmp_path, 2)
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[:5])

    def none(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", half)
    log.append(3, {"n": 3})
    monkeypatch.setattr(os, "write", none)
    with pytest.raises(StorageError) as refused:
        log.append(4, {"n": 4})
    assert refused.value.full
    monkeypatch.setattr(os, "write", write)
    log.append(5, {"n": 5})
    assert numbers(tmp_path) == [1, 2, 5]


def test_what_others_put_there_is_passed_over(tmp_path: Path) -> None:
    filled(tmp_path, 2).close()
    (tmp_path / "notes.txt").write_text("{}")
    (tmp_path / "000000007.jsonl").write_bytes(b'[1]\n\xff\xfe\nnull\n{"n": 7}\n' + b"[" * 100_000)
    (tmp_path / "000000009.jsonl").mkdir()
    assert numbers(tmp_path) == [1, 2, 7]
    assert list(read_lines(tmp_path / "nowhere")) == []
