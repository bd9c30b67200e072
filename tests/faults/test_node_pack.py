"""Our own nodes on the whole daemon: used where they are, missed by nobody where they vanish."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from tests.fakes.fake_comfy import FakeComfy
from tests.faults.stage import Stage, Status, dreams, stage

log = logging.getLogger(__name__)


def streams(status: Status) -> bool:
    return dreams(status) and status["engine"]["node_pack"] == "used"


def newest_graphs(made: Stage, count: int = 6) -> list[set[str]]:
    graphs: list[dict[str, Any]] = [request.json()["prompt"] for request in made.fake.posted("/prompt")]
    return [{node["class_type"] for node in graph.values()} for graph in graphs[-count:]]


def has_ours(graph: set[str]) -> bool:
    return any(name.startswith("Dreamloop") for name in graph)


def test_a_dream_uses_the_nodes_and_goes_on_when_they_vanish_and_when_they_are_back(
    tmp_path: Path, fake: FakeComfy
) -> None:
    fake.give_pack()
    with stage(tmp_path, fake) as made:
        status = made.wait_for(streams)
        shown = made.wait_for(lambda now: now["frame"]["kind"] == "in_between")
        assert shown["frame"]["format"] == "jpeg"
        assert any("DreamloopFrames" in graph for graph in newest_graphs(made))

        fake.lose_pack()
        fake.restart()
        made.recovers(2)
        status = made.wait_for(lambda now: now["engine"]["node_pack"] == "missing")
        made.more(2)
        assert not any(map(has_ours, newest_graphs(made, 3)))

        fake.give_pack()
        fake.kill()
        made.wait_for(lambda now: not now["engine"]["reachable"])  # nobody installs nodes in a blink
        fake.restart()
        made.recovers(2)
        made.wait_for(streams)
        made.more(1)
        assert any("DreamloopFrames" in graph for graph in newest_graphs(made))
        assert status["dream"]["rejected"] == 0


def test_sockets_that_die_again_and_again_cost_no_frame_and_no_second_decode(
    tmp_path: Path, fake: FakeComfy
) -> None:
    fake.give_pack()
    with stage(tmp_path, fake) as made:
        before = made.wait_for(streams)
        cuts = 0
        until = time.monotonic() + 20.0

        def cut(frame: int) -> None:
            nonlocal cuts
            if frame == 3 and cuts < 4:
                cuts += 1
                fake.drop_sockets()

        fake.pack.before_frame = cut
        made.wait_for(lambda _: cuts == 4 or time.monotonic() > until)
        fake.pack.before_frame = lambda _frame: None
        after = made.recovers(2)
        assert cuts == 4
        assert after["display"]["skipped"] == before["display"]["skipped"]
