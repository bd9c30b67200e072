"""EngineProcess with the real server and a quick painter, and with programs that misbehave."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import requests

from backend.engine.process import EngineProcess, announced_port, answers_at, engine_command
from backend.errors import EngineUnreachable
from tests.fakes.fake_comfy import FakeComfy

ROOT = Path(__file__).resolve().parents[2]
GUARD_S = 30.0

ANNOUNCE = "import json,sys,os; print(json.dumps({'port': 9, 'pid': os.getpid()}), flush=True); "


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def until(condition: Callable[[], bool]) -> None:
    """Polls with a guard; there is nothing to wait on in another process."""
    deadline_s = time.monotonic() + GUARD_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineProcess]:
    monkeypatch.chdir(ROOT)
    command = [sys.executable, "-m", "tests.fakes.engine_program", str(tmp_path)]
    process = EngineProcess(tmp_path, command=command, clock=clock, answers=partial(answers_at, within_s=0.3))
    yield process
    process.stop()


def running(engine: EngineProcess) -> int:
    """Starts it; its process id."""
    engine.ensure_running(GUARD_S)
    assert engine.pid is not None
    return engine.pid


def found(engine: EngineProcess) -> bool:
    try:
        return engine.ensure_running() == engine.url
    except EngineUnreachable:
        return False


def test_the_engine_is_started_announces_its_port_and_answers(engine: EngineProcess) -> None:
    url = engine.ensure_running(GUARD_S)
    stats = requests.get(f"{url}/system_stats", timeout=GUARD_S).json()
    assert stats["dreamloop"]["embedded"] is True
    assert engine.ensure_running() == url == engine.url


def test_our_settings_are_not_told_to_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dreamloop.engine")
    monkeypatch.setenv("DREAMLOOP_COMFYUI__HEADERS", "s3cr3t")
    tell = "import os; print('told:', sorted(n for n in os.environ if 'DREAMLOOP' in n or n == 'PATH')); "
    process = EngineProcess(tmp_path, command=python(tell + ANNOUNCE + "sys.stdin.read()"))
    process.ensure_running(GUARD_S)
    process.stop()
    assert "told: ['PATH']" in caplog.messages


def test_stop_ends_the_child_and_nothing_starts_it_again(engine: EngineProcess) -> None:
    engine.ensure_running(GUARD_S)
    pid = engine.pid
    assert pid is not None
    engine.stop(GUARD_S)
    assert not alive(pid)
    assert engine._child is not None
    assert engine._child.process is not None
    assert engine._child.process.returncode == 0
    assert engine.url is None
    with pytest.raises(EngineUnreachable):
        engine.ensure_running()


def test_an_engine_that_is_stopped_while_it_starts_does_not_survive(tmp_path: Path) -> None:
    process = EngineProcess(tmp_path, command=python(ANNOUNCE + "sys.stdin.read()"))
    with contextlib.suppress(EngineUnreachable):
        process.ensure_running()
    process.stop(GUARD_S)
    until(lambda: process._child is not None and process._child.gone.is_set())
    assert process.pid is None


def test_a_killed_engine_is_started_again_on_demand_after_a_pause(tmp_path: Path) -> None:
    clock = Clock()
    process = EngineProcess(tmp_path, command=python(ANNOUNCE + "sys.stdin.read()"), clock=clock)
    process.ensure_running(GUARD_S)
    first = process.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: process.url is None)
    with pytest.raises(EngineUnreachable, match=r"again in 0\.5 s"):
        process.ensure_running()
    clock.now_s += 0.5
    process.ensure_running(GUARD_S)
    assert process.pid not in (None, first)
    assert (process.crashes, process.last_crash) == (1, "status -9")
    process.stop()


def test_the_pause_doubles_up_to_half_a_minute_and_is_forgotten_after_a_good_run(tmp_path: Path) -> None:
    clock = Clock()
    process = EngineProcess(tmp_path, command=python(ANNOUNCE), clock=clock)
    pauses_s = []
    for _ in range(8):
        with contextlib.suppress(EngineUnreachable):
            process.ensure_running(GUARD_S)
        until(lambda: process._child is not None and process._child.gone.is_set())
        with pytest.raises(EngineUnreachable):
            process.ensure_running()
        pauses_s.append(process._not_before_s - clock.now_s)
        clock.now_s = process._not_before_s
    assert pauses_s == [0.5, 1, 2, 4, 8, 16, 30, 30]
    with contextlib.suppress(EngineUnreachable):
        process.ensure_running(GUARD_S)
    until(lambda: process._child is not None and process._child.gone.is_set())
    clock.now_s += 61.0
    with contextlib.suppress(EngineUnreachable):
        process.ensure_running(GUARD_S)
    assert process._not_before_s == clock.now_s
    process.stop()


def test_an_end_that_was_asked_for_is_no_crash(engine: EngineProcess) -> None:
    first = running(engine)
    assert engine.restart()
    until(lambda: not alive(first))
    until(lambda: not engine.runs)
    assert running(engine) != first
    assert engine.crashes == 0


def test_a_child_that_talks_a_lot_never_blocks_on_its_pipe(tmp_path: Path) -> None:
    code = (
        "import sys; [print('x' * 1000) for _ in range(1000)]; sys.stderr.write('y' * 500000 + chr(10)); "
        + ANNOUNCE
    )
    process = EngineProcess(tmp_path, command=python(code + "sys.stdin.read()"))
    assert process.ensure_running(GUARD_S) == "http://127.0.0.1:9"
    process.stop()


def test_a_child_that_ignores_every_wish_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + ANNOUNCE + "time.sleep(600)"
    )
    process = EngineProcess(tmp_path, command=python(code))
    process.ensure_running(GUARD_S)
    pid = process.pid
    assert pid is not None
    process.stop(2.0)
    assert not alive(pid)


def test_a_child_that_stands_still_is_killed(engine: EngineProcess) -> None:
    pid = running(engine)
    os.kill(pid, signal.SIGSTOP)
    engine.stop()
    assert not alive(pid)


def test_an_engine_that_hangs_is_killed_and_started_anew(engine: EngineProcess, clock: Clock) -> None:
    first = running(engine)
    os.kill(first, signal.SIGSTOP)
    began_s = clock.now_s
    for silent_s in (0, 7, 14):
        clock.now_s = began_s + silent_s
        with pytest.raises(EngineUnreachable, match=f"silent for {silent_s} s"):
            engine.ensure_running(GUARD_S)
        assert engine.pid == first
    clock.now_s = began_s + 15
    with pytest.raises(EngineUnreachable, match=r"again in 0\.5 s"):
        engine.ensure_running(GUARD_S)
    assert not alive(first)
    assert (engine.crashes, engine.last_crash) == (1, "it hung")
    clock.now_s += 0.5
    assert running(engine) != first


def test_an_engine_that_served_well_is_started_at_once_when_it_hangs(
    engine: EngineProcess, clock: Clock
) -> None:
    first = running(engine)
    clock.now_s += 3600
    os.kill(first, signal.SIGSTOP)
    for _ in range(2):
        with pytest.raises(EngineUnreachable, match="silent"):
            engine.ensure_running()
    clock.now_s += 15
    assert running(engine) != first


def test_an_engine_that_is_silent_for_a_while_is_left_alone(engine: EngineProcess, clock: Clock) -> None:
    pid = running(engine)
    for _ in range(2):
        os.kill(pid, signal.SIGSTOP)
        for _ in range(2):
            clock.now_s += 5
            with pytest.raises(EngineUnreachable, match="silent"):
                engine.ensure_running()
        os.kill(pid, signal.SIGCONT)
        until(lambda: found(engine))
    assert engine.pid == pid


def test_few_unanswered_questions_are_no_proof_however_long_ago_the_first_was(
    engine: EngineProcess, clock: Clock
) -> None:
    pid = running(engine)
    os.kill(pid, signal.SIGSTOP)
    for _ in range(2):
        clock.now_s += 100
        with pytest.raises(EngineUnreachable, match="silent"):
            engine.ensure_running()
    assert engine.pid == pid


def test_an_engine_that_never_announces_itself_is_killed_and_started_anew(tmp_path: Path) -> None:
    clock = Clock()
    process = EngineProcess(tmp_path, command=python("import sys; sys.stdin.read()"), clock=clock)
    for _ in range(2):
        with pytest.raises(EngineUnreachable, match="starting"):
            process.ensure_running()
        until(lambda: process.pid is not None)
        clock.now_s += 60
    first = process.pid
    with pytest.raises(EngineUnreachable, match=r"again in 0\.5 s"):
        process.ensure_running()
    assert first is not None
    assert not alive(first)
    assert process.crashes == 0  # it never served: a person is needed, not another start of everything
    process.stop()


def test_an_engine_answers_while_it_paints(fake_comfy: FakeComfy) -> None:
    fake_comfy.painter.hold()
    fake_comfy.foreign_job()
    until(lambda: fake_comfy.server.core.queue.running is not None)
    assert answers_at(fake_comfy.port, within_s=GUARD_S)


def test_a_program_that_cannot_be_started_is_unreachable(tmp_path: Path) -> None:
    process = EngineProcess(tmp_path, command=[str(tmp_path / "nothing")])
    with pytest.raises(EngineUnreachable):
        process.ensure_running(GUARD_S)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_the_engine_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys,time; from pathlib import Path; from backend.engine.process import EngineProcess; "
        f"p = EngineProcess(Path({str(tmp_path)!r}), "
        f"command=[sys.executable, '-m', 'tests.fakes.engine_program', {str(tmp_path)!r}]); "
        "p.ensure_running(30); print(p.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
        until(lambda: not alive(child))


def test_only_a_line_of_json_with_a_port_is_an_announcement() -> None:
    assert announced_port('{"port": 8188, "pid": 1}') == 8188
    for line in ("", "hello", "{", "[8188]", '{"pid": 1}', '{"port": "8188"}', '{"port": 0}'):
        assert announced_port(line) is None


def test_the_command_is_the_engine_of_this_program(tmp_path: Path) -> None:
    command = engine_command(tmp_path)
    assert command[0] == sys.executable
    assert command[2:] == ["engine", "--port", "0", "--folder", str(tmp_path), "--parent-watch"]
