from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.engine.painter import DreamPainter
from backend.engine.painting import Latent, Painter, Pixels
from tests.engine.measures import lab, step, walked

AURORA = "veils of emerald and teal light in a midnight blue sky"
HEIGHT, WIDTH = 24, 40
PROMPTS = (
    AURORA,
    "cracks of orange light in black strata",
    "stained glass, sapphire blue, ruby and gold",
    "black ink unfolding in milk white water",
    "pink and cyan nebula, scattered stars",
)


@pytest.fixture(scope="module")
def painter() -> DreamPainter:
    return DreamPainter()


def sampled(painter: DreamPainter, text: str = AURORA, **changed: Any) -> Latent:
    latent = changed.pop("latent", np.zeros((1, 4, HEIGHT, WIDTH), np.float32))
    said = {"seed": 1, "steps": 2, "cfg": 7.0, "denoise": 1.0, "on_step": lambda *_: None}
    negative = painter.text(changed.pop("negative", ""))
    return painter.sample(latent, painter.text(text), negative, **{**said, **changed})


def picture(painter: DreamPainter, latent: Latent) -> Pixels:
    return next(painter.decode(latent))


def test_it_keeps_the_contract_of_a_painter(painter: DreamPainter) -> None:
    contract: Painter = painter
    latent = sampled(painter, latent=np.zeros((3, 4, HEIGHT, WIDTH), np.float32))
    assert latent.shape == (3, 4, HEIGHT, WIDTH)
    assert latent.dtype == np.float32
    pictures = list(contract.decode(latent))
    assert [p.shape for p in pictures] == [(8 * HEIGHT, 8 * WIDTH, 3)] * 3
    assert all(p.dtype == np.uint8 for p in pictures)
    assert contract.encode(pictures[0]).shape == (1, 4, HEIGHT, WIDTH)


def test_the_same_words_and_seed_give_the_same_bytes(painter: DreamPainter) -> None:
    one, other = sampled(painter), sampled(DreamPainter())
    assert one.tobytes() == other.tobytes()
    assert picture(painter, one).tobytes() == picture(painter, other).tobytes()


def test_a_latent_in_a_batch_is_painted_as_it_is_alone(painter: DreamPainter) -> None:
    batch = np.concatenate([sampled(painter, seed=seed) for seed in (1, 2, 3)])
    together = list(painter.decode(batch))
    assert [p.tobytes() for p in together] == [picture(painter, batch[i : i + 1]).tobytes() for i in range(3)]


def test_every_step_is_told_with_its_latent_and_a_raise_ends_the_sampling(painter: DreamPainter) -> None:
    told: list[tuple[int, int]] = []
    latents: list[bytes] = []

    def remember(done: int, total: int, latent: Latent) -> None:
        told.append((done, total))
        latents.append(latent.tobytes())

    end = sampled(painter, steps=4, on_step=remember)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(set(latents)) == 4
    assert latents[-1] == end.tobytes()

    def stop(done: int, total: int, _latent: Latent) -> None:
        raise InterruptedError(f"{done} of {total}")

    with pytest.raises(InterruptedError, match="1 of 4"):
        sampled(painter, steps=4, on_step=stop)


def test_the_number_of_steps_does_not_change_where_they_lead(painter: DreamPainter) -> None:
    start = sampled(painter, seed=5)
    few, many = (sampled(painter, latent=start, denoise=0.5, steps=steps) for steps in (1, 9))
    assert np.array_equal(few, many)


def test_denoise_is_a_dial_from_the_same_to_another_picture(painter: DreamPainter) -> None:
    start = sampled(painter, seed=8)
    shown = picture(painter, start)
    assert np.array_equal(sampled(painter, latent=start, denoise=0.0), start)
    dials = (0.05, 0.15, 0.3, 0.45, 0.6, 0.8, 1.0)
    steps = [
        step(shown, picture(painter, sampled(painter, latent=start, seed=9, denoise=dial))) for dial in dials
    ]
    assert steps == sorted(steps)
    assert steps[0] < 0.25 * steps[-1]
    assert np.array_equal(sampled(painter, latent=start, seed=9), sampled(painter, seed=9))


def test_the_given_latent_is_not_written_to(painter: DreamPainter) -> None:
    start = sampled(painter)
    kept = start.copy()
    sampled(painter, latent=start, denoise=0.5)
    list(painter.decode(start))
    assert np.array_equal(start, kept)
    start.flags.writeable = False
    list(painter.decode(start))


@pytest.mark.parametrize("text", PROMPTS)
def test_latents_have_about_unit_variance(painter: DreamPainter, text: str) -> None:
    latent = sampled(painter, text, latent=np.zeros((1, 4, 54, 96), np.float32))
    assert 0.85 < float(latent.std()) < 1.25
    assert abs(float(latent.mean())) < 0.1


def test_a_loop_of_keyframes_neither_fades_nor_explodes(painter: DreamPainter) -> None:
    latent = sampled(painter)
    for seed in range(150):
        latent = sampled(painter, PROMPTS[seed // 10 % 5], latent=latent, seed=seed, steps=1, denoise=0.45)
        assert 0.8 < float(latent.std()) < 1.3
    seen = lab(picture(painter, latent))
    assert seen[0].std() > 0.04
    assert np.hypot(seen[1], seen[2]).mean() > 0.015


def test_a_loop_that_repeats_one_seed_stays_alive(painter: DreamPainter) -> None:
    latent = sampled(painter)
    for _ in range(60):
        latent = sampled(painter, latent=latent, steps=1, denoise=0.45)
    assert 0.8 < float(latent.std()) < 1.3


def test_near_latents_give_near_pictures(painter: DreamPainter) -> None:
    first, last = sampled(painter, seed=1), sampled(painter, seed=2)
    near = walked(first, last, 0.02)
    whole = step(picture(painter, first), picture(painter, last))
    assert step(picture(painter, first), picture(painter, near)) < 0.15 * whole


def test_unknown_words_have_a_place_of_their_own(painter: DreamPainter) -> None:
    one, other = (picture(painter, sampled(painter, text)) for text in ("qwzx", "zzyxx blorf"))
    assert step(one, other) > 0.02


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 9), (8, 8), (13, 7), (5, 60)])
def test_any_size_is_painted(painter: DreamPainter, height: int, width: int) -> None:
    latent = sampled(painter, latent=np.zeros((1, 4, height, width), np.float32))
    shown = picture(painter, latent)
    assert shown.shape == (8 * height, 8 * width, 3)
    assert painter.encode(shown).shape == latent.shape
    assert np.isfinite(painter.encode(shown)).all()


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1e30])
def test_a_latent_from_elsewhere_is_painted_without_a_fuss(painter: DreamPainter, value: float) -> None:
    latent = np.full((1, 4, 8, 8), value, np.float32)
    assert picture(painter, latent).shape == (64, 64, 3)
    assert np.isfinite(sampled(painter, latent=latent, denoise=0.5)).all()
    noise = np.random.default_rng(1).standard_normal((1, 4, 16, 16)).astype(np.float32)
    assert picture(painter, noise).std() > 3


def test_gradients_are_dithered(painter: DreamPainter) -> None:
    shown = picture(painter, sampled(painter, latent=np.zeros((1, 4, 54, 96), np.float32)))
    same = (np.diff(shown[..., 1].astype(int), axis=1) == 0).mean()
    assert same < 0.6


def test_importing_the_painter_leaves_the_threads_alone() -> None:
    source = "".join(path.read_text() for path in Path("backend/engine").glob("*.py"))
    assert source.count("set_num_threads") == 1
