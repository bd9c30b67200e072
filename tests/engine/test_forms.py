from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from backend.engine import canvas, content
from backend.engine.forms import FORMS
from backend.engine.forms_grown import frond_tile
from backend.engine.forms_ink import plume_tile
from backend.engine.forms_water import drop_tile, rain_tile
from backend.engine.lexicon import read
from backend.engine.painting import Window
from backend.engine.palette import style_of
from backend.engine.style import FORMS as CARRIED
from backend.engine.style import PLAIN, Style, join
from tests.engine.measures import lab, step

HEIGHT, WIDTH = 24, 40
EVERY_FORM = pytest.mark.parametrize("name", list(FORMS))


def latent(name: str, fields: Tensor) -> Tensor:
    codes = PLAIN.codes.clone()
    codes[12 : 12 + len(CARRIED)] = torch.tensor([float(form == name) for form in CARRIED])
    return join(fields, Style(codes))


def test_what_a_latent_can_carry_can_be_painted() -> None:
    assert set(FORMS) == set(CARRIED)


@EVERY_FORM
def test_a_form_fills_its_picture_with_something_to_see(name: str) -> None:
    light = lab(canvas.paint(latent(name, content.field(1, HEIGHT, WIDTH))).numpy())[0]
    assert light.std() > 0.04
    assert 0.1 < light.mean() < 0.9


@EVERY_FORM
def test_a_form_moves_little_when_the_latent_moves_little(name: str) -> None:
    one, other = content.field(1, HEIGHT, WIDTH), content.field(2, HEIGHT, WIDTH)
    shown, near, far = (
        canvas.paint(latent(name, content.toward(one, other, share))).numpy() for share in (0.0, 0.02, 1.0)
    )
    assert step(shown, near) < 0.2 * step(shown, far)


@EVERY_FORM
def test_a_form_is_the_same_in_a_window(name: str) -> None:
    one = latent(name, content.field(3, 48, 64))
    window = Window(160, 256, 200, 320)
    whole = canvas.paint(one).numpy()[window.rows, window.columns].astype(int)
    assert np.abs(whole - canvas.paint(one, window).numpy()).max() <= 2


@EVERY_FORM
def test_a_form_does_not_speckle(name: str) -> None:
    """A lone pixel unlike all around it would be noise; edges and lines run on."""
    light = lab(canvas.paint(latent(name, content.field(4, 48, 80))).numpy())[0]
    around = np.stack([np.roll(light, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j])
    alone = np.maximum(light - around.max(0), around.min(0) - light)[1:-1, 1:-1]
    assert np.mean(alone > 0.04) < 2e-4


@pytest.mark.parametrize("tile", [drop_tile, rain_tile, frond_tile, plume_tile])
def test_a_tile_is_finite_and_goes_round_without_a_seam(tile: Callable[[], Tensor]) -> None:
    drawn = tile()
    assert bool(drawn.isfinite().all())
    assert torch.equal(drawn[..., 0, :], drawn[..., -1, :])
    assert torch.equal(drawn[..., 0], drawn[..., -1])


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("quiet drizzle, rain", "rain"),
        ("dew on grass, droplets", "drop"),
        ("fern fronds and feathers", "frond"),
        ("ink sinking, feathered edges", "ink"),
    ],
)
def test_words_of_wet_things_bring_their_forms(text: str, form: str) -> None:
    weights = style_of(read(text), read(""), 7.0).forms()
    assert max(weights, key=lambda name: weights[name]) == form
