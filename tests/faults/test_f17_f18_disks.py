"""F17, F18: the disk is full, read-only, not ours to write to, or broken, under a daemon that dreams.

What a display has stays whole, the status is answered at the control socket, and all goes on by itself.
"""

from __future__ import annotations

import contextlib
import logging
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from backend.errors import NoDaemon
from backend.utils.control import ask
from tests.end_to_end.daemon import Daemon, daemon, write_config
from tests.end_to_end.test_kills import SMALL
from tests.fakes.fake_comfy import FakeComfy
from tests.faults.small_disk import SmallDisk
from tests.faults.stage import dreams, well
from tests.faults.watch import Watch

log = logging.getLogger(__name__)

pytestmark = pytest.mark.timeout(240)

Status = dict[str, Any]
Trouble = Callable[["OnDisk", float], None]

GUARD_S = 60.0
_ANSWER_S = 10.0
_REPEATS = 50
_WARM = 10
_CHANGES = "fsync,fdatasync,rename,link,linkat,unlink,pwrite64,ftruncate,mkdir"


@dataclass
class OnDisk:
    """A daemon that dreams on a small disk."""

    disk: SmallDisk
    running: Daemon
    rng: random.Random = field(default_factory=lambda: random.Random(17))

    def told(self) -> Status:
        """The status by the control socket, which needs no disk."""
        socket = self.running.status_path.with_name("control.sock")
        return dict(ask(socket, {"command": "status"}, _ANSWER_S)["status"])

    def lives_with_it(self, words: str, seconds: float, again: Callable[[], None] = lambda: None) -> Status:
        """It stays so for a while: told in these words, answered all the time, no part is started again.

        ``again`` makes the trouble anew before each look.
        """
        told = self.until_told(words, again)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            again()
            now = self.told()
            assert (now["boot_id"], now["hangs"]) == (told["boot_id"], None)
            time.sleep(0.05)
        told = self.until_told(words, again)
        assert told["status"] == "error"
        return told

    def until_told(self, words: str, again: Callable[[], None] = lambda: None) -> Status:
        until = time.monotonic() + GUARD_S
        told: Status = {"reason": {"code": "it does not answer"}}
        while time.monotonic() < until:
            again()
            with contextlib.suppress(NoDaemon):  # it only begins
                told = self.told()
            if told["reason"]["code"] == "storage" and words in told["reason"]["sentence"]:
                return told
            time.sleep(0.05)
        raise AssertionError(f"it does not tell of the disk: {told}")

    def goes_on(self, since: Status) -> None:
        """All is well again by itself, with new keyframes and frames that came after the trouble."""
        began = time.monotonic()
        self.running.wait_for(
            lambda now: (
                well(now)
                and now["frame"]["sequence"] > since["frame"]["sequence"] + 10
                and now["dream"]["keyframes"] > since["dream"]["keyframes"]
            )
        )
        log.info("I5: all is well %.2f s after the disk", time.monotonic() - began)
        assert "Traceback" not in self.running.log.read_text(), self.running.log.read_text()

    def measured(self) -> tuple[int, float]:
        """Files that the daemon has open, and its megabytes, while all is well."""
        self.running.wait_for(lambda now: well(now) and now["engine"]["socket"] == "open")
        process = psutil.Process(self.running.process.pid)
        return process.num_fds(), process.memory_info().rss / 1e6

    def old_temporaries(self) -> list[Path]:
        """Unfinished files that nobody writes any more."""
        found = []
        for path in self.disk.seen.rglob("*.tmp"):
            try:
                if time.time() - path.stat().st_mtime > 1.0:
                    found.append(path)
            except FileNotFoundError:
                continue
        return found


def begun(folder: Path, fake: FakeComfy, **sections: dict[str, Any]) -> None:
    write_config(
        folder,
        **{**SMALL, **sections},
        comfyui={"url": fake.url, "connect_timeout_seconds": 1},
        storage={"output": "disk/output", "status": "disk/status", "min_free": "10 MB"},
        memory={"matcher": "perceptual"},
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SmallDisk, Daemon, FakeComfy]]:
    """One start for all of them."""
    folder = tmp_path_factory.mktemp("disks")
    with FakeComfy(folder / "comfy", dialect="B") as fake:
        begun(folder, fake)
        disk = SmallDisk(folder / "disk", "24m")
        with daemon(folder, prefix=disk.prefix) as started:
            running = Daemon(disk.of(started.process.pid), started.process, started.log)
            running.wait_for(dreams)
            yield disk, running, fake
            assert running.end() == 0


@pytest.fixture
def nothing_is_left_over() -> None:
    """The daemon is a process of its own: what is left over in that is looked at, see ``measured``."""


@pytest.fixture
def on(shared: tuple[SmallDisk, Daemon, FakeComfy]) -> Iterator[OnDisk]:
    disk, running, fake = shared
    with Watch(running.output, running.status_path, lambda: fake):
        running.wait_for(well)
        yield OnDisk(disk, running)


def test_f17_a_full_disk_stops_nothing_and_breaks_nothing(on: OnDisk) -> None:
    is_full(on, 1.5)


