"""The loop, killed at any moment and begun again: what it goes on from."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.core.workflow_builder import DreamStep, ImageToImage
from backend.errors import EngineUnreachable
from backend.interpolation.latent_encoder import read_latents
from tests.core.test_controller import GAP_S, Clock, Dream, dream
from tests.fakes.memory_engine import MemoryEngine, black_picture, is_fresh, picture

LATER = 5_000.0


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


def test_the_gap_to_the_first_new_keyframe_is_walked_from_the_last_old_one(tmp_path: Path) -> None:
    run(tmp_path)
    second = again(tmp_path)
    second.settle()
    second.finish_next()
    assert second.waiting_jobs.count("w") == 1


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
    assert first.controller.rejected == 1
    first.wait(2.0)
    first.finish_next()
    while first.engine.open_jobs and first.controller.keyframes < 4:
        first.finish_next()
    second = again(tmp_path)
    assert second.controller.keyframes == 4
    assert second.controller.rejected == 1
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
        assert isinstance(second.engine.open_jobs[-1].request, DreamStep)
        second.engine.fail_next()
    second.wait(40.0)
    assert is_fresh(second.engine.open_jobs[-1])


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
