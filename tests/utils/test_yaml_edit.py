from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backend.config import DEFAULT_PATH, keys
from backend.utils.yaml_edit import NotEditable, set_value, unset, written
from backend.utils.yaml_lines import find, load, plain

FILE = """\
# mine
dream:   # how it goes on
  # 0.3 drifts
  denoise:   0.45     # wander
  size: "768x432"

display: {fps: 10, buffer_seconds: 12}  # the wall

comfyui:
    text_encoders:
      - clip_l   # the small one
      - t5
    # the last word
"""


def value(text: str, *path: str) -> Any:
    tree, problems = load(text, "file")
    assert problems == []
    found = find(tree, path)
    return None if found is None else plain(found)


@pytest.mark.parametrize(
    ("key", "new", "old_line", "new_line"),
    [
        ("dream.denoise", "0.35", "  denoise:   0.45     # wander", "  denoise:   0.35     # wander"),
        ("dream.size", "auto", '  size: "768x432"', "  size: auto"),
        (
            "display.fps",
            "24",
            "display: {fps: 10, buffer_seconds: 12}  # the wall",
            "display: {fps: 24, buffer_seconds: 12}  # the wall",
        ),
    ],
)
def test_only_the_value_changes(key: str, new: str, old_line: str, new_line: str) -> None:
    assert set_value(FILE, *key.split("."), new) == FILE.replace(old_line, new_line)


def test_a_list_of_lines_becomes_one_in_brackets_and_the_comment_after_it_stays() -> None:
    text = set_value(FILE, "comfyui", "text_encoders", "[t5]")
    assert text.endswith("comfyui:\n    text_encoders: [t5]\n    # the last word\n")


def test_a_key_that_is_not_there_is_put_below_the_last_of_its_section_as_far_in() -> None:
    text = set_value(FILE, "dream", "cfg", "3")
    assert text == FILE.replace('  size: "768x432"\n', '  size: "768x432"\n  cfg: 3\n')
    text = set_value(FILE, "comfyui", "vae", "x")
    assert "      - t5\n    vae: x\n    # the last word\n" in text
    text = set_value(FILE, "display", "keep_seconds", "5")
    assert "display: {keep_seconds: 5, fps: 10, buffer_seconds: 12}  # the wall" in text


def test_a_section_that_is_not_there_is_put_at_the_end() -> None:
    assert set_value(FILE, "log", "level", "debug") == f"{FILE}\nlog:\n  level: debug\n"
    assert set_value("a: {b: 1}", "log", "level", "debug") == "a: {b: 1}\n\nlog:\n  level: debug\n"
    assert set_value("{a: {b: 1}}", "log", "level", "debug") == "{log: {level: debug}, a: {b: 1}}"


@pytest.mark.parametrize("text", ["", "# only a comment\n", "\n\n"])
def test_an_empty_file_gets_its_first_section(text: str) -> None:
    edited = set_value(text, "log", "level", "debug")
    assert edited.startswith(text)
    assert value(edited, "log", "level") == "debug"


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("log:\n  # level: info\nx: {y: 1}\n", "log:\n  level: debug\n  # level: info\nx: {y: 1}\n"),
        ("log: # nothing\n", "log: # nothing\n  level: debug\n"),
        ("log: null\n", "log: {level: debug}\n"),
        ("log: {}\n", "log: {level: debug}\n"),
        ("{log: }", "{log: {level: debug}}"),
        ("log:\n  level:\n", "log:\n  level: debug\n"),
        ("log: {level}\n", "log: {level: debug}\n"),
        ("log: {level: , x: 1}\n", "log: {level: debug, x: 1}\n"),
        ("log:\n  level: >\n    in\n    fo\n  x: 1\n", "log:\n  level: debug\n  x: 1\n"),
        ("log:\n  level:\n    info\n", "log:\n  level: debug\n"),
        ("log:\r\n  level: info\r\n", "log:\r\n  level: debug\r\n"),
        ("log:\n  level: info", "log:\n  level: debug"),
        ("log: &x {level: info}\n", "log: &x {level: debug}\n"),
        ("---\nlog:\n  'level': info\n", "---\nlog:\n  'level': debug\n"),
    ],
)
def test_whatever_stands_there_is_replaced_where_it_stands(text: str, edited: str) -> None:
    assert set_value(text, "log", "level", "debug") == edited
    assert value(edited, "log", "level") == "debug"


