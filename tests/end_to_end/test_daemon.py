from __future__ import annotations

import json
import multiprocessing
import signal
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest

from backend.utils.status_schema import status_json_schema
from tests.end_to_end.daemon import Daemon, command, daemon, is_whole, write_config
from tests.fakes.fake_comfy import FakeComfy, free_port

pytestmark = pytest.mark.timeout(240)


def dreams(status: dict[str, Any]) -> bool:
    return bool(status["dream"]["in_betweens"] >= 20 and status["frame"]["kind"] == "in_between")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a dream on the embedded engine."""
    write_config(tmp_path)
    return tmp_path


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """Of a dream on a ComfyUI that is there already, for tests to which it does not matter what paints."""
    with FakeComfy(tmp_path / "comfy") as fake:
        write_config(tmp_path, comfyui={"url": fake.url})
        yield tmp_path


def assert_nothing_left(running: Daemon) -> None:
    assert not any(psutil.pid_exists(pid) for pid in running.seen_children)
    assert list(running.folder.rglob("*.tmp")) == []
    assert not (running.folder / "status" / "control.sock").exists()


def test_it_dreams_on_the_embedded_engine_and_says_so_and_sigterm_leaves_nothing_behind(folder: Path) -> None:
    with daemon(folder, forked=False) as running:
        first = running.wait_for(lambda status: True)
        assert is_whole(running.current())
        assert first["state"] in {"starting", "buffering", "remembering"}
        status = running.wait_for(dreams)
        jsonschema.validate(status, status_json_schema())
        assert status["engine"]["kind"] == "embedded"
        assert "embedded engine" in status["note"]
        assert is_whole(running.frame_of(status))
        later = running.wait_for(lambda now: now["frame"]["sequence"] >= status["frame"]["sequence"] + 40)
        assert running.frame_of(later) != running.frame_of(status)
        assert running.end(signal.SIGTERM) == 0
        assert running.seen_children
        assert_nothing_left(running)
    assert running.status()["state"] == "stopping"
    assert is_whole(running.current())


def test_ctrl_c_stops_it_as_cleanly(quick: Path) -> None:
    with daemon(quick) as running:
        running.wait_for(dreams)
        assert running.end(signal.SIGINT) == 0
        assert_nothing_left(running)


def test_run_frames_and_status_agree_with_each_other(quick: Path) -> None:
    ran = command(quick, "run", "--frames", "60")
    assert ran.returncode == 0, ran.stderr
    asked = command(quick, "status", "--json")
    assert asked.returncode == 0, asked.stderr
    status = json.loads(asked.stdout)
    assert status["display"]["frames_shown"] == 60
    assert status["frame"]["sequence"] == status["frame_number"] == 60
    assert "stopped after 60 shown frames; the newest is number 60" in ran.stderr
    kept = sorted(path.name for path in (quick / "output" / "frames").iterdir())
    assert kept[-1] == "000000060.png"
    assert len(kept) == status["storage"]["frames"] <= 60


def test_a_second_start_goes_on_from_the_picture_and_number_of_the_first(quick: Path) -> None:
    assert command(quick, "run", "--frames", "30").returncode == 0
    left = (quick / "output" / "current_frame.png").read_bytes()
    with daemon(quick) as running:
        status = running.wait_for(lambda status: True)
        assert status["frame"]["sequence"] >= 30
        if status["frame"]["sequence"] == 30:
            assert running.frame_of(status) == left
        running.wait_for(lambda now: dreams(now) and now["frame"]["sequence"] > 30)
        assert running.end() == 0


def test_a_second_instance_on_the_same_output_exits_75_and_names_the_first(quick: Path) -> None:
    with daemon(quick) as running:
        running.wait_for(lambda status: True)
        second = command(quick, "run", "--frames", "1")
        assert second.returncode == 75
        assert str(running.process.pid) in second.stderr
        assert running.process.poll() is None
        running.end()


def test_a_killed_daemon_leaves_no_orphan(folder: Path) -> None:
    with daemon(folder) as running:
        running.wait_for(dreams)
        children = set(running.seen_children)
        running.end(signal.SIGKILL)
        until = time.monotonic() + 20
        while any(psutil.pid_exists(pid) for pid in children) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(psutil.pid_exists(pid) for pid in children)
        assert is_whole(running.current())


def test_pause_resume_next_and_stop_are_answered(quick: Path) -> None:
    with daemon(quick) as running:
        theme = running.wait_for(dreams)["dream"]["theme"]
        assert command(quick, "pause").returncode == 0
        paused = running.wait_for(lambda status: status["state"] == "paused")
        assert paused["reason"]["code"] == "user"
        held = running.current()
        assert command(quick, "resume").returncode == 0
        running.wait_for(lambda status: status["frame"]["sequence"] > paused["frame"]["sequence"])
        assert held != running.current()
        assert command(quick, "next").returncode == 0
        running.wait_for(lambda status: status["dream"]["theme"] != theme)
        assert command(quick, "stop").returncode == 0
        assert running.process.wait(30) == 0
    assert command(quick, "pause").returncode == 69


def test_an_engine_that_goes_away_and_comes_back_is_lived_through(tmp_path: Path) -> None:
    with FakeComfy(tmp_path / "comfy") as fake:
        write_config(tmp_path, comfyui={"url": fake.url})
        with daemon(tmp_path) as running:
            before = running.wait_for(dreams)
            assert before["engine"]["kind"] == "comfyui"
            fake.kill()
            away = running.wait_for(lambda status: status["state"] == "remembering")
            assert away["reason"]["code"] == "engine_unreachable"
            running.wait_for(
                lambda now: (
                    now["frame"]["kind"] == "replay"
                    and now["frame"]["sequence"] > away["frame"]["sequence"] + 20
                )
            )
            fake.restart()
            back = running.wait_for(
                lambda now: (
                    now["dream"]["keyframes"] > away["dream"]["keyframes"] + 2
                    and now["state"] in {"dreaming", "resting"}
                )
            )
            assert back["dream"]["denoise"] == 0.45
            assert running.end() == 0


def test_a_given_address_where_nobody_is_is_never_replaced(tmp_path: Path) -> None:
    write_config(tmp_path, comfyui={"url": f"http://127.0.0.1:{free_port()}"})
    with daemon(tmp_path) as running:
        status = running.wait_for(lambda status: status["state"] == "remembering")
        assert status["engine"]["kind"] == "comfyui"
        assert status["reason"]["code"] == "engine_unreachable"
        assert status["status"] == "error"
        assert status["frame"]["kind"] == "title"
        assert is_whole(running.current())
        assert running.end() == 0


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"dream": {"size": "100x101"}}, ["dream.size", "100x101", "divisible by 8"]),
        ({"dream": {"denoise": "a lot"}}, ["dream.denoise", "a lot"]),
        ({"dream": {"denoize": 0.5}}, ["denoize", "dream.denoise"]),
        ({"prompts": {"folder": "nowhere"}}, ["nowhere"]),
        ({"comfyui": {"family": "Fluks dev"}}, ["comfyui.family", "did you mean 'Flux dev'"]),
        ({"dream": {"workflow": "exampel"}}, ["workflow", "did you mean 'example'"]),
        ({"dream": {"adapters": [{"speed_up": "Magic"}]}}, ["dream.adapters, item 1", "one of EasyCache"]),
    ],
)
def test_settings_that_cannot_be_used_end_it_with_78_and_a_wish(
    tmp_path: Path, sections: dict[str, Any], said: list[str]
) -> None:
    write_config(tmp_path, **sections)
    ran = command(tmp_path, "run", "--frames", "1")
    assert ran.returncode == 78
    for word in said:
        assert word in ran.stderr
    assert "Traceback" not in ran.stderr


def _read_flat_out(folder: Path, reads: int, stop: Event, results: Any) -> None:
    """A display that never rests: counts what is torn."""
    running = Daemon(folder, None, folder / "log")  # type: ignore[arg-type]
    torn, done, sequence = [], 0, 0
    while done < reads and not stop.is_set():
        try:
            status = running.status()
            assert status["frame"]["sequence"] >= sequence
            sequence = status["frame"]["sequence"]
            assert is_whole(running.frame_of(status))
            assert is_whole(running.current())
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must hear of it
            torn.append(repr(error))
        done += 1
    results.put((done, torn[:5], len(torn)))


def _readers(folder: Path, count: int, reads: int) -> None:
    context = multiprocessing.get_context("spawn")
    stop, results = context.Event(), context.Queue()
    with daemon(folder) as running:
        running.wait_for(dreams)
        readers = [
            context.Process(target=_read_flat_out, args=(folder, reads // count, stop, results))
            for _ in range(count)
        ]
        for reader in readers:
            reader.start()
        told = [results.get(timeout=200) for _ in readers]
        for reader in readers:
            reader.join(30)
        assert running.end() == 0
    assert sum(done for done, _, _ in told) == reads
    assert [(first, count) for _, first, count in told if count] == []


def test_readers_see_no_torn_frame_or_status(quick: Path) -> None:
    _readers(quick, 2, reads=200)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_four_readers_see_no_torn_frame_or_status_in_ten_thousand_reads(quick: Path) -> None:
    _readers(quick, 4, reads=10_000)
