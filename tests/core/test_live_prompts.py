"""Themes are edited while it dreams: what is right counts within two seconds, what is wrong never."""

from __future__ import annotations

import os
from pathlib import Path

from tests.core.test_controller import Dream, dream
from tests.fakes.memory_engine import is_walk

PROMISED_S = 2.0
# The loop waits no longer than this between two turns, with nothing to do.
_TURN_S = 0.5


def edit(made: Dream, path: Path, text: str) -> None:
    path.write_text(text)
    os.utime(path, (made.clock.now, made.clock.now))


def within_two_seconds(made: Dream) -> None:
    until = made.clock.now + PROMISED_S - _TURN_S
    while made.clock.now < until:
        made.clock.now += _TURN_S
        made.controller.turn()


def next_words(made: Dream) -> str:
    made.settle()
    made.finish_next()
    made.settle()
    return str([sent for sent in made.engine.sent if not is_walk(sent)][-1].request.prompt)  # type: ignore[union-attr]


def test_a_theme_that_is_edited_is_dreamt_of_within_two_seconds(tmp_path: Path) -> None:
    made = dream(tmp_path, buffer_s=60.0)
    assert next_words(made) == "a quiet sea"
    edit(made, tmp_path / "prompts" / "sea.yaml", "name: sea\npositive: a loud sea\n")
    within_two_seconds(made)
    assert next_words(made) == "a loud sea"


def test_a_mistake_in_a_theme_leaves_its_words_and_is_told_until_it_is_mended(tmp_path: Path) -> None:
    made = dream(tmp_path, buffer_s=60.0)
    path = tmp_path / "prompts" / "sea.yaml"
    assert next_words(made) == "a quiet sea"
    edit(made, path, "name: sea\npositve: a loud sea\n")
    within_two_seconds(made)
    assert next_words(made) == "a quiet sea"
    (problem,) = [one for one in made.controller.prompt_problems if one.key == "positve"]
    assert (problem.line, "did you mean positive?" in problem.wish) == (2, True)
    edit(made, path, "name: sea\npositive: a loud sea\n")
    within_two_seconds(made)
    assert made.controller.prompt_problems == ()
    assert next_words(made) == "a loud sea"


def test_a_theme_that_comes_to_be_is_among_those_that_come(tmp_path: Path) -> None:
    made = dream(tmp_path)
    edit(made, tmp_path / "prompts" / "fire.yaml", "positive: a small fire\n")
    within_two_seconds(made)
    assert "fire" in made.controller._prompts.themes


def test_what_is_asked_for_is_read_with_the_next_turn(tmp_path: Path) -> None:
    made = dream(tmp_path)
    made.settle()
    edit(made, tmp_path / "prompts" / "fire.yaml", "positive: a small fire\n")
    made.controller.look_at_prompts()
    made.controller.turn()
    assert "fire" in made.controller._prompts.themes
