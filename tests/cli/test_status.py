from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from backend.cli import status as command
from backend.cli.live_line import LiveLine, describe
from backend.cli.status import Found, Freshness, find_status, watch
from backend.cli.status_text import duration, lines_of
from backend.utils.control import ControlServer
from backend.utils.status_schema import (
    CollapseStatus,
    DisplayStatus,
    DreamStatus,
    EngineStatus,
    FrameStatus,
    MemoryStatus,
    PromptsStatus,
    Reason,
    ReasonCode,
    State,
    Status,
    StatusBody,
    StorageStatus,
    status_json_schema,
)
from backend.utils.status_writer import compose

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
DEAD_PID = 2**31 - 2


def a_status(state: State = State.DREAMING, pid: int = 0, at: datetime = NOW, **parts: Any) -> Status:
    body = StatusBody(
        state=state,
        **{
            "frame": FrameStatus(
                sequence=9,
                file="frames/000000009.png",
                sha256="a" * 64,
                bytes=1,
                width=768,
                height=432,
                format="png",
                kind="in_between",
                theme="tides",
                shown_at="2026-01-02T12:00:00.000Z",
                duration_s=0.1,
            ),
            "engine": EngineStatus(
                kind="embedded", version="0.1", url="http://127.0.0.1:5", reachable=True, socket="open"
            ),
            "dream": DreamStatus(theme="tides", prompt="slow\x1b[31m waves", keyframes=3),
            "display": DisplayStatus(fps=10, shown_fps=9.96, buffer_seconds=11.2, buffer_target_seconds=12),
            "storage": StorageStatus(frames=600, frame_bytes=240_000_000, budget_bytes=2_000_000_000),
            "prompts": PromptsStatus(themes=("tides", "moss")),
            **parts,
        },
    )
    return compose(body, boot_id="b" * 32, pid=pid or os.getpid(), sequence=1, updated_at=at, uptime_s=90.0)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="dl"))
    monkeypatch.setenv("DREAMLOOP_STORAGE__STATUS", str(path))
    yield path
    shutil.rmtree(path)


def write(folder: Path, status: Status) -> None:
    (folder / "status.json").write_text(status.model_dump_json())


def arguments(**options: bool) -> argparse.Namespace:
    return argparse.Namespace(
        config=None,
        **{"json": False, "watch": False, "schema": False, "check": False, "metrics": False, **options},
    )


@pytest.mark.parametrize(
    ("status", "freshness", "words"),
    [
        (a_status(at=NOW - timedelta(seconds=2)), Freshness.LIVE, "is dreaming"),
        (a_status(at=NOW - timedelta(seconds=60)), Freshness.STALLED, "its status is 60 s old"),
        (a_status(at=NOW + timedelta(days=1)), Freshness.STALLED, "stalls"),
        (a_status(pid=DEAD_PID), Freshness.DIED, "is gone"),
        (
            a_status(State.STOPPING, pid=DEAD_PID, at=NOW - timedelta(hours=3)),
            Freshness.STOPPED,
            "stopped 3.0 h ago",
        ),
    ],
)
def test_a_status_that_is_no_news_says_so(
    folder: Path, status: Status, freshness: Freshness, words: str
) -> None:
    write(folder, status)
    found = find_status(folder, NOW)
    assert isinstance(found, Found)
    assert found.freshness is freshness
    assert words in found.headline


def test_the_running_daemon_is_asked_before_its_file(folder: Path) -> None:
    write(folder, a_status(State.PAUSED, pid=DEAD_PID))
    said = a_status(State.DREAMING).model_dump(mode="json")
    server = ControlServer(folder / "control.sock", lambda request: {"ok": True, "status": said})
    server.start()
    found = find_status(folder, NOW)
    server.stop()
    assert isinstance(found, Found)
    assert (found.freshness, found.status.state) == (Freshness.LIVE, State.DREAMING)


def test_json_is_the_whole_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, a_status(State.STOPPING, pid=DEAD_PID))
    assert command.run(arguments(json=True)) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads((folder / "status.json").read_text())
    assert "was stopped" in printed.err
    jsonschema.validate(json.loads(printed.out), status_json_schema())


def test_a_daemon_that_died_is_exit_69(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, a_status(pid=DEAD_PID))
    assert command.run(arguments()) == 69
    assert "not running" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "has not run yet"),
        ("{", "not a status"),
        ('{"schema_version": 1}', "not a status"),
        ("[]", "not a status"),
    ],
)
def test_a_missing_or_foreign_file_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], content: str | None, words: str
) -> None:
    if content is not None:
        (folder / "status.json").write_text(content)
    assert command.run(arguments()) == 69
    error = capsys.readouterr().err
    assert words in error
    assert str(folder / "status.json") in error


