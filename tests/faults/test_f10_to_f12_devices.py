"""F10 to F12: a full graphics card, one whose context is broken, a job that hangs."""

from __future__ import annotations

import logging
import time
from itertools import pairwise
from pathlib import Path

import pytest

from backend.core.breaker import Breaker
from backend.core.job_actions import Patience
from backend.utils.ladder import Ladder
from tests.fakes.fake_comfy import FakeComfy
from tests.fakes.faulty import illegal_access, out_of_memory
from tests.faults.stage import Stage, Status, dreams, hurry, seed_of, stage

log = logging.getLogger(__name__)


def width(status: Status) -> int:
    return int(status["dream"]["width"])


def test_f10_a_full_card_is_asked_to_free_memory_and_tried_once_more(on: Stage) -> None:
    fake = on.fake
    before, posts = on.status(), len(on.keyframe_posts())
    fake.painter.errors.append(out_of_memory())
    on.wait_for(lambda _: len(fake.posted("/free")) >= 1)
    after = on.recovers(2)
    (freed,) = fake.posted("/free")
    assert freed.json()["unload_models"] is True
    assert after["dream"]["failed_jobs"] == before["dream"]["failed_jobs"] + 1
    assert width(after) == width(before) == 128, "the first time nothing is taken away"
    seeds = [seed_of(graph) for graph in on.keyframe_posts()[posts:]]
    assert len(seeds) == len(set(seeds))


@pytest.mark.faults
def test_f10_a_card_that_stays_full_gets_less_to_do_and_more_again_later(
    tmp_path: Path, fake: FakeComfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, Ladder, rise_after_s=4.0)  # ten minutes, for those who have the time
    with stage(tmp_path, fake) as made:
        made.wait_for(dreams)
        fake.painter.errors.extend([out_of_memory() for _ in range(3)])
        made.wait_for(lambda _: not fake.painter.errors)
        small = made.wait_for(lambda now: now["dream"]["keyframes"] > 0 and width(now) < 128)
        log.info("F10: %d px wide after three times without memory", width(small))
        assert len(fake.posted("/free")) >= 3
        made.recovers()
        made.wait_for(lambda now: width(now) == 128)
        made.more(1)


def test_f11_a_broken_card_is_left_in_peace_and_the_kept_frames_play(
    tmp_path: Path, fake: FakeComfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, Breaker, trial_every_s=2.0)  # a minute, for those who have the time
    with stage(tmp_path, fake) as made:
        before = made.wait_for(dreams)
        fake.painter.always = illegal_access()
        sick = made.wait_for(lambda now: "restart" in now["reason"]["sentence"])
        assert sick["reason"]["code"] == "engine_error"
        assert "illegal memory access" in sick["reason"]["sentence"], "what is wrong"
        assert "its owner" in sick["reason"]["sentence"], "who can do what"
        failed = sick["dream"]["failed_jobs"] - before["dream"]["failed_jobs"]
        assert failed <= 3, "after two in a row it is plain, whatever was under way already"
        made.wait_for(lambda now: now["state"] == "remembering" and now["frame"]["kind"] == "replay")
        began = time.monotonic()
        made.wait_for(lambda _: time.monotonic() - began > 4.5)
        tries = [request.at_s for request in fake.posted("/prompt") if request.at_s > began]
        log.info("F11: %d trials in 4.5 s", len(tries))
        assert 1 <= len(tries) <= 3, "one at a time, to see how it is"
        assert all(later - earlier > 1.5 for earlier, later in pairwise(tries))
        fake.heal()
        made.recovers(2)


def test_f12_a_job_that_hangs_is_given_up_and_nothing_of_others_with_it(
    tmp_path: Path, fake_ab: FakeComfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, Patience, load_s=3.0, step_s=3.0)
    with stage(tmp_path, fake_ab) as made:
        before = made.wait_for(dreams)
        fake_ab.painter.hold()
        begun = fake_ab.painter.samplings
        made.wait_for(lambda _: fake_ab.painter.samplings > begun)  # ours: theirs comes behind it
        theirs = fake_ab.foreign_job(steps=2)
        began = time.monotonic()
        made.wait_for(lambda now: now["dream"]["failed_jobs"] > before["dream"]["failed_jobs"])
        log.info("F12: given up after %.2f s (3 s without a step)", time.monotonic() - began)
        asked = [request.json() for request in fake_ab.posted("/interrupt")]
        assert all(set(one) == {"prompt_id"} and one["prompt_id"] != theirs for one in asked)
        made.wait_for(lambda now: now["state"] == "remembering" and now["frame"]["kind"] == "replay")
        fake_ab.heal()
        made.recovers(2)
        ended = fake_ab.server.core.queue.history
        made.wait_for(lambda _: theirs in ended())
        assert ended()[theirs]["status"]["status_str"] == "success"
