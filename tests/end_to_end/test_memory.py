"""The memory of a whole daemon, seen from outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.daemon import command, daemon, write_config
from tests.fakes.fake_comfy import FakeComfy


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeComfy]:
    with FakeComfy(tmp_path / "fake") as fake:
        write_config(tmp_path, comfyui={"url": fake.url}, memory={"matcher": "perceptual"})
        yield fake


def test_what_was_dreamt_is_remembered_and_shown_while_the_engine_is_away(
    tmp_path: Path, server: FakeComfy
) -> None:
    with daemon(tmp_path) as running:
        status = running.wait_for(lambda status: status["memory"]["entries"] >= 4)
        assert status["memory"]["matcher"] == "perceptual"
        assert status["cache_size"] == status["memory"]["entries"]
        listed = command(tmp_path, "memory", "--json", "ls", "--limit", "3")
        assert listed.returncode == 0, listed.stderr
        first = json.loads(listed.stdout)["memories"][0]["id"]
        assert command(tmp_path, "memory", "pin", first[:10]).returncode == 0
        server.kill()
        away = running.wait_for(lambda status: status["state"] == "remembering")
        later = running.wait_for(
            lambda status: (
                status["frame"]["kind"] == "replay"
                and status["frame"]["sequence"] > away["frame"]["sequence"] + 30
            )
        )
        assert later["state"] == "remembering"
        server.restart()
        keyframes = later["dream"]["keyframes"]
        running.wait_for(lambda status: status["dream"]["keyframes"] > keyframes)
        assert running.end() == 0
    asked = command(tmp_path, "memory", "--json", "show", first[:10])
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["memory"]["pinned"] is True
    assert command(tmp_path, "memory", "check").returncode == 0
    with daemon(tmp_path) as again:
        status = again.wait_for(lambda status: status["memory"]["ready"])
        assert status["memory"]["entries"] >= 4
        assert again.end() == 0


def test_a_dream_without_a_memory_says_so_and_touches_none(tmp_path: Path, server: FakeComfy) -> None:
    write_config(tmp_path, comfyui={"url": server.url}, memory={"enabled": False})
    with daemon(tmp_path) as running:
        status = running.wait_for(lambda status: status["dream"]["keyframes"] >= 2)
        assert status["memory"]["enabled"] is False
        assert status["memory"]["problem"] is None
        assert "switched off (memory.enabled: false)" in command(tmp_path, "status").stdout
        refused = command(tmp_path, "memory", "ls")
        assert refused.returncode == 1
        assert "no memory: the memory is switched off (memory.enabled: false)" in refused.stderr
        assert running.end() == 0
    assert not (tmp_path / "output" / "memory").exists()


def test_a_memory_that_cannot_be_opened_is_told_and_the_dream_goes_on(
    tmp_path: Path, server: FakeComfy
) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "memory").write_text("a file where a folder should be")
    with daemon(tmp_path) as running:
        status = running.wait_for(lambda status: status["dream"]["keyframes"] >= 2)
        assert "memory" in status["memory"]["problem"]
        assert status["memory"]["entries"] == 0
        refused = command(tmp_path, "memory", "ls")
        assert refused.returncode == 1
        assert "no memory" in refused.stderr
        assert running.end() == 0


def test_a_dream_that_goes_round_in_circles_is_turned_by_a_fresh_picture(tmp_path: Path) -> None:
    write_config(
        tmp_path,
        dream={"denoise": 0.05, "size": "128x72", "seconds_per_keyframe": 0.5},
        display={"fps": 2, "buffer_seconds": 60},
        memory={"matcher": "perceptual", "cooldown_seconds": 0},
    )
    with daemon(tmp_path) as running:
        status = running.wait_for(lambda status: status["memory"]["events"])
        told, event = status["memory"], status["memory"]["events"][0]
        assert event["source"] == "fresh"
        assert "for want of a memory that would do, a fresh picture" in event["reason"]
        assert told["fresh"] >= 1  # the next one may be on its way before this one is seen
        assert told["fresh_failed"] == 0
        assert told["fresh_s"] > 0.0
        assert told["collapse"]["level"] > 0.35
        later = running.wait_for(
            lambda status: status["dream"]["keyframes"] >= event["keyframe"] + 2 + event["keyframes"]
        )
        assert later["reason"]["code"] == "ok"
        assert later["dream"]["failed_jobs"] == later["dream"]["rejected"] == 0
        assert running.end() == 0
    assert event["reason"] in running.log.read_text()