def test_f18_a_disk_that_has_become_read_only_is_waited_for(on: OnDisk) -> None:
    is_read_only(on, 1.0)


def test_f18_folders_that_nobody_may_write_to_any_more_are_waited_for(on: OnDisk) -> None:
    is_forbidden(on, 1.0)


def is_full(on: OnDisk, seconds: float) -> None:
    before = on.running.status()
    try:
        told = on.lives_with_it("No space left", seconds, again=on.disk.fill)
        assert told["frame"]["sequence"] >= before["frame"]["sequence"]
        assert on.old_temporaries() == []
    finally:
        on.disk.make_room()
    on.goes_on(told)


def is_read_only(on: OnDisk, seconds: float) -> None:
    on.disk.set_read_only(True)
    try:
        told = on.lives_with_it("Read-only file system", seconds)
    finally:
        on.disk.set_read_only(False)
    on.goes_on(told)


def is_forbidden(on: OnDisk, seconds: float) -> None:
    on.disk.set_forbidden(True)
    try:
        told = on.lives_with_it("Permission denied", seconds)
    finally:
        on.disk.set_forbidden(False)
    on.goes_on(told)


def is_broken(on: OnDisk, seconds: float) -> None:
    changes = ["-e", f"trace={_CHANGES}", "-e", f"inject={_CHANGES}:error=EIO"]
    try:
        strace = subprocess.Popen(
            ["strace", "-f", "-o", "/dev/null", *changes, "-p", str(on.disk.pid)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        pytest.skip("system calls are made to fail with strace (apt install strace)")
    try:
        told = on.lives_with_it("Input/output error", seconds)
    finally:
        strace.terminate()
        strace.wait(GUARD_S)
    on.goes_on(told)


@pytest.mark.faults
def test_f18_a_disk_with_errors_at_every_change_is_waited_for(on: OnDisk) -> None:
    is_broken(on, 5.0)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("trouble", [is_full, is_read_only, is_forbidden], ids=lambda one: one.__name__)
def test_fifty_times_over_it_leaves_nothing_behind(on: OnDisk, trouble: Trouble) -> None:
    before = None
    for count in range(_REPEATS):
        trouble(on, on.rng.uniform(0.0, 1.0))
        if count == _WARM:
            before = on.measured()
    assert before is not None
    now = on.measured()
    until = time.monotonic() + GUARD_S
    while now[0] > before[0] and time.monotonic() < until:
        time.sleep(0.5)
        now = on.measured()
    log.info("files, MB: %s before, %s after", before, now)
    assert now[0] <= before[0], "files"
    assert now[1] < before[1] * 1.05, "memory"


# The embedded engine beside it on the same disk, and disks that were so from the start


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> SmallDisk:
    return SmallDisk(tmp_path / "disk", *request.param)


@pytest.mark.faults
@pytest.mark.parametrize("disk", [("24m",)], indirect=True, ids=["24 MB"])
def test_an_engine_of_ours_on_the_same_full_disk_lives_through_it_too(
    disk: SmallDisk, tmp_path: Path
) -> None:
    write_config(tmp_path, storage={"output": "disk/output", "status": "disk/status", "min_free": "10 MB"})
    with daemon(tmp_path, prefix=disk.prefix) as started:
        running = Daemon(disk.of(started.process.pid), started.process, started.log)
        running.wait_for(dreams)
        with Watch(running.output, running.status_path, lambda: None):
            is_full(OnDisk(disk, running), 3.0)
        assert running.end() == 0


@pytest.mark.faults
@pytest.mark.parametrize("disk", [("5m",)], indirect=True, ids=["5 MB"])
def test_a_disk_too_small_for_the_frames_that_are_to_be_kept_does_not_end_the_dream(
    disk: SmallDisk, tmp_path: Path
) -> None:
    write_config(tmp_path, storage={"output": "disk/output"}, display={"keep_seconds": 600, "fps": 40})
    with daemon(tmp_path, prefix=disk.prefix) as running:
        running.wait_for(
            lambda now: (
                now["state"] == "dreaming" and now["frame"]["sequence"] > now["storage"]["frames"] + 60
            )
        )
        assert running.end() == 0
        assert "Traceback" not in running.log.read_text()


@pytest.mark.faults
@pytest.mark.parametrize(
    "disk", [("24m", '{ cat /dev/zero > "$0/filler" 2> "$0/err" || true; }')], indirect=True, ids=["full"]
)
def test_a_start_on_a_full_disk_waits_for_space_and_begins_anew_for_what_it_had_to_do_without(
    disk: SmallDisk, tmp_path: Path, fake: FakeComfy
) -> None:
    begun(tmp_path, fake)
    with daemon(tmp_path, prefix=disk.prefix) as started:
        running = Daemon(disk.of(started.process.pid), started.process, started.log)
        told = OnDisk(disk, running).until_told("No space left")
        assert told["status"] == "error"
        disk.make_room()
        running.wait_for(
            lambda now: dreams(now) and now["boot_id"] != told["boot_id"] and now["memory"]["entries"] >= 1
        )
        assert running.end() == 0
        assert "Traceback" not in running.log.read_text()
