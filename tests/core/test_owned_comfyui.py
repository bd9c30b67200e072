"""OwnedComfyUI with a small program that passes for a ComfyUI, in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from backend.core.owned_comfyui import OwnedComfyUI, Presence, who_is_at
from backend.errors import EngineUnreachable
from backend.utils.orphans import MARK
from tests.core.odd_servers import OddServer, answering
from tests.fakes import comfy_program
from tests.fakes.fake_comfy import FakeComfy, free_port

ROOT = Path(__file__).resolve().parents[2]
GUARD_S = 30.0
PROGRAM = [sys.executable, "-S", str(Path(comfy_program.__file__))]

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="orphans are found in /proc")


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Stage:
    """Makes owners of ComfyUIs at one free port, and ends whatever they started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = uuid.uuid4().hex
        self.made: list[OwnedComfyUI] = []
        self.others: list[subprocess.Popen[bytes]] = []

    def command(self, *habits: str) -> list[str]:
        return [*PROGRAM, "--port", str(self.port), *habits]

    def own(self, *habits: str, **options: Any) -> OwnedComfyUI:
        options = {
            "token": self.token,
            "clock": self.clock,
            "look": partial(who_is_at, within_s=0.3),
        } | options
        self.made.append(OwnedComfyUI(self.command(*habits), self.url, self.folder, **options))
        return self.made[-1]

    def started_by_another(self, **environment: str) -> subprocess.Popen[bytes]:
        """A ComfyUI that none of the owners started; it answers."""
        program = subprocess.Popen(self.command(), env=os.environ | environment, start_new_session=True)
        self.others.append(program)
        until(lambda: who_is_at(self.url) is Presence.COMFYUI)
        return program

    def facts(self) -> dict[str, Any]:
        system: dict[str, Any] = requests.get(f"{self.url}/system_stats", timeout=GUARD_S).json()["system"]
        return system

    def close(self) -> None:
        for owner in self.made:
            owner.stop()
        for program in self.others:
            program.kill()
            program.wait(GUARD_S)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def until(condition: Callable[[], bool]) -> None:
    """Polls with a guard; there is nothing to wait on in another process."""
    deadline_s = time.monotonic() + GUARD_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return sys.platform != "linux" or ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_it_is_started_and_answers(stage: Stage) -> None:
    owner = stage.own()
    assert owner.ensure_running(GUARD_S) == stage.url
    assert stage.facts()["argv"][1:] == ["--port", str(stage.port)], "the command is run as it was written"
    first = owner.pid
    assert owner.ensure_running() == stage.url
    assert owner.pid == first
    assert owner.runs


def test_cpu_is_one_word_more(stage: Stage) -> None:
    stage.own(cpu=True).ensure_running(GUARD_S)
    assert stage.facts()["argv"][1:] == ["--port", str(stage.port), "--cpu"]


def test_stop_ends_it_and_nothing_starts_it_again(stage: Stage) -> None:
    owner = stage.own()
    owner.ensure_running(GUARD_S)
    pid = stage.facts()["pid"]
    owner.stop(GUARD_S)
    assert not alive(pid)
    assert who_is_at(stage.url) is Presence.NOBODY
    with pytest.raises(EngineUnreachable, match="stopped"):
        owner.ensure_running()


def test_our_settings_and_systemds_socket_are_not_told_to_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMLOOP_COMFYUI__HEADERS", "s3cr3t")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    stage.own().ensure_running(GUARD_S)
    environ = stage.facts()["environ"]
    assert not {"DREAMLOOP_COMFYUI__HEADERS", "NOTIFY_SOCKET"} & environ.keys()
    assert environ[MARK] == stage.token


