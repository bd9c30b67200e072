"""F19, and F17 and F18 as far as single writes go: a fault at any system call of what others depend on."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.faults.syscalls import CHANGING, KILL, Report, walk_through

log = logging.getLogger(__name__)

OPERATIONS = [
    f"tests.faults.operations:{name}" for name in ("Publish", "KeepAhead", "KeepResumePoint", "Remember")
]
# Of the memory those calls that are ours alone: the others are SQLite's, and the long form has them.
QUICKLY = dict.fromkeys(OPERATIONS[:3], CHANGING) | {OPERATIONS[3]: ("rename", "mkdir")}


def assert_whole(reports: dict[str, Report], least: int) -> None:
    for name, report in reports.items():
        log.info("%s: struck %s in %.1f s", name, report.struck, report.seconds)
        assert report.wrong == [], "\n".join(report.wrong)
    struck = sum(sum(report.struck.values()) for report in reports.values())
    assert struck >= least, "the walk did not come to the calls that it is for"


def test_a_kill_between_any_two_calls_leaves_all_whole(tmp_path: Path) -> None:
    assert_whole(walk_through(QUICKLY, tmp_path), 40)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", [KILL, "error=ENOSPC", "error=EIO", "error=EROFS"])
def test_a_fault_at_any_call_of_all_of_them_leaves_all_whole(tmp_path: Path, fault: str) -> None:
    assert_whole(walk_through(dict.fromkeys(OPERATIONS, CHANGING), tmp_path, fault), 100)


class Careless:
    """A write that is not whole at every instant; the walk must see it."""

    def prepare(self, folder: Path) -> object:
        (folder / "file").write_bytes(b"old")
        return lambda: (folder / "file").write_bytes(b"new")

    def look(self, folder: Path) -> None:
        assert (folder / "file").read_bytes() in (b"old", b"new")

    def start_again(self, folder: Path) -> None:
        """As it was left."""


def test_a_write_in_place_is_found_out(tmp_path: Path) -> None:
    name = "tests.faults.test_f19_system_calls:Careless"
    report = walk_through({name: ("openat", "write")}, tmp_path)[name]
    assert len(report.wrong) == 1
    assert "signal=KILL at write number 1" in report.wrong[0]