def test_settings_that_cannot_be_used_are_exit_78(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DREAMLOOP_STORAGE__BUDGET", "7")
    assert command.run(arguments()) == 78
    assert "a size from 10 MB" in capsys.readouterr().err


def test_the_schema_can_be_had_without_a_daemon(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(arguments(schema=True)) == 0
    assert json.loads(capsys.readouterr().out) == status_json_schema()


def test_a_person_reads_plain_lines() -> None:
    text = "\n".join(lines_of(a_status()))
    for words in (
        "number 9, in-between, 768x432 png",
        "10.0 of 10 frames/s",
        "11.2 of 12 s buffered",
        "embedded 0.1 http://127.0.0.1:5 answers",
        "600 frames kept, 240 MB of 2 GB",
        "tides, moss",
        "up 90 s",
    ):
        assert words in text
    assert "\x1b" not in text


def test_a_status_before_the_first_frame_can_be_read() -> None:
    text = "\n".join(
        lines_of(a_status(State.STARTING, frame=None, engine=EngineStatus(), prompts=PromptsStatus()))
    )
    assert "none yet" in text
    assert "not chosen yet" in text


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        (MemoryStatus(enabled=False), "switched off (memory.enabled: false)"),
        (MemoryStatus(problem="the disk is gone"), "none: the disk is gone"),
        (
            MemoryStatus(ready=True, entries=12, bytes=34_000_000, matcher="perceptual"),
            "12 pictures, 34 MB, judged by perceptual",
        ),
        (
            MemoryStatus(
                entries=1,
                matcher="clip",
                injections=2,
                collapse=CollapseStatus(collapsed=True, kind="still", level=0.9),
            ),
            "1 pictures, 0 B, still loading, judged by clip, in circles (still, 0.90), 2 folded in",
        ),
    ],
)
def test_the_memory_is_told_in_one_line(memory: MemoryStatus, said: str) -> None:
    assert f"memory   {said}" in lines_of(a_status(memory=memory))


def test_durations_are_told_as_people_do() -> None:
    assert [duration(s) for s in (0, 119, 120, 7200, 200_000)] == [
        "0 s",
        "119 s",
        "2 min",
        "2.0 h",
        "2.3 days",
    ]


def test_who_decodes_is_told_where_it_is_not_as_usual_or_not_as_wished() -> None:
    assert not any(line.startswith("decoder") for line in lines_of(a_status()))
    other = a_status(dream=DreamStatus(decoder="taesd.safetensors"))
    assert "decoder  in-betweens by taesd.safetensors" in lines_of(other)
    unfit = a_status(dream=DreamStatus(decoder_problem="taesd is not used: grey"))
    assert "decoder  in-betweens by engine; taesd is not used: grey" in lines_of(unfit)


def test_watch_prints_a_line_a_second_until_ctrl_c(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, a_status(at=datetime.now(UTC)))
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        (folder / "status.json").unlink(missing_ok=True)
        if len(naps) == 2:
            raise KeyboardInterrupt

    assert watch(folder, sleep) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "dreaming · 10.0 fps · buffer 11.2/12 s · tides · embedded engine"
    assert "has not run yet" in second


def test_the_line_says_trouble_and_stretched_time() -> None:
    reason = Reason(code=ReasonCode.ENGINE_UNREACHABLE, sentence="no answer\nfrom there")
    line = describe(a_status(State.REMEMBERING, reason=reason, display=DisplayStatus(pace=0.5)))
    assert line.startswith("remembering · 0.0 fps · time stretched 2.0x")
    assert line.endswith("no answer from there")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_live_line_is_rewritten_calmly_and_wiped_at_the_end() -> None:
    terminal, now = Terminal(), [0.0]
    line = LiveLine(terminal, clock=lambda: now[0])
    for _ in range(10):
        line.show(a_status())
        now[0] += 0.1
    assert terminal.getvalue().count("\r") == 3
    assert "\n" not in terminal.getvalue()
    line.say("x" * 500)
    assert terminal.getvalue().endswith("x" * 78 + "…\x1b[K")
    line.close()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_where_there_is_no_terminal_the_live_line_is_silent() -> None:
    stream = io.StringIO()
    line = LiveLine(stream)
    line.show(a_status())
    line.close()
    assert stream.getvalue() == ""


def test_a_terminal_that_goes_away_ends_the_line_not_the_dream() -> None:
    class Gone(Terminal):
        def flush(self) -> None:
            raise OSError("gone")

    line = LiveLine(Gone())
    line.show(a_status())
    assert not line.on_terminal


@pytest.mark.parametrize(
    ("hangs", "status", "said"),
    [(None, 0, "is dreaming"), ("the display stands still", 69, "but the display stands still")],
)
def test_a_health_check_asks_whether_the_dream_lives_not_whether_a_process_exists(
    folder: Path, capsys: pytest.CaptureFixture[str], hangs: str | None, status: int, said: str
) -> None:
    told = a_status(hangs=hangs).model_dump(mode="json")
    server = ControlServer(folder / "control.sock", lambda _: {"ok": True, "status": told})
    server.start()
    try:
        assert command.run(arguments(check=True)) == status
    finally:
        server.stop()
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("state", [State.STOPPING, State.DREAMING])
def test_a_health_check_fails_where_none_runs(folder: Path, state: State) -> None:
    assert command.run(arguments(check=True)) == 69
    write(folder, a_status(state, pid=DEAD_PID))
    assert command.run(arguments(check=True)) == 69


def test_whoever_reads_but_the_beginning_leaves_no_traceback() -> None:
    main = Path(__file__).resolve().parents[2] / "main.py"
    process = subprocess.Popen(
        [sys.executable, str(main), "status", "--schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # before it has said anything
    with process:
        assert process.stderr.read() == b""
    assert process.returncode == 0
