from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend.errors import AlreadyRunning, StorageError
from backend.utils.lock import LOCK_NAME, OutputLock

ROOT = Path(__file__).parents[2]

HOLD = """
import sys
from pathlib import Path
from backend.utils.lock import OutputLock
with OutputLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_was_first_and_a_killed_one_leaves_nothing(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        with pytest.raises(AlreadyRunning) as caught:
            OutputLock(tmp_path).acquire()
        assert caught.value.pid == first.pid
        assert str(first.pid) in str(caught.value)
        first.kill()
        first.wait(30)
    with OutputLock(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_second_lock_in_one_process_is_refused_too(tmp_path: Path) -> None:
    with OutputLock(tmp_path), pytest.raises(AlreadyRunning):
        OutputLock(tmp_path).acquire()
    with OutputLock(tmp_path):
        pass


@pytest.mark.parametrize("left", ["", "1\n", "not a pid", "99999999999999999999999"])
def test_a_lock_file_that_was_left_behind_means_nothing(tmp_path: Path, left: str) -> None:
    (tmp_path / LOCK_NAME).write_text(left)
    with OutputLock(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_the_folder_is_made(tmp_path: Path) -> None:
    with OutputLock(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK_NAME).exists()


def test_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = OutputLock(tmp_path)
    lock.acquire()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False):
        lock.release()
        OutputLock(tmp_path).acquire()


def test_a_lock_file_that_was_deleted_meanwhile_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock
    times = []

    def flock(descriptor: int, operation: int) -> None:
        real(descriptor, operation)
        times.append(1)
        if len(times) == 1:
            (tmp_path / LOCK_NAME).unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with OutputLock(tmp_path):
        assert (tmp_path / LOCK_NAME).exists()
    assert len(times) == 2


def test_a_file_system_without_locks_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError) as caught:
        OutputLock(tmp_path).acquire()
    assert caught.value.errno == errno.ENOLCK


def test_a_link_in_place_of_the_lock_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    (tmp_path / LOCK_NAME).symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError):
        OutputLock(tmp_path).acquire()
    assert (tmp_path / "precious").read_text() == "x"


def test_a_full_disk_that_takes_no_pid_does_not_stop_the_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", refuse)
    with OutputLock(tmp_path), pytest.raises(AlreadyRunning):
        OutputLock(tmp_path).acquire()
