from __future__ import annotations

from pathlib import Path

import pytest

import backend.resume_assembly as assembly
from backend.config import load_settings
from backend.core.resume_store import FOLDER, POINT
from backend.resume_assembly import open_past
from tests.end_to_end.daemon import write_config


def test_a_folder_on_a_network_is_told_of_by_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = load_settings(write_config(tmp_path), {}).settings
    assert open_past(settings).note == ""
    monkeypatch.setattr(
        assembly, "network_file_system", lambda folder: "nfs4" if folder.name == "output" else None
    )
    note = open_past(settings).note
    assert f"storage.output = {tmp_path / 'output'} is on nfs4" in note
    assert "storage.status" not in note
    assert "local disk" in note
    assert note in caplog.text


def test_never_begins_anew_whatever_was_left_and_says_nothing(tmp_path: Path) -> None:
    settings = load_settings(write_config(tmp_path, dream={"resume": "never"}), {}).settings
    (tmp_path / "output" / FOLDER).mkdir(parents=True)
    (tmp_path / "output" / FOLDER / POINT).write_text("dust")
    past = open_past(settings)
    assert (past.point, past.note) == (None, "")


def test_a_point_that_had_to_be_set_aside_is_told_of(tmp_path: Path) -> None:
    settings = load_settings(write_config(tmp_path), {}).settings
    (tmp_path / "output" / FOLDER).mkdir(parents=True)
    (tmp_path / "output" / FOLDER / POINT).write_text('{"schema_version": 99}')
    past = open_past(settings)
    assert past.point is None
    assert "from a newer Dreamloop" in past.note
    assert f"{FOLDER}.from-v99" in past.note
