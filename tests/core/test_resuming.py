"""The loop, killed at any moment and begun again: what it goes on from."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.core.frame_buffer import Frame, FrameKind, Joint
from backend.core.jobs import Failed, FailureKind
from backend.core.workflow_builder import DreamStep, ImageToImage
from backend.errors import EngineUnreachable
from backend.interpolation.latent_encoder import read_latents
from tests.core.test_controller import FPS, GAP_S, Clock, Dream, dream
from tests.fakes.memory_engine import MemoryEngine, black_picture, is_fresh, is_walk, picture

LATER = 5_000.0
# The fade from the title to the first keyframe, and that.
AWAKE_S = 1.4


def run(folder: Path, keyframes: int = 3, **options: Any) -> Dream:
    """A dream of so many keyframes, which then is gone without a word."""
    running = dream(folder, resumes=True, buffer_s=60.0, **options)
    running.settle()
    before = running.controller.keyframes
    while running.controller.keyframes < before + keyframes:
        running.finish_next()
    return running


def again(folder: Path, **options: Any) -> Dream:
    """The next start, on a machine whose monotonic clock began anew."""
    options.setdefault("clock", Clock(LATER))
    return dream(folder, resumes=True, buffer_s=60.0, **options)


def newest_latent(running: Dream) -> bytes:
    number = max(int(name.removeprefix("latent")) for name in running.engine.files)
    return running.engine.files[f"latent{number}"]


def test_the_next_keyframe_continues_from_the_latent_of_the_last_one(tmp_path: Path) -> None:
    first = run(tmp_path)
    number = first.controller.newest.number
    second = again(tmp_path)
    assert second.controller.newest.number == number
    assert second.controller.newest.picture == first.controller.newest.picture
    second.settle()
    step = second.engine.sent[0].request
    assert isinstance(step, DreamStep)
    sent = second.engine.files[step.latent.filename]
    assert read_latents(sent).equal(read_latents(newest_latent(first)))
    second.finish_next()
    assert second.controller.newest.number == number + 1
    assert second.controller.newest.parent == number


def shown(running: Dream, seconds: float) -> list[bytes]:
    """Lets the display run; the pictures that it showed, one after the other."""
    seen: list[bytes] = []
    until, newest = running.clock.now + seconds, running.playback.newest
    while running.clock.now < until:
        running.playback.tick(running.clock.now)
        if running.playback.newest is not newest:
            newest = running.playback.newest
            seen.append(newest.path.read_bytes())
        running.clock.now += 0.01
    return seen


def all_ahead(running: Dream) -> list[bytes]:
    """All that lies ready, taken out of the buffer."""
    return [frame.data for frame in frames_of(running)]


def frames_of(running: Dream) -> list[Frame]:
    taken = []
    while (frame := running.buffer.take(running.clock.now)) is not None:
        taken.append(frame)
    return taken


def read_back(running: Dream) -> Dream:
    """Waits for the thread that reads the frames ahead."""
    for thread in threading.enumerate():
        if thread.name == "frames-ahead":
            thread.join(30.0)
    return running


def nobody() -> MemoryEngine:
    return MemoryEngine(refuse=EngineUnreachable("http://x", "gone"))


def finish_all(running: Dream) -> None:
    """The engine does all that it was asked for, and no more is asked."""
    running.gaps.settle()
    running.settle()
    running.controller._resting.paused = True
    while running.engine.open_jobs:
        running.finish_next()


def test_the_motion_goes_on_from_the_picture_on_display_before_any_engine_answers(tmp_path: Path) -> None:
    first = run(tmp_path)
    finish_all(first)
    shown(first, AWAKE_S + 0.65)
    on_display = first.playback.newest
    rest = all_ahead(first)
    assert len(rest) >= 10
    second = read_back(again(tmp_path, engine=nobody()))
    assert second.playback.newest.sequence == on_display.sequence
    assert shown(second, len(rest) / FPS + 0.2) == rest
    assert second.playback.newest.sequence == on_display.sequence + len(rest)


def test_a_run_that_is_killed_again_and_again_shows_each_frame_once_and_in_order(tmp_path: Path) -> None:
    first = run(tmp_path)
    finish_all(first)
    seen = shown(first, AWAKE_S + 0.35)
    rest: list[bytes] = []
    for _ in range(4):
        part = read_back(again(tmp_path, engine=nobody()))
        rest += shown(part, 0.45)
    assert len(rest) >= 12
    assert len({*seen, *rest}) == len(seen) + len(rest)
    assert rest == all_ahead(first)[: len(rest)]


def test_a_gap_that_was_promised_but_not_dreamt_yet_is_opened_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    while first.controller.keyframes < 4:  # its keyframes, but not the ways between them
        first.engine.finish(next(sent for sent in first.engine.open_jobs if not is_walk(sent)))
        first.settle()
    assert "w" in first.waiting_jobs
    second = read_back(again(tmp_path))
    second.settle()
    for _ in range(8):
        second.finish_next()
    numbers = [frame.keyframe for frame in frames_of(second)]
    assert numbers == sorted(numbers)
    assert all(numbers.count(number) == 10 for number in (3, 4))


def test_frames_that_end_on_the_way_to_a_keyframe_fade_to_it_without_any_engine(tmp_path: Path) -> None:
    first = run(tmp_path, keyframes=1, frames_per_job=5)
    first.engine.finish(next(sent for sent in first.engine.open_jobs if not is_walk(sent)))
    first.settle()
    assert first.controller.keyframes == 2
    first.engine.finish(next(sent for sent in first.engine.open_jobs if is_walk(sent)))
    first.settle()
    second = read_back(again(tmp_path, engine=nobody()))
    frames = frames_of(second)
    assert [frame.joint for frame in frames] == [Joint.FADE] + [Joint.WALK] * 5 + [Joint.FADE]
    assert frames[-1].data == first.controller.newest.picture


def test_after_a_power_cut_that_took_the_frames_ahead_the_display_fades_into_what_comes(
    tmp_path: Path,
) -> None:
    first = run(tmp_path)
    finish_all(first)
    shown(first, AWAKE_S + 0.65)
    for number, path in enumerate((tmp_path / "output" / ".resume" / "ahead").iterdir()):
        path.write_bytes(b"" if number % 2 else bytes(1000))
    for path in sorted((tmp_path / "output" / "frames").iterdir())[-2:]:
        path.unlink()
    second = read_back(again(tmp_path))
    assert second.buffer.ready_s == 0.0
    assert second.playback.newest is not None
    second.settle()
    finish_all(second)
    assert len(shown(second, 3.0)) >= 20


def test_without_any_frame_left_the_last_keyframe_is_shown(tmp_path: Path) -> None:
    first = run(tmp_path)
    shutil.rmtree(tmp_path / "output" / "frames")
    shutil.rmtree(tmp_path / "output" / ".resume" / "ahead")
    second = again(tmp_path, engine=nobody())
    assert second.playback.newest.kind is FrameKind.KEYFRAME
    assert second.playback.newest.path.read_bytes() == first.controller.newest.picture


def test_only_what_is_still_needed_lies_in_the_folder(tmp_path: Path) -> None:
    running = dream(tmp_path, resumes=True, buffer_s=3.0)
    running.settle()
    while running.controller.keyframes < 30:
        while running.engine.open_jobs:
            running.finish_next()
        shown(running, 0.5)
        running.settle()
    folder = tmp_path / "output" / ".resume"
    assert len(list(folder.glob("*.picture"))) <= 7
    ahead = running.buffer.end_place - running.buffer.next_place
    assert ahead <= len(list((folder / "ahead").iterdir())) <= ahead + 2


def test_words_and_their_clock_go_on(tmp_path: Path) -> None:
    first = dream(tmp_path, resumes=True)
    first.settle()
    theme = first.controller.newest
    assert theme is None
    first.clock.now += 290.0  # of 300
    first.finish_next()
    assert first.controller.newest.prompt.theme == "sea"
    second = again(tmp_path)
    second.settle()
    assert second.engine.sent[0].request.prompt == "a quiet sea"
    second.clock.now += 9.0
    second.finish_next()
    assert second.engine.sent[1].request.prompt == "a quiet sea"
    second.clock.now += 2.0
    second.finish_next()
    assert "a quiet sky" in [sent.request.prompt for sent in second.engine.sent]


def test_counts_go_on(tmp_path: Path) -> None:
    first = run(tmp_path, keyframes=2)
    first.finish_next([black_picture()])
    assert first.controller.setbacks.rejected == 1
    first.wait(2.0)
    first.finish_next()
    while first.engine.open_jobs and first.controller.keyframes < 4:
        first.finish_next()
    second = again(tmp_path)
    assert second.controller.keyframes == 4
    assert second.controller.setbacks.rejected == 1
    assert second.gaps.in_betweens > 0


def test_chance_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    uninterrupted = [sent.request.seed for sent in run(whole, 6).engine.sent if hasattr(sent.request, "seed")]
    seeds: list[int] = []
    for _ in range(3):
        part = run(parts, 2)
        seeds += [sent.request.seed for sent in part.engine.sent if hasattr(sent.request, "seed")][:2]
    assert seeds == uninterrupted[:6]


def test_another_seed_in_the_settings_is_another_dream_of_chance(tmp_path: Path) -> None:
    first = run(tmp_path, 1, seed=1)
    second = again(tmp_path, seed=2)
    second.settle()
    third = again(tmp_path, seed=2)
    third.settle()
    assert second.engine.sent[0].request.seed == third.engine.sent[0].request.seed
    assert second.engine.sent[0].request.seed not in [
        sent.request.seed for sent in first.engine.sent if hasattr(sent.request, "seed")
    ]


def test_the_point_is_there_before_anybody_is_told_of_the_keyframe(tmp_path: Path) -> None:
    told: list[int] = []
    running = dream(tmp_path, resumes=True)

    def hear(*_: object) -> None:
        told.append(dream(tmp_path, resumes=True).controller.newest.number)

    running.controller.on_keyframe = hear
    running.settle()
    running.finish_next()
    running.finish_next()
    assert told == [1, 2]


def test_keyframes_of_another_model_are_continued_from_their_picture(tmp_path: Path) -> None:
    first = run(tmp_path)

    class OtherModel(MemoryEngine):
        def connect(self) -> Any:
            self.facts = replace(super().connect(), checkpoint="another")
            return self.facts

    second = again(tmp_path, engine=OtherModel())
    second.settle()
    assert isinstance(second.engine.sent[0].request, ImageToImage)
    assert second.engine.pictures == [first.controller.newest.picture]
    second.finish_next()
    assert second.waiting_jobs.count("w") == 0
    second.finish_next()
    second.finish_next()
    assert "w" in second.waiting_jobs


def test_without_its_latent_a_keyframe_is_continued_from_its_picture(tmp_path: Path) -> None:
    run(tmp_path)
    for path in (tmp_path / "output" / ".resume").glob("*.latent"):
        path.unlink()
    second = again(tmp_path)
    second.settle()
    assert isinstance(second.engine.sent[0].request, ImageToImage)
    second.finish_next()
    assert second.controller.newest.number == 4


def test_without_its_picture_the_dream_begins_anew_but_words_and_numbers_do_not(tmp_path: Path) -> None:
    run(tmp_path)
    for path in (tmp_path / "output" / ".resume").glob("*.picture"):
        path.write_bytes(b"dust")
    second = again(tmp_path)
    assert second.controller.newest is None
    second.settle()
    assert is_fresh(second.engine.sent[0])


def test_a_latent_that_no_engine_takes_is_given_up_after_three_tries(tmp_path: Path) -> None:
    run(tmp_path)
    second = again(tmp_path)
    for _ in range(3):
        second.wait(40.0)
        refused = next(sent for sent in second.engine.open_jobs if not is_walk(sent))
        assert isinstance(refused.request, DreamStep)
        refused.job.end(Failed(refused.job.prompt_id, FailureKind.EXECUTION, "no such latent"))
    second.wait(40.0)
    assert is_fresh(next(sent for sent in second.engine.open_jobs if not is_walk(sent)))


def test_an_orderly_end_notes_how_far_the_clock_of_the_themes_has_come(tmp_path: Path) -> None:
    first = run(tmp_path, 1)
    first.clock.now += 299.0
    first.controller.stop()
    second = again(tmp_path)
    second.settle()
    assert second.engine.sent[0].request.prompt == "a quiet sea"
    second.clock.now += 2.0
    second.finish_next()
    assert "sky" in second.engine.sent[1].request.prompt


def test_a_disk_that_refuses_the_point_does_not_stop_the_dream_and_is_told_of_until_it_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = run(tmp_path, 2)
    assert running.controller.resume_problem is None

    def refuse(*_: object) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        while running.controller.keyframes < 3:
            running.finish_next()
        assert "no space" in (running.controller.resume_problem or "")
    assert again(tmp_path).controller.newest.number == 2
    while running.controller.keyframes < 4:
        running.finish_next()
    assert running.controller.resume_problem is None
    assert again(tmp_path).controller.newest.number == 4


def test_a_start_without_an_engine_loses_nothing(tmp_path: Path) -> None:
    first = run(tmp_path)
    for _ in range(3):
        second = again(tmp_path, engine=MemoryEngine(refuse=EngineUnreachable("http://x", "gone")))
        second.settle()
        second.controller.stop()
    third = again(tmp_path)
    assert third.controller.newest.number == first.controller.newest.number
    assert third.controller.keyframes == first.controller.keyframes


def test_in_the_mode_without_walks_too_the_next_one_continues(tmp_path: Path) -> None:
    run(tmp_path, mode="img2img")
    second = again(tmp_path, mode="img2img")
    second.settle()
    assert isinstance(second.engine.sent[0].request, DreamStep)
    assert second.gaps.gap_s == GAP_S


def test_the_kept_picture_is_the_one_that_was_received(tmp_path: Path) -> None:
    first = dream(tmp_path, resumes=True)
    first.settle()
    first.finish_next([picture(77)])
    assert again(tmp_path).controller.newest.picture == first.controller.newest.picture
