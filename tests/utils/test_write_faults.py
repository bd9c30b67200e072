"""Writes that fail, on disks of all kinds, and writers that are killed: old or new, and nothing beside it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.errors import StorageError
from backend.utils import file_ops
from backend.utils.file_ops import link_atomic, sweep_temporaries, write_atomic
from tests.utils.test_file_ops import names

ROOT = Path(__file__).parents[2]


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
