from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.engine import lexicon_words as words
from backend.engine.lexicon import read
from backend.engine.palette import style_of
from backend.engine.style import FORMS


def test_colours_forms_and_moods_are_read() -> None:
    reading = read("glowing teal veils in dark mist")
    assert [value for value, _ in reading.colours] == [words.COLOURS["teal"]]
    assert max(reading.forms, key=lambda form: reading.forms[form]) == "veil"
    assert reading.moods["key"] < 0 < reading.moods["haze"]


def test_emphasis_counts() -> None:
    plain, strong = (read(text).colours[0][1] for text in ("teal sea", "(teal:1.5) sea"))
    assert strong == pytest.approx(1.5 * plain)


def test_the_place_of_a_text_heeds_words_not_spaces() -> None:
    assert read("Deep  sea").place == read("deep sea").place != read("deep see").place


def test_every_form_in_the_dictionary_can_be_painted() -> None:
    assert {form for entry in words.FORMS.values() for form in entry} == set(FORMS)


def test_a_form_in_the_negative_prompt_fades() -> None:
    text, nothing = read("crystals and smoke"), read("")
    with_all = style_of(text, nothing, 7.0).forms()
    without = style_of(text, read("smoke"), 7.0).forms()
    assert without.get("smoke", 0.0) < with_all["smoke"]


@given(st.text(max_size=400), st.text(max_size=60), st.floats(0.0, 100.0))
def test_any_text_gives_a_style_of_finite_numbers(text: str, negative: str, cfg: float) -> None:
    codes = style_of(read(text), read(negative), cfg).codes
    assert bool(codes.isfinite().all())
    assert float(codes.abs().max()) <= 1.3