def test_windows_line_ends_stay_such() -> None:
    edited = set_value("log:\r\n  level: info\r\n", "log", "form", "json")
    assert edited == "log:\r\n  level: info\r\n  form: json\r\n"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a:\n  b: 1\n  c: 2\n", "a:\n  c: 2\n"),
        ("a:\n  b: 1  # why\n  c: 2\n", "a:\n  # why\n  c: 2\n"),
        ("a:\n  # of b\n  b:\n    - 1\n    - 2\n\n  c: 2\n", "a:\n  # of b\n\n  c: 2\n"),
        ("a:\n  b: 1", "a:\n"),
        ("a: {b: 1, c: 2}\n", "a: {c: 2}\n"),
        ("a: {c: 2, b: 1}\n", "a: {c: 2}\n"),
        ("a: {b: 1}\n", "a: {}\n"),
        ("a: {c: 1}\n", "a: {c: 1}\n"),
        ("", ""),
    ],
)
def test_a_key_is_taken_out_and_nothing_else(text: str, left: str) -> None:
    assert unset(text, "a", "b") == left


@pytest.mark.parametrize("text", ["- a\n", "a: [1]\n", "a: b\n", "a: {b: 1\n", "a: {b: 1}\na: {c: 1}\n"])
def test_a_text_of_another_make_is_left_to_people(text: str) -> None:
    with pytest.raises(NotEditable):
        set_value(text, "a", "b", "2")


@pytest.mark.parametrize(
    ("words", "bare", "in_brackets"),
    [
        ("0.35", "0.35", "0.35"),
        ("2 GB", "2 GB", "2 GB"),
        ("[a, b]", "[a, b]", "[a, b]"),
        ("null", '"null"', '"null"'),
        ("", '""', '""'),
        ("a: b", '"a: b"', '"a: b"'),
        ("a #b", '"a #b"', '"a #b"'),
        ("a, b", "a, b", '"a, b"'),
        ("x}", "x}", '"x}"'),
        ("*x", '"*x"', '"*x"'),
        (" a", '" a"', '" a"'),
        ("'a'", "\"'a'\"", "\"'a'\""),
        ("a\nb", '"a\\nb"', '"a\\nb"'),
        ("http://host:8188", "http://host:8188", "http://host:8188"),
    ],
)
def test_words_are_quoted_only_where_they_must_be(words: str, bare: str, in_brackets: str) -> None:
    assert (written(words), written(words, in_brackets=True)) == (bare, in_brackets)


WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=30)


@given(WORDS)
def test_any_words_come_back_as_they_are(words: str) -> None:
    for text in (FILE, "dream: {size: 1}\n"):
        tree, problems = load(set_value(text, "dream", "size", words), "file")
        assert problems == []
        found = find(tree, ["dream", "size"])
        assert found is not None
        if found.mapping is None and found.sequence is None:
            assert found.written == words


@examples(max_examples=10, deadline=None)
@given(st.sampled_from(list(keys())), st.sampled_from(["7", "auto", "a b", "[x, y]", "{a: 1}"]))
def test_every_key_of_the_settings_file_can_be_set_and_the_rest_stays(key: str, words: str) -> None:
    text = DEFAULT_PATH.read_text("utf-8")
    section, name = key.split(".")
    edited = set_value(text, section, name, words)
    assert len(edited.splitlines()) == len(text.splitlines())
    assert sum(old != new for old, new in zip(text.splitlines(), edited.splitlines(), strict=True)) <= 1
    before, after = plain(load(text, "file")[0]), plain(load(edited, "file")[0])
    before[section].pop(name)
    assert after[section].pop(name) == plain(load(words, "value")[0])
    assert before == after
    without = plain(load(unset(text, section, name), "file")[0])
    assert (without[section] or {}) == before[section]
