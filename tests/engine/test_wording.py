"""Prompts of several parts, and LoRAs, as they reach the painter and as they are seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backend.engine.oklab import oklab_from_hex, oklab_from_srgb
from backend.engine.painter import DreamPainter
from backend.engine.painting import Latent
from backend.engine.prompt_nodes import LORAS
from backend.engine.wording import (
    Loras,
    Phrase,
    Wording,
    averaged,
    combined,
    concatenated,
    read,
    read_unwished,
    words_of,
)

RED: Wording = (Phrase("red clouds"),)
BLUE: Wording = (Phrase("blue clouds"),)
GOLD = "d9a437"


@pytest.fixture(scope="module")
def painter() -> DreamPainter:
    return DreamPainter()


def sampled(painter: DreamPainter, wording: Wording, loras: Loras = ()) -> Latent:
    start = np.zeros((1, 4, 24, 40), np.float32)
    nothing = read_unwished(painter, (Phrase(""),))
    wished = read(painter, wording, loras)
    dials = {"seed": 1, "steps": 1, "cfg": 7.0, "denoise": 1.0}
    return painter.sample(start, wished, nothing, on_step=lambda *_: None, **dials)


def hue(painter: DreamPainter, wording: Wording, loras: Loras = ()) -> NDArray[np.float32]:
    """Mean Oklab a and b of the picture."""
    pixels = next(painter.decode(sampled(painter, wording, loras)))
    rgb = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255
    return oklab_from_srgb(rgb).mean((1, 2)).numpy()[1:]


def test_a_lora_is_named_by_its_words() -> None:
    assert words_of("dreamloop-black-noir.safetensors") == "black noir"
    assert words_of("Frost_v1.2.safetensors") == "Frost v1 2"


@pytest.mark.parametrize("name", LORAS)
def test_every_lora_of_the_engine_says_something_about_colour(painter: DreamPainter, name: str) -> None:
    ((reading, _),) = painter.text(words_of(name)).parts
    assert reading.colours


@pytest.mark.parametrize("text", ["calm blue fields", "emerald forest", "red veils of light"])
def test_a_lora_pulls_colours_its_way_in_proportion_to_its_strength(painter: DreamPainter, text: str) -> None:
    gold = np.array(oklab_from_hex(GOLD)[1:])
    strengths = (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
    far = [float(np.hypot(*(hue(painter, (Phrase(text),), (("gold", s),)) - gold))) for s in strengths]
    assert far == sorted(far, reverse=True)
    assert np.corrcoef(strengths, far)[0, 1] < -0.98
    assert far[strengths.index(1.0)] < 0.8 * far[strengths.index(0.0)]


def test_a_lora_of_no_strength_changes_nothing(painter: DreamPainter) -> None:
    plain = sampled(painter, RED)
    assert np.array_equal(sampled(painter, RED, (("gold", 0.0),)), plain)
    assert np.array_equal(sampled(painter, (Phrase("red clouds", loras=(("gold", 0.0),)),)), plain)


def test_a_lora_on_the_text_encoder_pulls_too_but_not_in_the_negative_prompt(painter: DreamPainter) -> None:
    gold = np.array(oklab_from_hex(GOLD)[1:])
    pulled = hue(painter, (Phrase("blue clouds", loras=(("gold", 1.0),)),))
    assert np.hypot(*(pulled - gold)) < np.hypot(*(hue(painter, BLUE) - gold))
    unwished = (Phrase("blue clouds", loras=(("gold", 1.0),)),)
    assert read_unwished(painter, unwished) == painter.text("blue clouds")


def test_loras_of_absurd_strength_still_paint(painter: DreamPainter) -> None:
    for strength in (-100.0, 100.0):
        latent = sampled(painter, RED, (("gold", strength), ("frost", strength)))
        assert np.isfinite(latent).all()
        assert next(painter.decode(latent)).std() > 2


def test_an_average_equals_its_ends_and_moves_evenly_between_them(painter: DreamPainter) -> None:
    assert averaged(RED, BLUE, 1.0) == RED
    assert averaged(RED, BLUE, 0.0) == BLUE
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    hues = np.array([hue(painter, averaged(RED, BLUE, share)) for share in shares])
    along = (hues - hues[0]) @ (hues[-1] - hues[0]) / np.square(hues[-1] - hues[0]).sum()
    np.testing.assert_allclose(along, shares, atol=0.1)


def test_two_combined_prompts_lie_between_both(painter: DreamPainter) -> None:
    red, blue, both = (hue(painter, wording) for wording in (RED, BLUE, combined(RED, BLUE)))
    assert np.hypot(*(both - red)) < np.hypot(*(blue - red))
    assert np.hypot(*(both - blue)) < np.hypot(*(blue - red))


def test_a_concatenated_prompt_reads_like_one_long_prompt() -> None:
    assert concatenated(RED, BLUE) == (Phrase("red clouds, blue clouds"),)
    two = concatenated(combined(RED, BLUE), (Phrase("rain"),))
    assert [phrase.text for phrase in two] == ["red clouds, rain", "blue clouds, rain"]


def test_a_lora_that_both_texts_had_counts_once_in_their_concatenation() -> None:
    gold = (("gold", 1.0),)
    (both,) = concatenated((Phrase("red", loras=gold),), (Phrase("blue", loras=gold),))
    assert both.loras == gold


def test_prompts_that_double_again_and_again_stay_small(painter: DreamPainter) -> None:
    wording: Wording = combined(RED, BLUE)
    for _ in range(40):
        wording = combined(concatenated(wording, wording), averaged(wording, BLUE, 0.5))
    assert len(wording) <= 16
    assert max(len(phrase.text) for phrase in wording) <= 20_000
    assert np.isfinite(sampled(painter, wording)).all()
