"""F09: pictures that are black, flat or NaN are never shown; a dark one is."""

from __future__ import annotations

import pytest

from tests.faults.stage import Stage, long_forms, seed_of, well


def test_f09_failed_pictures_are_never_shown_and_the_reason_says_what_may_help(on: Stage) -> None:
    fake = on.fake
    before = on.status()
    fake.painter.spoil = "black"
    bad = on.wait_for(
        lambda now: (
            now["dream"]["rejected"] >= before["dream"]["rejected"] + 3
            and now["dream"]["retries"] >= before["dream"]["retries"] + 3
            and now["reason"]["code"] == "bad_pictures"
        )
    )
    assert "fp32-vae" in bad["reason"]["sentence"]
    on.wait_for(lambda now: now["state"] == "remembering" and now["frame"]["kind"] == "replay")
    tries = len(on.keyframe_posts())
    fake.painter.spoil = None
    on.recovers(2)
    assert len(on.keyframe_posts()) >= tries
    assert len(on.keyframe_posts()) < 30, "tried again, but not in a storm"


@pytest.mark.parametrize("how", ["nan", *long_forms("black", "flat")])
def test_f09_one_bad_picture_costs_one_try_with_another_seed(on: Stage, how: str) -> None:
    fake = on.fake
    before, posts = on.status(), len(on.keyframe_posts())
    fake.painter.spoil = how
    on.wait_for(lambda now: now["dream"]["retries"] > before["dream"]["retries"])
    fake.painter.spoil = None
    on.recovers(2)
    seeds = [seed_of(graph) for graph in on.keyframe_posts()[posts:]]
    assert len(seeds) == len(set(seeds)), "never the same seed again"


def test_f09_a_picture_that_is_only_dark_is_shown(on: Stage) -> None:
    before = on.status()
    on.fake.painter.spoil = "dark"
    after = on.more(3)
    assert well(after)
    assert after["dream"]["rejected"] == before["dream"]["rejected"]
