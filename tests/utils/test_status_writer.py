from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from backend.utils.status_schema import ReasonCode, State, StatusBody, StorageStatus, status_json_schema
from backend.utils.status_writer import StatusWriter


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def body() -> StatusBody:
    return StatusBody(state=State.DREAMING)


def writer_at(
    path: Path, clock: Clock | None = None, snapshot: Callable[[], StatusBody] = body
) -> StatusWriter:
    return StatusWriter(
        path, snapshot, clock=clock or Clock(), wall=lambda: datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
    )


def refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_written_fits_the_schema_and_is_the_latest(tmp_path: Path) -> None:
    writer = writer_at(tmp_path / "status.json")
    writer.publish()
    said = json.loads((tmp_path / "status.json").read_text())
    jsonschema.validate(said, status_json_schema())
    assert said == json.loads(writer.latest.model_dump_json())
    assert (said["pid"], said["boot_id"]) == (os.getpid(), writer.boot_id)
    assert said["updated_at"] == "2026-05-06T07:08:09.000Z"


def test_the_sequence_counts_writes_from_one(tmp_path: Path) -> None:
    writer = writer_at(tmp_path / "status.json")
    seen = []
    for _ in range(3):
        writer.publish()
        seen.append(json.loads((tmp_path / "status.json").read_text())["sequence"])
    assert seen == [1, 2, 3]


def test_each_start_has_its_own_boot_id(tmp_path: Path) -> None:
    assert writer_at(tmp_path / "a").boot_id != writer_at(tmp_path / "a").boot_id


def test_tick_publishes_once_a_second_and_says_how_long_to_wait(tmp_path: Path) -> None:
    clock = Clock()
    writer = writer_at(tmp_path / "status.json", clock)
    assert writer.tick() == 1.0
    clock.now_s += 0.75
    assert writer.tick() == 0.25
    assert writer.latest.sequence == 1
    clock.now_s += 0.25
    assert writer.tick() == 1.0
    assert (writer.latest.sequence, writer.latest.uptime_s) == (2, 1.0)


def test_a_full_disk_is_counted_and_told_but_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = writer_at(tmp_path / "status.json")
    writer.publish()
    before = (tmp_path / "status.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        writer.publish()
        writer.publish()
    assert writer.failures == 2
    assert "No space left" in (writer.latest.storage.last_error or "")
    assert writer.latest.reason.code is ReasonCode.STORAGE
    assert "No space left" in writer.latest.reason.sentence
    assert (tmp_path / "status.json").read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]


def test_when_space_returns_the_sequence_has_no_gap_and_the_error_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = writer_at(tmp_path / "status.json")
    writer.publish()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        writer.publish()
    writer.publish()
    said = json.loads((tmp_path / "status.json").read_text())
    assert (said["sequence"], said["storage"]["last_error"], said["reason"]["code"]) == (2, None, "ok")


def test_an_error_of_the_frames_is_not_hidden_by_one_of_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = writer_at(
        tmp_path / "status.json",
        snapshot=lambda: StatusBody(state=State.DREAMING, storage=StorageStatus(last_error="frames: full")),
    )
    monkeypatch.setattr(os, "replace", refuse)
    writer.publish()
    assert writer.latest.storage.last_error == "frames: full"


def test_a_status_folder_that_is_deleted_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "status" / "status.json"
    writer = writer_at(path)
    writer.publish()
    path.unlink()
    path.parent.rmdir()
    writer.publish()
    assert json.loads(path.read_text())["sequence"] == 2


def test_there_is_a_latest_before_anything_is_written(tmp_path: Path) -> None:
    assert writer_at(tmp_path / "status.json").latest.state is State.DREAMING
    assert list(tmp_path.iterdir()) == []


def test_readers_beside_two_publishing_threads_see_whole_and_growing_statuses(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    writer = writer_at(path)
    writer.publish()
    wrong: list[str] = []

    def read() -> None:
        last = 0
        for _ in range(300):
            sequence = json.loads(path.read_bytes())["sequence"]
            if sequence < last:
                wrong.append(f"{sequence} after {last}")
            last = sequence

    readers = [threading.Thread(target=read) for _ in range(4)]
    writers = [threading.Thread(target=lambda: [writer.publish() for _ in range(200)]) for _ in range(2)]
    for thread in readers + writers:
        thread.start()
    for thread in readers + writers:
        thread.join()
    assert wrong == []
    assert json.loads(path.read_bytes())["sequence"] == 401
