from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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

ROOT = Path(__file__).parents[2]
DEAD_PID = 2**31 - 2  # above every kernel's pid_max


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "frame.png"
    for data in (b"old", b"", b"new" * 100_000):
        write_atomic(target, data, durable=True)
        assert target.read_bytes() == data
    assert names(tmp_path) == ["frame.png"]


def test_what_a_sick_disk_did_not_let_go_is_removed_once_it_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_ops, "_left", deque())  # none that other tests could not remove
    path = tmp_path / "status.json"

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as sick:
        sick.setattr(os, "replace", fails)
        sick.setattr(Path, "unlink", fails)
        for _ in range(40):
            with pytest.raises(StorageError):
                write_atomic(path, b"new")
    assert len(list(tmp_path.iterdir())) == 40
    write_atomic(path, b"well")
    write_atomic(path, b"well")
    assert list(tmp_path.iterdir()) == [path]


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


class FailingOs:
    """Lets the n-th call of os fail; a close still closes, as in the kernel."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int, code: int) -> None:
        self.calls = 0
        self._fail_at, self._code = fail_at, code
        for name in ("open", "write", "fsync", "close", "replace", "link"):
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name)))

    def _wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            failing = self.calls == self._fail_at
            if failing and name == "close":
                real(*args, **kwargs)
            if failing:
                raise OSError(self._code, os.strerror(self._code))
            return real(*args, **kwargs)

        return call


def durable_write(path: Path) -> None:
    write_atomic(path, b"new", durable=True)


def linking(path: Path) -> None:
    link_atomic(path.with_name("source"), path)


@pytest.mark.parametrize(
    "code", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS], ids=errno.errorcode.get
)
@pytest.mark.parametrize("action", [durable_write, linking])
def test_a_fault_at_any_call_leaves_old_or_new_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: Callable[[Path], None], code: int
) -> None:
    path = tmp_path / "file"
    (tmp_path / "source").write_bytes(b"new")
    for fail_at in range(1, 20):
        path.write_bytes(b"old")
        with monkeypatch.context() as patch:
            failing = FailingOs(patch, fail_at, code)
            try:
                action(path)
            except StorageError as error:
                assert error.errno == code  # noqa: PT017 - success is an outcome here too
        assert path.read_bytes() in (b"old", b"new")
        assert names(tmp_path) == ["file", "source"]
        if failing.calls < fail_at:  # the fault has moved past the last call
            assert path.read_bytes() == b"new"
            return
        path.unlink()
    pytest.fail("the fault never moved past the end")


def run_python(code: str, *args: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, sys.executable, "-c", code, *args],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )


WRITE_TOO_MUCH = """
import sys
from pathlib import Path
from backend.errors import StorageError
from backend.utils.file_ops import write_atomic
path = Path(sys.argv[1]) / "file"
write_atomic(path, b"old")
try:
    write_atomic(path, b"x" * 1_000_000)
except StorageError as error:
    print(error.errno, path.read_bytes(), [e.name for e in path.parent.iterdir()])
"""


def test_a_write_cut_short_by_the_kernel_leaves_the_old_file(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
    done = run_python(limit + WRITE_TOO_MUCH, str(tmp_path))
    assert done.stdout.strip() == f"{errno.EFBIG} b'old' ['file']", done.stderr


def test_a_truly_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare (util-linux)")
    mount = 'mount -t tmpfs -o size=64k none "$0" 2>/dev/null || exit 77; exec "$@"'
    done = run_python(
        WRITE_TOO_MUCH, str(tmp_path), prefix=("unshare", "-rm", "sh", "-c", mount, str(tmp_path))
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("may not mount a tmpfs in a user namespace here")
    assert done.stdout.strip() == f"{errno.ENOSPC} b'old' ['file']", done.stderr


# Root may write everywhere, so it becomes nobody after its imports; the working folder stays reachable.
WRITE_AS_NOBODY = """
import os, sys
from pathlib import Path
from backend.errors import StorageError
from backend.utils.file_ops import write_atomic
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)
try:
    write_atomic(Path("file"), b"new")
