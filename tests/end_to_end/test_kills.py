"""kill -9 at any instant of a running dream: what it goes on from, and what displays see meanwhile."""

from __future__ import annotations

import json
import logging
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.daemon import write_config
from tests.end_to_end.quick_starts import Display, ForkServer, QuickStarts, watched
from tests.fakes.fake_comfy import FakeComfy

log = logging.getLogger(__name__)

SMALL: dict[str, dict[str, Any]] = {
    "dream": {"size": "128x64", "seconds_per_keyframe": 0.5, "steps": 2},
    "display": {"fps": 20, "buffer_seconds": 2, "keep_seconds": 5},
    "shim": {"serve": "never"},
}


def config(folder: Path, fake: FakeComfy | None) -> None:
    comfyui = {"connect_timeout_seconds": 1, "url": fake.url if fake else None}
    write_config(folder, **SMALL, comfyui={key: value for key, value in comfyui.items() if value is not None})


def acknowledged(folder: Path) -> int:
    """The keyframe that a restart goes on from; 0 while there is none."""
    try:
        point = json.loads((folder / "output" / ".resume" / "point.json").read_bytes())
    except FileNotFoundError:
        return 0
    return int(point["tail"][-1]["number"])


def kill_again_and_again(starts: QuickStarts, times: int, longest_s: float, seed: int) -> None:
    """Each restart must go on from the last acknowledged keyframe, and nothing that displays read be torn.

    Some kills come while it starts, the others at any moment after a new keyframe has come.
    """
    rng, came = random.Random(seed), [0]
    with watched(starts.folder) as display:
        for _ in range(times):
            starts.start()
            if rng.random() < 0.7:
                starts.wait_for(lambda status: status["dream"]["number"] > came[-1])
            time.sleep(rng.uniform(0.0, longest_s))
            assert starts.end(signal.SIGKILL) == -signal.SIGKILL, starts.said()
            came.append(acknowledged(starts.folder))
        starts.start()
        last = came[-1]
        status = starts.wait_for(lambda status: status["dream"]["number"] >= last + 3)
        assert status["dream"]["parent"] == status["dream"]["number"] - 1
        shown = status["frame"]["sequence"]
        starts.wait_for(lambda status: status["frame"]["sequence"] >= shown + 60)
        assert starts.end(signal.SIGTERM) == 0
    log.info("killed %d times; keyframes %s; %d looks", times, came, display.looks)
    assert came == sorted(came)
    assert came[-1] >= times // 2
    assert_unbroken(display)


def assert_unbroken(display: Display) -> None:
    """Each keyframe that was shown was dreamt from the one before it, over all restarts."""
    first, *others = sorted(display.chain)
    assert len(others) >= 3
    assert {number: parents for number, parents in display.chain.items() if number != first} == {
        number: (number - 1,) for number in others
    }


@pytest.mark.timeout(240)
def test_killed_ten_times_at_random_it_goes_on_from_the_last_keyframe(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    with FakeComfy(tmp_path / "comfy", dialect="B") as fake, QuickStarts(tmp_path, fork_server) as starts:
        config(tmp_path, fake)
        kill_again_and_again(starts, times=10, longest_s=1.0, seed=1)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_killed_two_hundred_times_at_random_it_goes_on_from_the_last_keyframe(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    with FakeComfy(tmp_path / "comfy", dialect="B") as fake, QuickStarts(tmp_path, fork_server) as starts:
        config(tmp_path, fake)
        kill_again_and_again(starts, times=200, longest_s=2.0, seed=2)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_killed_together_with_its_embedded_engine_it_goes_on_from_the_last_keyframe(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    config(tmp_path, None)
    with QuickStarts(tmp_path, fork_server) as starts:
        kill_again_and_again(starts, times=30, longest_s=2.0, seed=3)


@pytest.mark.timeout(240)
def test_after_a_kill_the_frames_that_lay_ready_move_on_before_any_engine_answers(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    with FakeComfy(tmp_path / "comfy", dialect="B") as fake, QuickStarts(tmp_path, fork_server) as starts:
        config(tmp_path, fake)
        with watched(tmp_path):
            starts.start()
            starts.wait_for(
                lambda status: (
                    status["frame"]["kind"] == "in_between" and status["display"]["buffer_seconds"] > 1.0
                )
            )
            starts.end(signal.SIGKILL)
            fake.kill()
            before = starts.status()
            starts.start()
            status = starts.wait_for(lambda now: now["frame"]["sequence"] >= before["frame"]["sequence"] + 10)
            assert status["frame"]["kind"] in {"in_between", "keyframe"}
            assert not status["engine"]["reachable"]
            assert status["dream"]["number"] >= before["dream"]["number"]
            fake.restart()
            number = status["dream"]["number"]
            status = starts.wait_for(lambda now: now["dream"]["number"] > number)
            assert status["dream"]["parent"] == status["dream"]["number"] - 1
            assert starts.end(signal.SIGTERM) == 0
