"""Films of a whole dream, made beside it, as a person would."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.film.keyframe_files import KeyframeFile, list_keyframes
from backend.film.showings import as_shown
from tests.end_to_end.daemon import MAIN, Daemon, command, daemon, environment, write_config
from tests.fakes.fake_comfy import FakeComfy
from tests.film.pictures import decoded, difference

GUARD_S = 60.0


@pytest.fixture(scope="module")
def dreaming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A dream of a few keyframes, which goes on."""
    folder = tmp_path_factory.mktemp("dreaming")
    # Frames of equal times, so that it is known how many there are.
    shown = {"fps": 10, "buffer_seconds": 3, "keep_seconds": 60}
    with FakeComfy(folder / "comfy") as fake:
        write_config(folder, display=shown, interpolation={"pacing": "uniform"}, comfyui={"url": fake.url})
        yield from _dreaming(folder)


def _dreaming(folder: Path) -> Iterator[Daemon]:
    with daemon(folder) as running:
        running.wait_for(lambda status: status["storage"]["keyframes"] >= 3 and status["frame_number"] > 12)
        yield running
        assert running.end() == 0


def export(dream: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    return command(dream.folder, "export", *words)


def shown_keyframes(dream: Daemon) -> list[KeyframeFile]:
    folder = dream.output / "keyframes"
    return [one for one in as_shown(list_keyframes(folder), folder) if one.was_shown]


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


def test_a_film_of_what_was_shown_is_made_beside_the_dream(dreaming: Daemon, tmp_path: Path) -> None:
    done = export(dreaming, "--last", "1s", str(tmp_path / "film.mp4"))
    assert done.returncode == 0, done.stderr
    told = re.search(r"(\d+) frames, 1\.\d s, .* as they were shown", done.stdout)
    assert told is not None, done.stdout
    frames = decoded(tmp_path / "film.mp4")
    assert (len(frames), frames[0].size) == (int(told[1]), (256, 144))
    assert 28 <= len(frames) <= 45, "a second at 30 a second, begun with a whole frame of the dream"
    assert left_over(tmp_path) == left_over(dreaming.output) == []
    dreaming.wait_for(lambda status: status["state"] in ("dreaming", "resting"))


def test_how_keyframes_were_shown_is_noted_beside_them(dreaming: Daemon) -> None:
    dreaming.wait_for(lambda _: bool(shown_keyframes(dreaming)))
    assert [one.gap_s for one in shown_keyframes(dreaming)][:1] == pytest.approx([1.0], abs=0.3)


@pytest.mark.long
def test_a_loop_is_painted_once_more_beside_the_dream(dreaming: Daemon, tmp_path: Path) -> None:
    before = dreaming.wait_for(lambda _: len(shown_keyframes(dreaming)) >= 2)
    film = tmp_path / "film.webp"
    done = export(dreaming, "--render", "--last", "2s", "--loop", "--fps", "6", "--size", "128x64", str(film))
    assert done.returncode == 0, done.stderr
    assert "3 keyframes, painted once more" in done.stdout
    frames = decoded(film)
    assert frames[0].size == (128, 64)
    assert (
        18 <= len(frames) <= 48
    )  # two gaps of a second, and the way back, which takes the time that it needs
    steps = [difference(one, other) for one, other in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert min(steps) > 0.0
    assert steps[-1] < 2.0 * max(steps[:-1])
    assert left_over(dreaming.output) == []
    after = dreaming.wait_for(lambda status: status["frame_number"] > before["frame_number"] + 5)
    assert after["dream"]["failed_jobs"] == before["dream"]["failed_jobs"]
    assert after["boot_id"] == before["boot_id"]


@pytest.mark.long
def test_ctrl_c_leaves_nothing_half(dreaming: Daemon, tmp_path: Path) -> None:
    words = ["--config", str(dreaming.folder / "config.yaml"), "export", "--fps", "240", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, str(MAIN), *words, "--size", "512x288", str(tmp_path / "film.mp4")],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    until = time.monotonic() + GUARD_S
    while not left_over(tmp_path) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=GUARD_S)
    assert process.returncode == 130, said
    assert "stopped; there is no" in said
    assert list(tmp_path.iterdir()) == []
    assert left_over(dreaming.output) == []


@pytest.mark.long
def test_a_film_that_fills_the_disk_is_given_up_and_the_dream_does_not_notice(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=120m none {tmp_path} && exec {sys.executable} -m"
    program = ["unshare", "-rm", "sh", "-c", f"{mount} tests.end_to_end.full_disk_film {tmp_path}"]
    try:
        done = subprocess.run(
            program, cwd=MAIN.parent, capture_output=True, text=True, timeout=110, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no small disk can be mounted here: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
