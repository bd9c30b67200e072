from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.utils.tame_json import tame


def test_numbers_that_json_does_not_have_are_nothing() -> None:
    assert tame('{"a": NaN, "b": [Infinity, -Infinity, 1e400, 1.5]}') == {
        "a": None,
        "b": [None, None, None, 1.5],
    }


@pytest.mark.parametrize(
    "text", ['{"a\\ud800": ["\\udc00b", {"c": "\\uD83D"}]}', '["\\ud83d\\ude00", "\\udfff"]']
)
def test_halves_of_characters_can_be_written_afterwards(text: str) -> None:
    for given_as in (text, text.encode()):
        json.dumps(tame(given_as), ensure_ascii=False).encode("utf-8")


def test_whole_characters_stay() -> None:
    assert tame('"\\ud83d\\ude00 caf\\u00e9"') == "😀 café"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8))
def test_what_is_tame_already_comes_through(value: object) -> None:
    assert tame(json.dumps(value)) == value
