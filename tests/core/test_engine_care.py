"""The loop with an engine whose jobs fail: on a clock in the hand, with an engine in memory."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import pytest

from backend.core.jobs import FailureKind
from backend.core.workflow_builder import DreamStep, TextToImage
from backend.errors import EngineUnreachable, GraphRejected
from backend.interpolation.latent_encoder import read_latents
from backend.utils.status_schema import ReasonCode, State
from tests.core.test_controller import IN_BETWEENS, Dream, dream
from tests.fakes.memory_engine import black_picture, is_walk

FULL, SMALLER, SMALLEST = (640, 400), (544, 336), (320, 192)


@pytest.fixture
def hybrid(tmp_path: Path) -> Dream:
    made = dream(tmp_path, size=FULL)
    made.settle()
    return made


def fail(looped: Dream, kind: FailureKind) -> None:
    """The next job fails, and the one after it is waited for, unless there is to be none for a while."""
    looped.engine.fail_next(kind)
    looped.settle()
    for _ in range(62):
        controller = looped.controller
        if "k" in looped.waiting_jobs or not (
            controller._care.breaker.closed and controller.headroom.has_room(controller._pending)
        ):
            return
        looped.wait(0.5)
    raise AssertionError("it is not tried again")


def fail_keyframes(looped: Dream, kind: FailureKind, count: int) -> None:
    for _ in range(count):
        while "k" not in looped.waiting_jobs:
            looped.wait(0.5)
        while is_walk(looped.engine.open_jobs[0]):
            looped.finish_next()
        fail(looped, kind)


def size_of(looped: Dream) -> tuple[int, int] | None:
    request = next(sent.request for sent in looped.engine.open_jobs if not is_walk(sent))
    if isinstance(request, TextToImage):
        return request.width, request.height
    assert isinstance(request, DreamStep)
    return request.size


# F10: out of memory


def test_f10_the_first_time_memory_is_freed_and_the_same_is_tried_again(hybrid: Dream) -> None:
    fail(hybrid, FailureKind.OUT_OF_MEMORY)
    assert hybrid.engine.freed == 1
    assert size_of(hybrid) == FULL
    assert "memory freed" in hybrid.controller.reason.sentence


def test_f10_the_second_time_the_picture_is_smaller_and_each_time_more_so_to_a_half(hybrid: Dream) -> None:
    sizes = []
    for _ in range(6):
        fail(hybrid, FailureKind.OUT_OF_MEMORY)
        hybrid.wait(31.0)
        sizes.append(size_of(hybrid))
    assert sizes == [FULL, SMALLER, (448, 288), SMALLEST, SMALLEST, SMALLEST]
    assert hybrid.engine.freed == 6


def test_f10_a_smaller_keyframe_dreams_on_from_the_larger_latent(hybrid: Dream) -> None:
    hybrid.finish_next()
    assert size_of(hybrid) is None, "the latent has its size already"
    fail_keyframes(hybrid, FailureKind.OUT_OF_MEMORY, 5)
    hybrid.wait(31.0)
    request = hybrid.engine.open_jobs[0].request
    assert isinstance(request, DreamStep), "it is not begun anew"
    assert request.latent.filename == "latent0"
    assert request.size == SMALLEST
    hybrid.finish_next()
    assert size_of(hybrid) is None, "the next one finds it small"


def test_f10_the_way_to_a_smaller_keyframe_is_walked_in_its_size(hybrid: Dream) -> None:
    hybrid.finish_next()
    fail_keyframes(hybrid, FailureKind.OUT_OF_MEMORY, 2)
    hybrid.wait(31.0)
    hybrid.engine.latent_size = (3, 4)
    hybrid.finish_next()
    walk = next(sent for sent in hybrid.engine.sent if is_walk(sent))
    assert walk.count == IN_BETWEENS
    assert read_latents(walk.latents).shape[-2:] == (3, 4)


def test_f10_it_is_said_why_the_picture_is_small_and_logged_once(
    hybrid: Dream, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        fail(hybrid, FailureKind.OUT_OF_MEMORY)
        fail(hybrid, FailureKind.OUT_OF_MEMORY)
        for _ in range(4):
            hybrid.finish_next()
    assert hybrid.controller.reason.code is ReasonCode.OK
    assert "544x336 px instead of 640x400: the engine ran out of memory" in hybrid.controller.reason.sentence
    assert [record.message.count("85 %") for record in caplog.records].count(1) == 1


def test_f10_after_ten_good_minutes_the_picture_is_larger_again(hybrid: Dream) -> None:
    fail(hybrid, FailureKind.OUT_OF_MEMORY)
    fail(hybrid, FailureKind.OUT_OF_MEMORY)
    hybrid.finish_next()
    hybrid.clock.now += 560.0
    hybrid.finish_next()
    assert "instead of" in hybrid.controller.reason.sentence
    hybrid.clock.now += 60.0
    while hybrid.engine.open_jobs:
        hybrid.finish_next()
    hybrid.show(3.0)
    hybrid.settle()
    sizes = [sent.request.size for sent in hybrid.engine.sent if isinstance(sent.request, DreamStep)]
    assert sizes.count(FULL) == 1
    assert hybrid.controller.reason.sentence == "all is well"


def test_f10_success_in_between_makes_the_next_time_the_first(hybrid: Dream) -> None:
    for _ in range(3):
        fail_keyframes(hybrid, FailureKind.OUT_OF_MEMORY, 1)
        hybrid.show(3.0)
        hybrid.wait(1.0)
        while "k" in hybrid.waiting_jobs:
            hybrid.finish_next()
        hybrid.show(3.0)
    assert hybrid.controller.reason.sentence == "all is well"


def fail_walks(looped: Dream, kind: FailureKind) -> int:
    """All walks fail until one is out of the way; the frames that the newest one has."""
    while not is_walk(looped.engine.open_jobs[0]):
        looped.finish_next()
    looped.engine.fail_next(kind)
    looped.settle()
    return next((sent.count for sent in looped.engine.open_jobs if is_walk(sent)), 0)


@pytest.mark.parametrize("kind", [FailureKind.OUT_OF_MEMORY, FailureKind.DEADLINE])
def test_f10_in_betweens_travel_in_ever_smaller_jobs_and_none_is_lost(
    hybrid: Dream, kind: FailureKind
) -> None:
    hybrid.controller.headroom.wished_s = 1.0
    hybrid.finish_next()
    hybrid.finish_next()
    assert [sent.count for sent in hybrid.engine.open_jobs if is_walk(sent)] == [IN_BETWEENS]
    assert fail_walks(hybrid, kind) == IN_BETWEENS, "the same once more"
    if kind is FailureKind.DEADLINE:
        hybrid.controller._care.keyframe_worked()  # something else ended well in between
    fail_walks(hybrid, kind)
    walks = [sent.count for sent in hybrid.engine.open_jobs if is_walk(sent)]
    assert walks == [5, 4]
    while any(is_walk(sent) for sent in hybrid.engine.open_jobs):
        hybrid.finish_next()
    assert hybrid.gaps.in_betweens >= IN_BETWEENS
    assert hybrid.buffer.skipped == 0


def test_f10_in_betweens_that_cannot_be_had_one_by_one_are_left_out(hybrid: Dream) -> None:
    while hybrid.controller.keyframes < 7:
        if is_walk(hybrid.engine.open_jobs[0]):
            hybrid.engine.fail_next(FailureKind.OUT_OF_MEMORY)
            hybrid.settle()
        else:
            hybrid.finish_next()
        while hybrid.buffer.take(hybrid.clock.now) is not None:
            pass
    assert hybrid.gaps.in_betweens == 0
    walks = [sent.count for sent in hybrid.engine.sent if is_walk(sent)]
    assert list(dict.fromkeys(walks)) == [IN_BETWEENS, 5, 4, 2, 1], "halved again and again"
    assert set(walks[-10:]) == {1}
    assert len(walks) <= 6 * 2 * IN_BETWEENS


# F11: errors of the graphics device


def test_f11_a_second_error_of_the_device_restarts_an_engine_that_is_ours(hybrid: Dream) -> None:
    hybrid.engine.ours = True
    hybrid.finish_next()
    fail(hybrid, FailureKind.DEVICE)
    assert hybrid.engine.restarts == 0
    fail(hybrid, FailureKind.DEVICE)
    assert hybrid.engine.restarts == hybrid.controller.engine_restarts == 1
    assert "started again" in hybrid.controller.reason.sentence
    hybrid.wait(2.0)
    assert hybrid.engine.connects == 2
    hybrid.finish_next()
    assert hybrid.controller.reason.code is ReasonCode.OK
    assert not hybrid.playback.engine_away


def test_f11_a_restart_that_was_in_vain_is_made_once_a_minute(hybrid: Dream) -> None:
    hybrid.engine.ours = True
    began = hybrid.clock.now
    for _ in range(3000):
        if hybrid.engine.open_jobs:
            hybrid.engine.fail_next(FailureKind.DEVICE)
        hybrid.wait(0.5)
    minutes = (hybrid.clock.now - began) / 60.0
    assert minutes - 5 <= hybrid.engine.restarts <= minutes + 3


def poison(looped: Dream) -> None:
    """The device of an engine that is not ours breaks for good."""
    fail_keyframes(looped, FailureKind.DEVICE, 2)
    while looped.engine.open_jobs:
        looped.engine.fail_next(FailureKind.DEVICE)
        looped.settle()


def test_f11_an_engine_of_others_is_left_in_peace_but_for_one_trial_a_minute(hybrid: Dream) -> None:
    hybrid.finish_next()
    poison(hybrid)
    sent = len(hybrid.engine.sent)
    trials = []
    for _ in range(600):
        hybrid.wait(0.5)
        if hybrid.engine.open_jobs:
            trials.append(hybrid.clock.now)
            assert hybrid.waiting_jobs == "k"
            hybrid.engine.fail_next(FailureKind.DEVICE)
    assert 4 <= len(hybrid.engine.sent) - sent <= 5
    assert all(later - earlier >= 60.0 for earlier, later in itertools.pairwise(trials))
    assert hybrid.engine.connects == 1


def test_f11_it_is_said_that_its_owner_must_restart_it_and_kept_frames_play(hybrid: Dream) -> None:
    for _ in range(4):
        hybrid.finish_next()
    hybrid.show(2.0)
    hybrid.settle()
    poison(hybrid)
    reason = hybrid.controller.reason
    assert reason.code is ReasonCode.ENGINE_ERROR
    assert "ComfyUI must be restarted by its owner" in reason.sentence
    assert "it broke" in reason.sentence
    shown = hybrid.playback.frames_shown
    hybrid.show(10.0)
    assert hybrid.playback.replaying
    assert hybrid.playback.frames_shown > shown + 10
    assert hybrid.controller.state is State.REMEMBERING


def test_f11_a_trial_that_goes_well_ends_it(hybrid: Dream) -> None:
    hybrid.finish_next()
    poison(hybrid)
    hybrid.wait(61.0)
    hybrid.finish_next()
    assert hybrid.controller.reason.code is ReasonCode.OK
    assert "w" in hybrid.waiting_jobs


def test_f11_an_engine_that_its_owner_has_restarted_is_tried_at_once(hybrid: Dream) -> None:
    hybrid.finish_next()
    poison(hybrid)
    hybrid.engine.reachable = False
    hybrid.settle()
    hybrid.wait(2.0)
    assert hybrid.waiting_jobs == "k"


def test_f11_errors_of_in_betweens_count_too(hybrid: Dream) -> None:
    hybrid.finish_next()
    hybrid.finish_next()
    hybrid.finish_next()
    while hybrid.engine.open_jobs:
        hybrid.engine.fail_next(FailureKind.DEVICE)
        hybrid.settle()
    assert "must be restarted by its owner" in hybrid.controller.reason.sentence
    assert hybrid.playback.engine_away


def test_f11_in_betweens_that_are_held_back_do_not_keep_the_trial_from_being_made(tmp_path: Path) -> None:
    looped = dream(tmp_path, buffer_s=1.0, frames_per_job=2)
    looped.settle()
    looped.finish_next()
    looped.finish_next()
    assert looped.waiting_jobs == "ww"
    looped.engine.fail_next(FailureKind.DEVICE)
    looped.engine.fail_next(FailureKind.DEVICE)
    looped.wait(61.0)
    assert looped.waiting_jobs == "k"
    looped.finish_next()
    assert looped.waiting_jobs == "ww"


def test_f11_a_trial_that_a_restart_cut_short_is_made_again(hybrid: Dream) -> None:
    hybrid.engine.ours = True
    for _ in range(4):
        hybrid.engine.fail_next(FailureKind.DEVICE)
        for _ in range(10):
            hybrid.wait(0.5)
    assert hybrid.engine.restarts == 2
    assert not hybrid.engine.open_jobs
    hybrid.wait(61.0)
    hybrid.engine.fail_next(FailureKind.LOST)
    hybrid.wait(31.0)
    assert hybrid.waiting_jobs == "k"


# F12: jobs that hang


def test_f12_a_second_deadline_in_a_row_restarts_an_engine_that_is_ours(hybrid: Dream) -> None:
    hybrid.engine.ours = True
    fail(hybrid, FailureKind.DEADLINE)
    assert hybrid.engine.restarts == 0
    fail(hybrid, FailureKind.DEADLINE)
    assert hybrid.engine.restarts == 1
    hybrid.wait(2.0)
    assert hybrid.engine.connects == 2
    assert hybrid.waiting_jobs == "k"


def test_f12_an_engine_of_others_is_waited_for_ever_more_patiently(hybrid: Dream) -> None:
    waits = []
    for _ in range(8):
        hybrid.engine.fail_next(FailureKind.DEADLINE)
        hybrid.settle()
        start = hybrid.clock.now
        while not hybrid.engine.open_jobs:
            hybrid.wait(0.25)
        waits.append(hybrid.clock.now - start)
    assert waits[6] > 4 * waits[0]
    assert max(waits) <= 30.25
    assert "it hangs: ComfyUI must be restarted by its owner" in hybrid.controller.reason.sentence
    hybrid.finish_next()
    assert hybrid.controller.reason.code is ReasonCode.OK


def test_f13_waiting_for_the_jobs_of_others_is_no_reason_to_restart_what_they_run_on(hybrid: Dream) -> None:
    hybrid.engine.ours = True
    hybrid.finish_next()
    for _ in range(5):
        fail(hybrid, FailureKind.WAITED)
    assert hybrid.engine.restarts == 0
    assert "waiting for its turn" in hybrid.controller.reason.sentence
    assert isinstance(hybrid.engine.open_jobs[0].request, DreamStep)


def test_f12_in_betweens_do_not_queue_up_behind_a_job_that_hangs(hybrid: Dream) -> None:
    hybrid.finish_next()
    hybrid.finish_next()
    fail_walks(hybrid, FailureKind.DEADLINE)
    while hybrid.engine.open_jobs:
        hybrid.engine.fail_next(FailureKind.DEADLINE)
        hybrid.settle()
    hybrid.wait(31.0)
    assert hybrid.waiting_jobs == "k"


# F09: bad pictures


def test_f09_after_three_bad_pictures_in_a_row_kept_frames_play_and_the_vae_is_suspected(
    hybrid: Dream,
) -> None:
    for _ in range(4):
        hybrid.finish_next()
    hybrid.show(1.0)
    for _ in range(3):
        hybrid.settle()
        while hybrid.engine.open_jobs:
            hybrid.finish_next([black_picture()] * IN_BETWEENS)
        hybrid.clock.now += 5.0
    hybrid.show(15.0)
    assert hybrid.controller.reason.code is ReasonCode.BAD_PICTURES
    assert "--fp32-vae" in hybrid.controller.reason.sentence
    assert hybrid.playback.replaying
    assert hybrid.controller.state is State.REMEMBERING


# F15: what the engine does not have


def test_f15_a_refused_graph_is_not_stormed_at_nor_logged_more_than_once_a_minute(
    hybrid: Dream, caplog: pytest.LogCaptureFixture
) -> None:
    hybrid.engine.fail_next()
    refusals = 0

    def refuse(request: object) -> None:
        nonlocal refusals
        refusals += 1
        raise GraphRejected("missing_node_type", "node 5 (KSampler): not offered")

    taken, hybrid.engine.submit = hybrid.engine.submit, refuse  # type: ignore[method-assign, assignment]
    with caplog.at_level(logging.INFO):
        for _ in range(1200):
            hybrid.wait(0.5)
    assert 20 <= refusals <= 50, "in ten minutes"
    assert hybrid.controller.reason.code is ReasonCode.GRAPH_REJECTED
    assert "KSampler" in hybrid.controller.reason.sentence
    assert sum("KSampler" in record.message for record in caplog.records) <= 11
    assert len(caplog.records) <= 14
    hybrid.engine.submit = taken  # type: ignore[method-assign]
    hybrid.wait(31.0)
    assert hybrid.waiting_jobs == "k"


def test_f14_an_engine_that_is_away_for_long_is_logged_once_a_minute(
    hybrid: Dream, caplog: pytest.LogCaptureFixture
) -> None:
    hybrid.engine.refuse = EngineUnreachable("http://127.0.0.1:8188", "connection refused")
    hybrid.engine.reachable = False
    with caplog.at_level(logging.INFO):
        for _ in range(600):
            hybrid.wait(1.0)
    assert 5 <= len(caplog.records) <= 11