def test_where_notes_tell_whose_it_is_another_of_us_leaves_it_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor looks while the daemon dreams, with the same folder for its notes."""
    monkeypatch.setattr(sys, "platform", "darwin")
    daemon = stage.own()
    daemon.ensure_running(GUARD_S)
    pid = stage.facts()["pid"]
    assert len(list(stage.folder.glob("*.pid"))) == 1
    stage.own(token="the-doctors").ensure_running(GUARD_S)
    assert stage.facts()["pid"] == pid
    daemon.stop(GUARD_S)
    assert not list(stage.folder.glob("*.pid"))


def test_one_that_is_still_starting_is_not_there_yet(stage: Stage) -> None:
    owner = stage.own("mute")
    with pytest.raises(EngineUnreachable, match=rf"starting, and does not answer at {stage.url} yet"):
        owner.ensure_running()
    assert owner.runs


def test_one_that_never_answers_is_killed_and_started_anew(stage: Stage) -> None:
    owner = stage.own("mute", start_s=600.0)
    with pytest.raises(EngineUnreachable, match="starting"):
        owner.ensure_running()
    until((stage.folder / "comfyui.log").exists)
    first = owner.pid
    stage.clock.now_s += 600
    with pytest.raises(EngineUnreachable, match=r"again in 0\.5 s; it said: Starting server"):
        owner.ensure_running()
    assert first is not None
    assert not alive(first)
    stage.clock.now_s += 0.5
    with pytest.raises(EngineUnreachable, match="starting"):
        owner.ensure_running()


def test_one_that_crashes_is_started_again_ever_more_slowly_and_its_last_words_are_told(stage: Stage) -> None:
    owner = stage.own("crashes")
    pauses_s = []
    for _ in range(3):
        with pytest.raises(EngineUnreachable, match=r"it ended at once; it said: .*No module named 'torch'"):
            owner.ensure_running(GUARD_S)
        with pytest.raises(EngineUnreachable, match=r"again in .* s; it said: .*No module named 'torch'"):
            owner.ensure_running()
        pauses_s.append(owner._not_before_s - stage.clock.now_s)
        stage.clock.now_s = owner._not_before_s
    assert pauses_s == [0.5, 1, 2]
    assert "the program ended with status 3" in (stage.folder / "comfyui.log").read_text()


def test_one_that_is_killed_is_started_again_after_a_pause(stage: Stage) -> None:
    owner = stage.own()
    owner.ensure_running(GUARD_S)
    first = stage.facts()["pid"]
    os.kill(first, signal.SIGKILL)
    until(lambda: not owner.runs)
    with pytest.raises(EngineUnreachable, match=r"again in 0\.5 s"):
        owner.ensure_running()
    stage.clock.now_s += 0.5
    owner.ensure_running(GUARD_S)
    assert stage.facts()["pid"] != first


def test_one_that_hangs_is_killed_and_started_anew_but_not_too_soon(stage: Stage) -> None:
    owner = stage.own()
    owner.ensure_running(GUARD_S)
    first = stage.facts()["pid"]
    os.kill(first, signal.SIGSTOP)
    began_s = stage.clock.now_s
    for silent_s in (0, 30, 59):
        stage.clock.now_s = began_s + silent_s
        with pytest.raises(EngineUnreachable, match=f"silent for {silent_s} s"):
            owner.ensure_running()
    stage.clock.now_s = began_s + 60
    with pytest.raises(EngineUnreachable, match=r"again in 0\.5 s"):
        owner.ensure_running()
    until(lambda: not alive(first))
    stage.clock.now_s += 0.5
    owner.ensure_running(GUARD_S)
    assert stage.facts()["pid"] != first


def test_a_restart_that_is_asked_for_is_not_waited_for_and_needs_no_pause(stage: Stage) -> None:
    owner = stage.own()
    owner.ensure_running(GUARD_S)
    first = stage.facts()["pid"]
    assert owner.restart() is True
    until(lambda: not owner.runs)
    owner.ensure_running(GUARD_S)
    assert stage.facts()["pid"] != first


def test_one_that_ignores_the_wish_to_end_is_killed_with_its_family(stage: Stage) -> None:
    owner = stage.own("stubborn", "family")
    owner.ensure_running(GUARD_S)
    facts = stage.facts()
    assert owner.restart(term_s=0.3) is True
    with pytest.raises(EngineUnreachable, match="being restarted"):
        owner.ensure_running()
    until(lambda: not owner.runs)
    for pid in (facts["pid"], *facts["child"]):
        until(lambda pid=pid: not alive(pid))


def test_when_it_ends_what_it_started_ends_too(stage: Stage) -> None:
    owner = stage.own("family")
    owner.ensure_running(GUARD_S)
    facts = stage.facts()
    (child,) = facts["child"]
    assert alive(child)
    os.kill(facts["pid"], signal.SIGKILL)
    until(lambda: not alive(child))


def test_what_it_says_goes_into_two_files_of_bounded_size(stage: Stage) -> None:
    stage.own("noisy").ensure_running(GUARD_S)
    sizes = [(stage.folder / name).stat().st_size for name in ("comfyui.log", "comfyui.log.1")]
    assert all(0 < size <= 5 * 2**20 for size in sizes)
    assert sum(sizes) > 5 * 2**20, "no more was thrown away than had to be"


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    owner = OwnedComfyUI(["pythoon3", "main.py"], f"http://127.0.0.1:{free_port()}", tmp_path, token="t")
    with pytest.raises(EngineUnreachable, match=r"no program 'pythoon3'; comfyui\.launch"):
        owner.ensure_running()
    assert not owner.runs


class TestOthers:
    def test_a_comfyui_that_others_started_is_used_and_never_ended(self, stage: Stage) -> None:
        program = stage.started_by_another()
        owner = stage.own()
        assert owner.ensure_running() == stage.url
        assert not owner.runs
        assert owner.pid is None
        assert owner.restart() is False
        owner.stop()
        assert program.poll() is None
        assert who_is_at(stage.url) is Presence.COMFYUI

    def test_when_the_comfyui_of_others_ends_ours_is_started(self, stage: Stage) -> None:
        program = stage.started_by_another()
        owner = stage.own()
        owner.ensure_running()
        program.kill()
        program.wait(GUARD_S)
        owner.ensure_running(GUARD_S)
        assert owner.runs

    def test_a_port_that_something_else_has_is_told_and_nothing_is_started(self, tmp_path: Path) -> None:
        with OddServer(answering("200 OK", "<html>router</html>")) as server:
            owner = OwnedComfyUI(PROGRAM, server.url, tmp_path, token="t")
            with pytest.raises(EngineUnreachable, match="port is taken by a program that is no ComfyUI"):
                owner.ensure_running(GUARD_S)
            assert not owner.runs

    def test_a_comfyui_of_others_that_is_silent_is_not_taken_for_nobody(self, stage: Stage) -> None:
        program = stage.started_by_another()
        program.send_signal(signal.SIGSTOP)
        owner = stage.own()
        with pytest.raises(EngineUnreachable, match="taken by a program that does not answer"):
            owner.ensure_running()
        program.send_signal(signal.SIGCONT)
        until(lambda: who_is_at(stage.url) is Presence.COMFYUI)
        assert owner.ensure_running() == stage.url

    def test_a_real_server_is_told_from_others(self, fake_comfy: FakeComfy) -> None:
        assert who_is_at(fake_comfy.url) is Presence.COMFYUI
        fake_comfy.fault("GET", "/system_stats", body="{}")
        assert who_is_at(fake_comfy.url) is Presence.OTHER

    @needs_proc
    def test_an_orphan_of_an_earlier_run_is_ended_first(self, stage: Stage) -> None:
        orphan = stage.started_by_another(**{MARK: stage.token})
        owner = stage.own()
        owner.ensure_running(GUARD_S)
        assert orphan.wait(GUARD_S) == -signal.SIGTERM
        assert owner.runs
        assert stage.facts()["pid"] != orphan.pid

    @needs_proc
    def test_a_comfyui_with_the_mark_of_another_dreamloop_is_none_of_ours(self, stage: Stage) -> None:
        program = stage.started_by_another(**{MARK: f"{stage.token}-other"})
        owner = stage.own()
        owner.ensure_running()
        assert not owner.runs
        assert program.poll() is None


class TestTheEndOfUs:
    CODE = """
