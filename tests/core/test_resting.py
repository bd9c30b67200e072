from __future__ import annotations

from pathlib import Path

from backend.utils.status_schema import Reason, ReasonCode, State
from tests.core.test_controller import dream

WHY = Reason(code=ReasonCode.MACHINE, sentence="steam runs")


def test_a_rest_lets_what_is_under_way_come_and_then_frees_the_engine(tmp_path: Path) -> None:
    made = dream(tmp_path)
    made.settle()
    made.finish_next()
    assert made.engine.open_jobs
    made.controller.rest(WHY)
    made.settle()
    assert made.engine.freed == 0
    while made.engine.open_jobs:
        made.finish_next()
    assert made.engine.freed == 1
    sent = len(made.engine.sent)
    made.wait(60.0)
    assert len(made.engine.sent) == sent
    assert made.engine.freed == 1
    assert made.controller.reason == WHY


def test_the_display_moves_on_while_the_dream_rests(tmp_path: Path) -> None:
    made = dream(tmp_path)
    made.settle()
    for _ in range(6):
        made.finish_next()
        made.show(0.5)
    made.controller.rest(WHY)
    while made.engine.open_jobs:
        made.finish_next()
    made.show(20.0)
    before = made.playback.frames_shown
    made.show(5.0)
    assert made.playback.frames_shown > before
    assert made.controller.state is State.REMEMBERING


def test_after_a_rest_the_dream_goes_on_with_the_next_turn(tmp_path: Path) -> None:
    made = dream(tmp_path)
    made.settle()
    made.finish_next()
    made.controller.rest(WHY)
    while made.engine.open_jobs:
        made.finish_next()
    made.show(30.0)
    made.controller.rest(None)
    made.settle()
    assert "k" in made.waiting_jobs
    assert made.controller.reason.code is ReasonCode.OK


def test_told_to_go_dark_it_shows_black_once_and_fades_back_in(tmp_path: Path) -> None:
    made = dream(tmp_path)
    made.settle()
    for _ in range(4):
        made.finish_next()
    made.show(1.0)
    made.controller.rest(WHY, dark=True)
    made.show(1.0)
    newest = made.playback.newest
    assert newest is not None
    from PIL import Image

    assert Image.open(newest.path).getbbox() is None
    made.show(5.0)
    assert made.playback.newest is newest
    assert made.controller.state is State.PAUSED
    assert made.playback.vital.rest
    made.controller.rest(None)
    made.settle()
    made.show(0.3)
    assert made.playback.newest is not newest
    shown = made.playback.newest
    assert shown is not None
    darkest = Image.open(shown.path).convert("L").getextrema()
    assert darkest[1] < 200  # on its way from black


def test_a_pause_within_a_rest_stays_a_pause(tmp_path: Path) -> None:
    made = dream(tmp_path)
    made.settle()
    made.controller.rest(WHY)
    made.controller.pause()
    made.controller.rest(None)
    made.settle()
    assert made.controller.state is State.PAUSED
    made.controller.resume()
    made.settle()
    assert made.controller.state is not State.PAUSED


def test_an_engine_of_ours_is_begun_anew_once_nothing_is_with_it(tmp_path: Path) -> None:
    made = dream(tmp_path)
    made.engine.ours = True
    made.settle()
    made.finish_next()
    made.controller.renew_engine("the engine holds 40,000 MB")
    made.settle()
    assert made.engine.restarts == 0
    connects = made.engine.connects
    while made.engine.restarts == 0:
        made.finish_next()
    made.wait(2.0)
    assert made.engine.restarts == made.controller.engine_restarts == 1
    assert made.controller.engine_restarted_why == "the engine holds 40,000 MB"
    assert made.engine.connects == connects + 1


def test_an_engine_of_others_is_left_alone_and_the_dream_goes_on(tmp_path: Path) -> None:
    made = dream(tmp_path)
    made.settle()
    made.controller.renew_engine("the engine holds 40,000 MB")
    while made.engine.open_jobs and "k" not in made.waiting_jobs[1:]:
        made.finish_next()
    made.show(3.0)
    made.wait(2.0)
    assert made.engine.restarts == made.controller.engine_restarts == 0
    assert "k" in made.waiting_jobs
