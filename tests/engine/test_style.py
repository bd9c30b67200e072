from __future__ import annotations

import pytest
import torch
from torch import Tensor

from backend.engine import content
from backend.engine.style import DIALS, FORMS, SIZE, Style, join, split
from backend.interpolation.spherical_lerp import slerp

HEIGHT, WIDTH = 24, 40


def codes(seed: int) -> Tensor:
    return torch.rand(SIZE, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8


def carried(seed: int) -> Tensor:
    return join(content.field(seed, HEIGHT, WIDTH), Style(codes(seed)))


@pytest.mark.parametrize("seed", range(5))
def test_every_number_of_a_style_is_read_back_from_the_latent(seed: int) -> None:
    _, style = split(carried(seed))
    assert torch.allclose(style.codes, codes(seed), atol=0.03)


@pytest.mark.parametrize("index", range(SIZE))
def test_no_number_of_a_style_leaks_into_another(index: int) -> None:
    one = torch.zeros(SIZE)
    one[index] = 1.0
    plain = content.field(3, HEIGHT, WIDTH)
    with_it, without = (split(join(plain, Style(values)))[1].codes for values in (one, torch.zeros(SIZE)))
    assert torch.allclose(with_it - without, one, atol=0.03)


def test_a_walk_on_the_sphere_mixes_styles_without_exaggerating_them() -> None:
    half = slerp(carried(1)[None], carried(2)[None], torch.tensor([0.5]))[0, 0]
    _, style = split(half)
    assert torch.allclose(style.codes, (codes(1) + codes(2)) / 2, atol=0.06)


def test_the_content_is_blind_to_the_style() -> None:
    plain = content.field(4, HEIGHT, WIDTH)
    one, other = (split(join(plain, Style(codes(seed))))[0] for seed in (1, 2))
    assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("name", FORMS)
def test_one_form_alone_is_read_as_one_form_alone(name: str) -> None:
    colours = {key: [0.5, 0.0, 0.0] for key in ("shadow", "mid", "light", "accent")}
    style = Style.build(colours, {name: 1.0}, dict.fromkeys(DIALS, 0.5))
    found = split(join(content.field(5, HEIGHT, WIDTH), style))[1]
    assert found.forms() == {name: pytest.approx(1.0)}
    assert found.dial("film") == pytest.approx(0.5, abs=0.03)