import sys, time
from pathlib import Path
from backend.core.owned_comfyui import OwnedComfyUI
url, folder, token, *command = sys.argv[1:]
owner = OwnedComfyUI(command, url, Path(folder), token=token)
owner.ensure_running(30)
print(owner.pid, flush=True)
time.sleep(600)
"""

    def run(self, stage: Stage, *habits: str) -> tuple[subprocess.Popen[bytes], int]:
        """A program that owns a ComfyUI, and the id of the launcher."""
        arguments = [stage.url, str(stage.folder), stage.token, *stage.command(*habits)]
        owner = subprocess.Popen(
            [sys.executable, "-c", self.CODE, *arguments], stdout=subprocess.PIPE, cwd=ROOT
        )
        stage.others.append(owner)
        assert owner.stdout is not None
        with owner.stdout:
            return owner, int(owner.stdout.readline())

    @pytest.mark.parametrize("habits", [(), ("family",), ("stubborn", "family")], ids=" ".join)
    def test_f24_when_we_are_killed_it_dies_and_the_port_is_free(
        self, stage: Stage, habits: tuple[str, ...]
    ) -> None:
        owner, launcher = self.run(stage, *habits)
        facts = stage.facts()
        began_s = time.monotonic()
        owner.kill()
        for pid in (launcher, facts["pid"], *facts["child"]):
            until(lambda pid=pid: not alive(pid))
        assert who_is_at(stage.url) is Presence.NOBODY
        print(f"port free after {time.monotonic() - began_s:.1f} s")  # noqa: T201 - a measurement

    @needs_proc
    def test_f24_when_the_launcher_is_killed_the_kernel_ends_the_program(self, stage: Stage) -> None:
        owner = stage.own()
        owner.ensure_running(GUARD_S)
        program = stage.facts()["pid"]
        assert owner.pid is not None
        os.kill(owner.pid, signal.SIGKILL)
        until(lambda: not alive(program))

    @needs_proc
    def test_f24_what_survives_us_all_the_same_is_ended_by_the_next_run(self, stage: Stage) -> None:
        owner, launcher = self.run(stage)
        orphan = stage.facts()["pid"]
        os.kill(launcher, signal.SIGSTOP)  # so that it cannot do its duty
        owner.kill()
        until(lambda: not alive(owner.pid))
        assert alive(orphan)
        stage.own().ensure_running(GUARD_S)
        assert not alive(orphan)
        assert not alive(launcher)
        assert stage.facts()["pid"] != orphan
