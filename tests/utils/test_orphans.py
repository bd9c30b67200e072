"""What is ours is ended, what is not is left alone; both ways of telling them apart."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.utils import orphans
from backend.utils.orphans import MARK, end_orphans

GUARD_S = 30.0
SLEEP = [sys.executable, "-S", "-c", "import time; print('here', flush=True); time.sleep(600)"]


def sleeper(**environment: str) -> subprocess.Popen[bytes]:
    made = subprocess.Popen(
        SLEEP, env=os.environ | environment, stdout=subprocess.PIPE, start_new_session=True
    )
    assert made.stdout is not None
    made.stdout.readline()
    made.stdout.close()
    return made


@pytest.fixture
def token() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def program(token: str) -> Iterator[subprocess.Popen[bytes]]:
    made = sleeper(**{MARK: token})
    yield made
    made.kill()
    made.wait(GUARD_S)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
class TestMarked:
    def test_processes_with_the_mark_are_ended_and_counted(
        self, program: subprocess.Popen[bytes], token: str, tmp_path: Path
    ) -> None:
        second = sleeper(**{MARK: token})
        assert end_orphans(token, tmp_path / "note") == 2
        assert program.wait(GUARD_S) == second.wait(GUARD_S) == -15

    @pytest.mark.parametrize("other", ["{}x", "x{}", ""])
    def test_a_mark_that_is_only_alike_is_none(
        self, program: subprocess.Popen[bytes], token: str, tmp_path: Path, other: str
    ) -> None:
        assert end_orphans(other.format(token) or token[:-1], tmp_path / "note") == 0
        assert program.poll() is None

    def test_one_that_stands_still_is_killed(
        self, program: subprocess.Popen[bytes], token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(orphans, "TERM_S", 0.1)
        program.send_signal(signal.SIGSTOP)
        # Of two signals that wait, the kernel delivers SIGTERM first: it must have stopped by then.
        os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WNOWAIT)
        assert end_orphans(token, tmp_path / "note") == 1
        assert program.wait(GUARD_S) == -9

    def test_we_ourselves_are_never_our_own_orphan(self, token: str, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from backend.utils.orphans import end_orphans; "
            f"print(end_orphans({token!r}, Path('note')))"
        )
        root = Path(__file__).resolve().parents[2]
        command = [sys.executable, "-c", code]
        run = subprocess.run(
            command, env=os.environ | {MARK: token}, cwd=root, capture_output=True, text=True, check=True
        )
        assert run.stdout == "0\n"


@pytest.mark.skipif(shutil.which("ps") is None, reason="asks ps (Debian: apt install procps)")
class TestNoted:
    @pytest.fixture(autouse=True)
    def elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As on a system without /proc."""
        monkeypatch.setattr(orphans.sys, "platform", "darwin")

    def test_the_noted_group_is_ended(self, program: subprocess.Popen[bytes], tmp_path: Path) -> None:
        note = tmp_path / "note"
        orphans.note_leader(note, program.pid)
        assert end_orphans("", note) == 1
        assert program.wait(GUARD_S) == -15
        assert end_orphans("", note) == 0

    def test_a_process_that_has_the_id_by_now_is_left_alone(
        self, program: subprocess.Popen[bytes], tmp_path: Path
    ) -> None:
        note = tmp_path / "note"
        note.write_text(json.dumps({"pid": program.pid, "started": "Thu Jan 1 00:00:00 1970"}))
        assert end_orphans("", note) == 0
        assert program.poll() is None

    @pytest.mark.parametrize(
        "text", ["", "{}", "[]", '{"pid": 1, "started": ""}', '{"pid": "x", "started": 3}']
    )
    def test_a_note_that_makes_no_sense_is_none(self, tmp_path: Path, text: str) -> None:
        note = tmp_path / "note"
        note.write_text(text)
        assert end_orphans("", note) == 0