except StorageError as error:
    print(error.errno, Path("file").read_bytes(), os.listdir())
"""


def test_a_folder_that_may_not_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    tmp_path.chmod(0o555)
    done = run_python(WRITE_AS_NOBODY, str(tmp_path))
    tmp_path.chmod(0o755)
    assert done.stdout.strip() == f"{errno.EACCES} b'old' ['file']", done.stderr


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


KILL_AT = """
import os, signal, sys
from pathlib import Path
from backend.utils.file_ops import write_atomic
path, left = Path(sys.argv[1]) / "file", [int(sys.argv[2])]
def dying(real):
    def call(*args):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)
    return call
for name in ("open", "write", "fsync", "close", "replace"):
    setattr(os, name, dying(getattr(os, name)))
write_atomic(path, b"new", durable=True)
"""


def test_a_writer_killed_before_any_call_leaves_old_or_new_and_its_orphan_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for kill_at in range(1, 20):
        path.write_bytes(b"old")
        done = run_python(KILL_AT, str(tmp_path), str(kill_at))
        assert path.read_bytes() in (b"old", b"new")
        sweep_temporaries(tmp_path)
        assert names(tmp_path) == ["file"]
        if done.returncode == 0:
            assert path.read_bytes() == b"new"
            return
    pytest.fail("the kill never moved past the end")


def test_a_pid_that_cannot_be_is_not_alive() -> None:
    assert process_lives(os.getpid())
    assert process_lives(1)
    assert not any(process_lives(pid) for pid in (0, -1, DEAD_PID, 2**40))


def whole(data: bytes) -> bool:
    """Our test files repeat one byte and say their own length in the first eight."""
    return len(data) == int(data[:8]) and len(set(data[8:])) == 1


def made(n: int) -> bytes:
    size = 5_000 + n * 97 % 60_000
    return f"{size:08d}".encode() + bytes([n % 251]) * (size - 8)


def read_flat_out(path: str, reads: int, torn: Any) -> None:
    for _ in range(reads):
        if not whole(Path(path).read_bytes()):
            with torn.get_lock():
                torn.value += 1


def read_while_written(path: Path, reads_each: int) -> int:
    """Four reader processes against one writer; the number of torn reads."""
    write_atomic(path, made(0))
    context = multiprocessing.get_context("spawn")
    torn = context.Value("i", 0)
    readers = [context.Process(target=read_flat_out, args=(str(path), reads_each, torn)) for _ in range(4)]
    for reader in readers:
        reader.start()
    n = 0
    while any(reader.is_alive() for reader in readers):
        n += 1
        write_atomic(path, made(n))
    for reader in readers:
        reader.join()
        assert reader.exitcode == 0
    assert n > 0
    return int(torn.value)


def test_four_reader_processes_see_no_torn_file_in_2000_reads(tmp_path: Path) -> None:
    assert read_while_written(tmp_path / "file", 500) == 0


@pytest.mark.long
def test_four_reader_processes_see_no_torn_file_in_100000_reads(tmp_path: Path) -> None:
    assert read_while_written(tmp_path / "file", 25_000) == 0


def test_a_linked_name_is_never_missing_and_never_torn(tmp_path: Path) -> None:
    sources = [tmp_path / f"{n}.png" for n in range(8)]
    for n, source in enumerate(sources):
        source.write_bytes(made(n))
    path = tmp_path / "current.png"
    link_atomic(sources[0], path)
    torn: list[int] = []

    def read() -> None:
        torn.extend(n for n in range(500) if not whole(path.read_bytes()))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    n = 0
    while any(reader.is_alive() for reader in readers):
        n += 1
        link_atomic(sources[n % 8], path)
    assert torn == []


def test_many_threads_may_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    writers = [
        threading.Thread(target=lambda k=k: [write_atomic(path, made(k * 50 + n)) for n in range(50)])  # type: ignore[misc]
        for k in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert whole(path.read_bytes())
    assert names(tmp_path) == ["file"]


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
