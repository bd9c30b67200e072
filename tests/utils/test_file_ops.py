from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.errors import StorageError
from backend.utils import file_ops
from backend.utils.file_ops import (
    link_atomic,
    process_lives,
    read_at_most,
    sweep_temporaries,
    write_atomic,
    write_json_atomic,
    write_pieces_atomic,
)

DEAD_PID = 2**31 - 2  # above every kernel's pid_max


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "frame.png"
    for data in (b"old", b"", b"new" * 100_000):
        write_atomic(target, data, durable=True)
        assert target.read_bytes() == data
    assert names(tmp_path) == ["frame.png"]


def test_pieces_replace_the_file_when_the_last_has_come(tmp_path: Path) -> None:
    target = tmp_path / "weights"
    target.write_bytes(b"old")

    def pieces() -> Iterator[bytes]:
        for piece in (b"one ", b"", b"two"):
            assert target.read_bytes() == b"old"
            yield piece

    write_pieces_atomic(target, pieces())
    assert target.read_bytes() == b"one two"
    assert names(tmp_path) == ["weights"]


def test_pieces_that_break_off_leave_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "weights"
    target.write_bytes(b"old")

    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise ValueError("the line went dead")

    with pytest.raises(ValueError, match="the line went dead"):
        write_pieces_atomic(target, pieces())
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["weights"]


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b" / "file", b"x")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"x"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o644)])
def test_other_users_may_read_what_the_umask_allows(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_json_is_one_line_that_parses(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "s.json", {"theme": "mösses 🌿", "broken": "\ud800", "n": [1, None]})
    text = (tmp_path / "s.json").read_text("utf-8")
    assert json.loads(text) == {"theme": "mösses 🌿", "broken": "?", "n": [1, None]}
    assert text.count("\n") == 1
    with pytest.raises(ValueError, match="JSON"):
        write_json_atomic(tmp_path / "s.json", float("nan"))


def test_a_link_is_the_same_file_and_can_be_repeated(tmp_path: Path) -> None:
    source, other, path = tmp_path / "1.png", tmp_path / "2.png", tmp_path / "current.png"
    source.write_bytes(b"one")
    other.write_bytes(b"two")
    for chosen in (source, source, other):
        link_atomic(chosen, path)
        assert path.samefile(chosen)
    assert names(tmp_path) == ["1.png", "2.png", "current.png"]


def test_where_links_are_not_supported_the_bytes_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "1.png").write_bytes(b"one")
    link_atomic(tmp_path / "1.png", tmp_path / "current.png")
    assert (tmp_path / "current.png").read_bytes() == b"one"
    assert not (tmp_path / "current.png").samefile(tmp_path / "1.png")
    assert names(tmp_path) == ["1.png", "current.png"]


def test_a_missing_source_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        link_atomic(tmp_path / "nothing.png", tmp_path / "current.png")
    assert names(tmp_path) == []


def test_a_folder_in_the_way_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "frame.png").mkdir()
    with pytest.raises(StorageError) as caught:
        write_atomic(tmp_path / "frame.png", b"x")
    assert caught.value.path == tmp_path / "frame.png"
    assert names(tmp_path) == ["frame.png"]


def test_only_orphans_of_our_own_naming_are_swept(tmp_path: Path) -> None:
    gone = [f".status.json.{DEAD_PID}.7.tmp", f".a.png.{os.getpid()}.123456789.tmp"]
    kept = [
        ".hidden.tmp",
        "frame.12.3.tmp",
        f".other.{os.getppid()}.1.tmp",
        "frame.png",
        f".x.{DEAD_PID}.tmp",
    ]
    for name in gone + kept:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / f".link.{DEAD_PID}.1.tmp").symlink_to(tmp_path / "frame.png")
    assert sweep_temporaries(tmp_path) == 2
    assert names(tmp_path) == sorted([*kept, f".link.{DEAD_PID}.1.tmp"])


def test_an_old_temporary_is_swept_even_if_its_pid_lives_again(tmp_path: Path) -> None:
    orphan = tmp_path / f".f.{os.getppid()}.1.tmp"
    orphan.write_bytes(b"x")
    written = orphan.stat().st_mtime
    assert sweep_temporaries(tmp_path, wall=lambda: written + file_ops.ORPHAN_AGE_S - 1) == 0
    assert sweep_temporaries(tmp_path, wall=lambda: written + file_ops.ORPHAN_AGE_S + 1) == 1


def test_a_missing_folder_counts_as_swept(tmp_path: Path) -> None:
    assert sweep_temporaries(tmp_path / "nowhere") == 0


def test_a_pid_that_cannot_be_is_not_alive() -> None:
    assert process_lives(os.getpid())
    assert process_lives(1)
    assert not any(process_lives(pid) for pid in (0, -1, DEAD_PID, 2**40))


def test_a_file_is_read_whole_or_one_byte_beyond_what_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "theme.yaml"
    path.write_bytes(b"12345")
    assert read_at_most(path, 5) == b"12345"
    assert read_at_most(path, 3) == b"1234"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="not a regular file"):
        read_at_most(tmp_path / kind, 10)


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(file_ops.stat, "S_ISREG", lambda mode: True)
    assert read_at_most(tmp_path / "pipe", 10) == b""


def test_a_persons_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    path, link = tmp_path / "config.yaml", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o606)
    link.symlink_to("config.yaml")
    file_ops.rewrite_atomic(link, b"new")
    assert link.is_symlink()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o606)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["config.yaml", "link"]


def test_a_file_that_is_mounted_by_itself_is_written_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"old and long")

    def busy(source: object, target: object) -> None:
        raise OSError(errno.EBUSY, "busy")

    monkeypatch.setattr(os, "replace", busy)
    file_ops.rewrite_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert [one.name for one in tmp_path.iterdir()] == ["config.yaml"]


def test_a_file_of_a_person_that_cannot_be_replaced_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"old")

    def full(descriptor: int, data: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError):
        file_ops.rewrite_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["config.yaml"]
