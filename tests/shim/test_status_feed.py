from __future__ import annotations

import asyncio
from pathlib import Path

from backend.shim.status_feed import POLL_S, STALE_S, StatusFeed
from backend.utils.status_schema import State
from tests.shim.stand_in import StandIn


class Clock:
    now = 10.0

    def __call__(self) -> float:
        return self.now


def feed_of(daemon: StandIn, clock: Clock) -> StatusFeed:
    return StatusFeed(daemon.status / "status.json", clock)


def test_without_a_file_there_is_no_status(daemon: StandIn) -> None:
    feed = feed_of(daemon, Clock())
    assert not asyncio.run(feed.look())
    assert feed.newest is None
    assert not feed.fresh


def test_a_status_that_was_there_before_us_is_fresh_only_once_it_moves(daemon: StandIn) -> None:
    clock = Clock()
    feed = feed_of(daemon, clock)
    daemon.show()
    assert asyncio.run(feed.look())
    assert not feed.fresh
    daemon.show()
    assert asyncio.run(feed.look())
    assert feed.fresh
    clock.now += STALE_S + 0.1
    assert not asyncio.run(feed.look())
    assert not feed.fresh


def test_half_a_file_changes_nothing(daemon: StandIn) -> None:
    feed = feed_of(daemon, Clock())
    daemon.show()
    asyncio.run(feed.look())
    (daemon.status / "status.json").write_text('{"sequence": 9')
    assert not asyncio.run(feed.look())
    assert feed.newest is not None
    assert feed.newest.sequence == 1


def test_a_file_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "status.json")
    feed = StatusFeed(tmp_path / "status.json", Clock())
    assert not asyncio.run(feed.look())


def test_whoever_waits_is_told_of_the_newest_and_never_of_a_backlog(daemon: StandIn) -> None:
    async def play() -> list[int]:
        feed = feed_of(daemon, Clock())
        daemon.tell(State.STARTING)
        await feed.look()
        assert feed.newest is not None
        waiting = asyncio.create_task(feed.after(feed.newest.tag, 30.0))
        await asyncio.sleep(0)
        for _ in range(3):
            daemon.show()
        await feed.look()
        first = await waiting
        nothing = await feed.after(feed.newest.tag, 0.001)
        assert first is not None
        assert nothing is None
        return [first.sequence, first.frame_sequence]

    assert asyncio.run(play()) == [4, 3]


def test_a_new_boot_with_the_same_number_is_news(daemon: StandIn) -> None:
    async def play() -> bool:
        feed = feed_of(daemon, Clock())
        daemon.show()
        await feed.look()
        assert feed.newest is not None
        tag = feed.newest.tag
        daemon.writes, daemon.boot = 0, "c" * 32
        daemon.show()
        return await feed.look() and await feed.after(tag, 1.0) is not None

    assert asyncio.run(play())


def test_news_that_are_rare_are_looked_for_less_often(tmp_path: Path) -> None:
    clock = Clock()
    feed, began, waits = StatusFeed(tmp_path / "status.json", clock), clock.now, []
    for age_s in (0.0, 0.1, 0.3, 0.6, 1.0, 3600.0):
        clock.now = began + age_s
        waits.append(round(feed.pause_s, 3))
    assert waits == [POLL_S, POLL_S, 0.1, 0.2, 0.25, 0.25]
