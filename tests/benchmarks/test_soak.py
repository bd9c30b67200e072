"""The soak run itself, short, on FakeComfy; and how it counts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmarks import soak
from benchmarks.counting_proxy import CountingProxy
from benchmarks.soak_daemon import Boot, Daemon, Soak
from tests.fakes.fake_comfy import FakeComfy

LIFE = Boot(asked=7, keyframes=5, rejected=1, failed=0, in_betweens=200, frames_shown=90, killed=False)


def test_one_keyframe_may_be_under_way_when_a_life_ends_and_two_when_it_is_killed() -> None:
    assert LIFE.unaccounted == 0
    assert dataclasses.replace(LIFE, rejected=0).unaccounted == 1
    assert dataclasses.replace(LIFE, rejected=0, killed=True).unaccounted == 0
    assert dataclasses.replace(LIFE, asked=9, killed=True).unaccounted == 1


def holdings(**changes: object) -> soak.Holdings:
    before = soak.Holdings(frozenset(), frozenset("abc"), {"output": soak.Holding(10, 1000)})
    return dataclasses.replace(before, **changes)


@pytest.mark.parametrize(
    ("after", "stuck", "missed"),
    [
        (holdings(), 0, set()),
        (holdings(), 1, {"jobs stuck in the server's queue"}),
        (holdings(history=frozenset(map(str, range(30)))), 0, {"history entries left"}),
        (holdings(folders={"output": soak.Holding(10, 30_000_000)}), 0, {"output: growth, MB"}),
        (holdings(folders={"output": soak.Holding(99, 1000)}), 0, {"output: 99 files, growth"}),
        (holdings(folders={}), 0, set()),
    ],
    ids=["well", "stuck", "history", "bytes", "files", "not told"],
)
def test_what_is_missed_is_told(tmp_path: Path, after: soak.Holdings, stuck: int, missed: set[str]) -> None:
    run = Soak(Daemon(tmp_path, "http://127.0.0.1:9", "64x64"), CountingProxy("http://127.0.0.1:9"))
    run.boots, run.exits = [LIFE], [0]
    told = {what for what, _, _, holds in soak.rows(run, holdings(), after, stuck) if not holds}
    assert told == missed


@pytest.mark.soak
def test_a_killed_daemon_leaves_nothing_behind(tmp_path: Path, fake_comfy: FakeComfy) -> None:
    server = soak.Server(fake_comfy.url, tmp_path / "fake-comfy")
    before = server.holdings()
    with CountingProxy(fake_comfy.url) as proxy:
        run = Soak(Daemon(tmp_path, proxy.url, "64x64"), proxy)
        run.run(0.6, [(0.2, run.kill), (0.4, run.kill)])
    after, stuck = soak.settled(server, before)
    assert [row for row in soak.rows(run, before, after, stuck) if not row[3]] == []
