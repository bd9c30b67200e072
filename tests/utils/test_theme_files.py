from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import Problem
from backend.utils.theme_files import MAX_CHARS, PartOfDay, Theme, clean_text, parse_theme, read_theme


def parsed(text: str) -> Theme:
    theme, problems = parse_theme(text, "a.yaml", default_name="a")
    assert problems == ()
    assert theme is not None
    return theme


def refused(text: str) -> tuple[Problem, ...]:
    theme, problems = parse_theme(text, "a.yaml", default_name="a")
    assert theme is None
    assert problems
    return problems


def test_a_whole_theme_is_read() -> None:
    theme = parsed(
        "name: fog\ndescription: Grey.\nweight: 2\npositive:\n  - thick fog\n  - thin fog\n"
        "negative: sun\nmodifiers:\n  night: moon\n  morning: [dew, cold]\n"
    )
    assert (theme.name, theme.weight, theme.positive, theme.negative) == (
        "fog",
        2.0,
        ("thick fog", "thin fog"),
        "sun",
    )
    assert theme.modifiers == {PartOfDay.NIGHT: ("moon",), PartOfDay.MORNING: ("dew", "cold")}


def test_words_that_yaml_takes_for_booleans_or_dates_stay_text() -> None:
    assert parsed("positive: [yes, off, 2024-01-01]").positive == ("yes", "off", "2024-01-01")


def test_the_name_defaults_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep_sea.yaml"
    path.write_text("positive: water", encoding="utf-8")
    theme, _ = read_theme(path)
    assert theme is not None
    assert theme.name == "deep sea"


def test_an_unknown_key_is_named_with_its_line_and_a_suggestion() -> None:
    (problem,) = refused("positive: fog\nnegativ: sun\n")
    assert (problem.line, problem.key) == (2, "negativ")
    assert "did you mean negative?" in problem.wish


def test_a_key_given_twice_is_named_with_both_lines() -> None:
    (problem,) = refused("positive: fog\nnegative: a\nnegative: b\n")
    assert problem.line == 3
    assert "line 2" in problem.wish


def test_every_problem_of_a_file_comes_at_once() -> None:
    problems = refused("weight: heavy\npositive: [1, '']\nmodifiers: {noon: x}\nnegative: [a]\n")
    assert {problem.key for problem in problems} == {
        "weight",
        "positive[0]",
        "positive[1]",
        "modifiers.noon",
        "negative",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n- b",
        "just words",
        "positive: []",
        "name: x",
        "positive: {a: b}",
        "a: [b",
        "positive: !!python/object:os.system ls\nx: *y",
        "weight: 0\npositive: a",
        "weight: .nan\npositive: a",
        "positive: 12",
        "? [a, b]\n: c",
        'positive: "a\\0b"',
        'positive: "a\\ud800b"',
        f"positive: {'x' * (MAX_CHARS + 1)}",
        f"positive: {'x' * (MAX_CHARS - 3)}\nmodifiers: {{night: dark}}",
        "[" * 5000,
        "--- \npositive: a\n---\npositive: b\n",
    ],
)
def test_what_is_no_theme_is_refused_with_a_message(text: str) -> None:
    for problem in refused(text):
        assert problem.wish
        assert str(problem).isprintable()


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"name: a\npositive: \xff\xfe\n")
    theme, (problem,) = read_theme(path)
    assert theme is None
    assert problem.line == 2


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("positive: " + "x " * 600_000, encoding="utf-8")
    theme, (problem,) = read_theme(path)
    assert theme is None
    assert "at most" in problem.wish


@pytest.mark.timeout(20)
def test_a_pipe_among_the_themes_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    os.mkfifo(path)
    theme, (problem,) = read_theme(path)
    assert theme is None
    assert "not a regular file" in problem.wish


@given(st.text(max_size=300))
def test_clean_text_is_stable_or_refuses(text: str) -> None:
    try:
        cleaned = clean_text(text)
    except ValueError:
        return
    assert clean_text(cleaned) == cleaned
    cleaned.encode("utf-8")
    assert "\0" not in cleaned


def test_emoji_and_right_to_left_text_are_kept() -> None:
    assert clean_text("🌊  موج הים") == "🌊 موج הים"


@pytest.mark.parametrize(
    ("hour", "part"), [(0, "night"), (5, "morning"), (10, "day"), (16, "day"), (17, "evening"), (22, "night")]
)
def test_the_parts_of_the_day_begin_at_their_hours(hour: int, part: str) -> None:
    assert PartOfDay.of(datetime(2026, 1, 1, hour)) == part
