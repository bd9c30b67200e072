"""F05 to F08: jobs that vanish, answers that are lost, files that are gone, bodies that are cut off."""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.fakes.chaos_proxy import ChaosProxy
from tests.fakes.fake_comfy import FakeComfy
from tests.faults.stage import Stage, dreams, long_forms, seed_of, stage

log = logging.getLogger(__name__)


def test_f05_a_job_that_a_killed_server_has_forgotten_is_posted_once_more_under_a_new_id(
    on_ab: Stage,
) -> None:
    fake = on_ab.fake
    before = on_ab.status()
    fake.painter.hold()
    on_ab.wait_for(lambda _: bool(fake.server.core.queue.snapshot()[0]))
    posted = {request.json()["prompt_id"] for request in fake.posted("/prompt")}
    (held,) = fake.server.core.queue.snapshot()[0]
    began = time.monotonic()
    fake.kill()
    fake.restart()
    after = on_ab.recovers(3)
    log.info("F05: three keyframes %.2f s after the kill", time.monotonic() - began)
    again = [
        request.json()
        for request in fake.posted("/prompt")
        if request.json()["prompt_id"] not in posted and request.json()["prompt"] == held.graph
    ]
    assert len(again) == 1, "once, under a new id"
    # The latents of in-betweens lay in temp, which the server empties: their job may have to be made anew.
    assert after["dream"]["failed_jobs"] - before["dream"]["failed_jobs"] <= 2
    assert after["display"]["skipped"] == before["display"]["skipped"]
    assert set(on_ab.denoise.values()) <= {0.45, 1.0}
    assert [count for count, denoise in on_ab.denoise.items() if denoise == 1.0] in ([], [1]), "no cut"


def executions_by_seed(fake: FakeComfy) -> Counter[int]:
    """How often each keyframe's seed was really begun, by what the server said on its sockets."""
    begun = Counter(
        data["prompt_id"]
        for socket in fake.sockets
        for kind, data in socket.sent
        if kind == "execution_start"
    )
    seeds: Counter[int] = Counter()
    for request in fake.posted("/prompt"):
        seed = seed_of(request.json()["prompt"])
        if seed is not None:
            seeds[seed] += begun.pop(request.json()["prompt_id"], 0)
    return seeds


@pytest.mark.parametrize("then", ["silence", *long_forms("close", "reset")])
def test_f06_a_post_whose_answer_is_lost_is_looked_for_and_runs_once(
    tmp_path: Path, fake: FakeComfy, then: str
) -> None:
    with ChaosProxy(fake.port) as proxy, stage(tmp_path, fake, url=proxy.url) as made:
        before = made.wait_for(dreams)
        fault = proxy.drop_answer("POST", "/prompt", then=then, times=3)
        made.wait_for(lambda _: fault.hits == 3)
        after = made.recovers(3)
        assert after["dream"]["failed_jobs"] == before["dream"]["failed_jobs"]
        assert after["display"]["skipped"] == before["display"]["skipped"]
        seeds = executions_by_seed(fake)
        assert max(seeds.values()) == 1, "no graph ran twice"


def test_f06_a_post_that_never_arrived_is_made_again_and_runs_once(on: Stage) -> None:
    fake = on.fake
    before = on.status()
    for _ in range(2):
        fault = fake.fault("POST", "/prompt", close="before", times=1)
        on.wait_for(lambda _, one=fault: one.hits == 1)
        after = on.recovers(2)
    assert after["dream"]["failed_jobs"] == before["dream"]["failed_jobs"]
    assert max(executions_by_seed(fake).values()) == 1


def test_f07_a_result_whose_file_was_deleted_is_dreamt_again_with_another_seed(on: Stage) -> None:
    fake = on.fake
    fake.mute()
    before = on.wait_for(lambda now: now["engine"]["socket"] == "stale")
    on.more(1)
    posts = len(on.keyframe_posts())
    fault = fake.fault("GET", "/view", status=404, when=lambda request: request.query["type"] == "temp")
    seeds: set[int | None] = set()
    on.wait_for(lambda _: len(seeds.union(map(seed_of, on.keyframe_posts()[posts:]))) >= 3)
    tries = len(on.keyframe_posts()) - posts
    log.info("F07: %d posts for 3 seeds, %d files asked for", tries, fault.hits)
    assert tries <= 12, "each graph is posted at most twice more, and then another seed is tried: no loop"
    bad = on.status()
    assert bad["dream"]["failed_jobs"] >= before["dream"]["failed_jobs"] + 2, "counted"
    assert bad["dream"]["retries"] > before["dream"]["retries"]
    fake.heal()
    on.recovers(2)


def test_f07_latents_that_somebody_deleted_are_brought_again(on: Stage) -> None:
    fake = on.fake
    before = on.status()
    for _ in range(3):
        fake.lose_output_files()
        on.recovers()
    after = on.more(1)
    log.info("F07: failed jobs %s -> %s", before["dream"]["failed_jobs"], after["dream"]["failed_jobs"])
    assert after["dream"]["failed_jobs"] - before["dream"]["failed_jobs"] <= 6


def test_f08_a_picture_that_comes_half_is_fetched_again(tmp_path: Path, fake: FakeComfy) -> None:
    with ChaosProxy(fake.port) as proxy, stage(tmp_path, fake, url=proxy.url) as made:
        made.wait_for(dreams)
        fake.mute()
        made.wait_for(lambda now: now["engine"]["socket"] == "stale")
        before = made.more(1)
        fault = proxy.cut("GET", "/view?*", share=0.5, times=1)
        made.wait_for(lambda _: fault.hits == 1)
        after = made.recovers(2)
        assert after["dream"]["failed_jobs"] == before["dream"]["failed_jobs"]
        assert after["dream"]["rejected"] == before["dream"]["rejected"]
        assert after["display"]["skipped"] == before["display"]["skipped"]


def test_f08_pictures_that_only_ever_come_half_are_never_shown(tmp_path: Path, fake: FakeComfy) -> None:
    with ChaosProxy(fake.port) as proxy, stage(tmp_path, fake, url=proxy.url) as made:
        made.wait_for(dreams)
        fake.mute()
        made.wait_for(lambda now: now["engine"]["socket"] == "stale")
        before = made.status()
        fault = proxy.cut("GET", "/view?*type=temp*", share=0.5)
        bad = made.wait_for(lambda now: now["dream"]["failed_jobs"] > before["dream"]["failed_jobs"])
        fetched = {request.query["filename"] for request in fake.requests if request.path == "/view"}
        log.info("F08: %d halves of %d files", fault.hits, len(fetched))
        assert fault.hits <= 3 * len(fetched), "each is fetched twice more, and no more"
        assert bad["reason"]["code"] != "ok" or bad["dream"]["failed_jobs"] > 0
        proxy.heal()
        made.recovers(2)
