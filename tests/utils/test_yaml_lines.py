from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.utils.yaml_lines import MAX_DEPTH, MAX_PROBLEMS, Located, find, line_of, load, plain


def values(text: str) -> Any:
    tree, problems = load(text, "file.yaml")
    assert problems == []
    return plain(tree)


def only_problem(text: str) -> Any:
    _, problems = load(text, "file.yaml")
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1:00", "1:00"),
        ("yes", "yes"),
        ("off", "off"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        ("1_000", "1_000"),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("2026-01-02", "2026-01-02"),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("2 GB", "2 GB"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(written: str, value: object) -> None:
    got = values(f"key: {written}\n")["key"]
    assert got == value
    assert type(got) is type(value)


def test_a_value_knows_its_line_and_how_it_was_written() -> None:
    tree, _ = load("# top\ndream:\n  denoise: 0.450\nlist:\n  - a\n  - b\n", "file.yaml")
    found = find(tree, ["dream", "denoise"])
    assert found == Located(0.45, 3, "0.450", 3)
    assert line_of(tree, ["dream"]) == 2
    assert line_of(tree, ["list", 1]) == 6
    assert line_of(tree, ["list", 7]) is None
    assert line_of(tree, ["dream", "cfg"]) is None


def test_the_second_of_two_equal_keys_is_a_problem_with_both_lines() -> None:
    problem = only_problem("dream:\n  cfg: 1\n  steps: 2\n  cfg: 3\n")
    assert (problem.line, problem.key, problem.value) == (4, "dream.cfg", "3")
    assert "line 2" in problem.wish


def test_the_first_of_two_equal_keys_is_kept() -> None:
    tree, _ = load("a: 1\na: 2\n", "file.yaml")
    assert plain(tree) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "line", "wish"),
    [
        ("a: 1\nb: [1, 2\n", 3, "expected ',' or ']'"),
        ("a: 1\n\tb: 2\n", 2, "not with tabs"),
        ("a: 1\nb: 'open\n", 3, "quoted scalar"),
        ("a: 1\nb: \x00\n", 2, "printable"),
        ("a: 1\nb: \x1b[31m\n", 2, "printable"),
        ("a: 1\n---\nb: 2\n", 2, "one document"),
        ("a: *nobody\n", 1, "anchor"),
        ("a: &a [1, *a]\n", 1, "anchor"),
        ("a: !!python/object:os.system x\n", 1, "no tags"),
        ('a: "\\ud800"\n', 1, "surrogates"),
        ('a: "\\0"\n', 1, "NUL"),
        ("? [1, 2]\n: 3\n", 1, "plain word"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, line: int, wish: str) -> None:
    problem = only_problem(text)
    assert problem.line == line
    assert wish in problem.wish


def test_an_empty_file_is_an_empty_value() -> None:
    assert load("# nothing but a comment\n", "file.yaml") == (Located(None, 1), [])


def test_aliases_share_a_value_but_stand_on_their_own_line() -> None:
    tree, problems = load("a: &words soft light\nb: *words\n", "file.yaml")
    assert problems == []
    assert plain(tree) == {"a": "soft light", "b": "soft light"}
    assert line_of(tree, ["b"]) == 2


def test_a_bomb_of_aliases_is_refused_before_it_grows() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]
    problem = only_problem("\n".join(["l0: &l0 [boom]", *levels]))
    assert problem.key == "size"


def test_too_deep_and_too_large_files_are_refused() -> None:
    assert only_problem("[" * (MAX_DEPTH + 1)).key == "depth"
    assert only_problem("[" * 100_000).key == "depth"
    assert only_problem("#" * 1_000_001).key == "size"


def test_the_list_of_problems_is_bounded() -> None:
    assert len(load("a: 1\n" * 1000, "file.yaml")[1]) == MAX_PROBLEMS


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcXYZ_", min_size=1), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_what_json_says_yaml_says_too(value: object) -> None:
    # JSON is a subset of YAML 1.2; what cannot stand raw in a file is written as an escape.
    text = json.dumps(value, ensure_ascii=False)
    assert values("".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)) == value


@given(st.text(max_size=200))
def test_no_text_at_all_makes_it_raise(text: str) -> None:
    tree, problems = load(text, "file.yaml")
    plain(tree)
    assert all(problem.line and problem.line >= 1 for problem in problems)
