"""The measures by which a painter that only fades, blurs or repeats itself is found out."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.core.model_families import EMBEDDED
from backend.engine.lexicon_words import COLOURS
from backend.engine.painter import DreamPainter
from backend.engine.painting import Latent, Pixels
from backend.utils.theme_files import read_theme
from benchmarks.photos import photos
from tests.engine import measures

Gap = tuple[float, float]
"""Edge energy of the middle over the mean of its ends; decibels between the middle and their average."""

PROMPTS_FOLDER = Path(__file__).resolve().parents[2] / "prompts"
HEIGHT, WIDTH = 24, 40
AS_SHOWN = np.zeros((1, 4, EMBEDDED.height // 8, EMBEDDED.width // 8), np.float32)
SMALL = np.zeros((1, 4, 14, 24), np.float32)
DIALS = tuple(dial / 10 for dial in range(11))


@pytest.fixture(scope="module")
def painter() -> DreamPainter:
    return DreamPainter()


@pytest.fixture(scope="module")
def wordings() -> dict[str, list[tuple[str, str]]]:
    """(positive, negative) of each theme that ships."""
    themes = [read_theme(path)[0] for path in sorted(PROMPTS_FOLDER.glob("*.yaml"))]
    return {t.name: [(text, t.negative) for text in t.positive] for t in themes if t is not None}


def sampled(painter: DreamPainter, words: tuple[str, str], seed: int, **changed: Any) -> Latent:
    latent = changed.pop("latent", np.zeros((1, 4, HEIGHT, WIDTH), np.float32))
    said = {"seed": seed, "steps": 1, "cfg": 7.0, "denoise": 1.0, "on_step": lambda *_: None, **changed}
    return painter.sample(latent, painter.text(words[0]), painter.text(words[1]), **said)


def shown(painter: DreamPainter, latent: Latent) -> Pixels:
    return next(painter.decode(latent))


class Still:
    """A picture, what it was painted from, and its edge energy."""

    def __init__(self, painter: DreamPainter, latent: Latent) -> None:
        self.latent = latent
        self.pixels = shown(painter, latent)
        self.energy = measures.edge_energy(self.pixels)


def gap(painter: DreamPainter, first: Still, last: Still) -> Gap:
    middle = Still(painter, measures.walked(first.latent, last.latent, 0.5))
    average = (first.pixels.astype(np.float32) + last.pixels) / 2
    energy = 2 * middle.energy / (first.energy + last.energy)
    return energy, measures.psnr(middle.pixels.astype(np.float32), average)


def gaps(painter: DreamPainter, choose: Callable[[random.Random], tuple[Any, Any]], count: int) -> list[Gap]:
    rng = random.Random(50)
    found = []
    for _ in range(count):
        first, last = (Still(painter, sampled(painter, words, rng.randrange(2**40))) for words in choose(rng))
        found.append(gap(painter, first, last))
    return found


def whole(found: list[Gap]) -> bool:
    """Neither blurred nor cross-faded half-way."""
    return min(energy for energy, _ in found) >= 0.9 and max(decibels for _, decibels in found) < 30


@pytest.fixture(scope="module")
def every(wordings: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str]]:
    return [words for theme in wordings.values() for words in theme]


def test_no_gap_within_a_prompt_loses_its_edges_half_way(
    painter: DreamPainter, every: list[tuple[str, str]]
) -> None:
    assert whole(gaps(painter, lambda rng: (rng.choice(every),) * 2, 20))


def test_no_gap_between_any_two_prompts_loses_its_edges_half_way(
    painter: DreamPainter, every: list[tuple[str, str]]
) -> None:
    assert whole(gaps(painter, lambda rng: (rng.choice(every), rng.choice(every)), 20))


@pytest.mark.parametrize("count", [12, pytest.param(300, marks=pytest.mark.long)])
def test_no_gap_loses_its_edges_half_way_at_the_size_people_see(
    painter: DreamPainter, every: list[tuple[str, str]], count: int
) -> None:
    rng = random.Random(51)
    stills = (
        Still(painter, sampled(painter, rng.choice(every), rng.randrange(2**40), latent=AS_SHOWN))
        for _ in range(count + 1)
    )
    assert whole([gap(painter, first, last) for first, last in itertools.pairwise(stills)])


@pytest.mark.parametrize("index", range(10))
def test_encoding_a_painted_picture_keeps_its_masses(
    painter: DreamPainter, wordings: dict[str, list[tuple[str, str]]], index: int
) -> None:
    theme = list(wordings.values())[index]
    for seed, words in enumerate(theme):
        picture = shown(painter, sampled(painter, words, seed))
        assert measures.correlation(picture, shown(painter, painter.encode(picture))) >= 0.8


@pytest.mark.parametrize("name", [*photos(16, 16), "poster", "night"])
def test_encoding_a_photo_keeps_its_masses(painter: DreamPainter, name: str) -> None:
    picture = {**photos(320, 192), "poster": _poster(), "night": _night()}[name]
    assert measures.correlation(picture, shown(painter, painter.encode(picture))) >= 0.8


@pytest.mark.parametrize("name", [*photos(16, 16), "poster", "night"])
def test_encoding_a_photo_keeps_its_lights_and_its_shadows(painter: DreamPainter, name: str) -> None:
    picture = {**photos(768, 432), "poster": _poster(), "night": _night()}[name]
    again = shown(painter, painter.encode(picture))
    for share in (0.01, 0.5, 0.997):
        assert measures.lightness_at(again, share) == pytest.approx(
            measures.lightness_at(picture, share), abs=0.09
        )


def _poster() -> Pixels:
    """Nothing but black, white and one red: as much contrast as there is."""
    picture = np.full((192, 320, 3), 255, np.uint8)
    picture[:, :120] = 0
    picture[60:130, 80:240] = (220, 20, 30)
    picture[150:, 200:] = 0
    return picture


def _night() -> Pixels:
    """Almost black, with one lamp and its light on the ground."""
    down, across = np.mgrid[0:192, 0:320]
    lamp = np.exp(-((across - 220) ** 2 + (down - 70) ** 2) / 700)
    ground = np.exp(-((across - 220) ** 2 / 4000 + (down - 165) ** 2 / 200))
    light = 200 * lamp[..., None] * (1.0, 0.85, 0.5) + 60 * ground[..., None] * (0.7, 0.6, 0.5)
    noise = np.random.default_rng(2).normal(0, 2, (192, 320, 1))
    return np.clip(light + noise + (4, 6, 14), 0, 255).astype(np.uint8)


WORDS = ("red", "orange", "gold", "green", "teal", "turquoise", "blue", "violet", "magenta", "amber")
SUBJECTS = ("soft {} clouds", "{} crystals in mist", "slow {} waves")


def of_themes(wordings: dict[str, list[tuple[str, str]]]) -> list[str]:
    """Three prompts of each theme, with one gap where they first name a colour, and no other colour."""
    shipped = (text for theme in wordings.values() for text, _ in theme[:3])
    texts = (re.sub(r"\w+", _gap_for_colour, text) for text in shipped)
    first = (text.replace("{}", "{0}", 1).replace("{}", "") for text in texts if "{}" in text)
    return [text.replace("{0}", "{}") for text in first]


def _gap_for_colour(word: re.Match[str]) -> str:
    return "{}" if word[0].lower() in COLOURS else word[0]


@pytest.mark.parametrize("subjects", ["plain", "of the themes"])
def test_a_colour_word_is_recovered_from_the_mean_hue_and_its_negation_moves_away(
    painter: DreamPainter, wordings: dict[str, list[tuple[str, str]]], subjects: str
) -> None:
    texts = 10 * list(SUBJECTS) if subjects == "plain" else of_themes(wordings)
    assert len(texts) == 30
    near = away = 0
    for index, text in enumerate(texts):
        word = WORDS[index // 3]
        said, colour = text.format(word), COLOURS[word]
        picture = shown(painter, sampled(painter, (said, ""), index % 3))
        without = shown(painter, sampled(painter, (said, word), index % 3))
        near += measures.hue_gap(picture, colour) < np.pi / 6
        away += measures.pull_toward(without, colour) < 0.6 * measures.pull_toward(picture, colour)
    assert near >= 27
    assert away == 30


def test_prompts_with_one_seed_are_told_apart(
    painter: DreamPainter, wordings: dict[str, list[tuple[str, str]]]
) -> None:
    starts = [sampled(painter, words, 7) for theme in wordings.values() for words in theme[:2]]
    again = [
        sampled(painter, words, 8, latent=start, denoise=0.2)
        for start, words in zip(starts, [w for t in wordings.values() for w in t[:2]], strict=True)
    ]
    assert measures.found_again(*([shown(painter, one) for one in all_] for all_ in (starts, again))) >= 0.95


def test_seeds_with_one_prompt_are_told_apart(
    painter: DreamPainter, wordings: dict[str, list[tuple[str, str]]]
) -> None:
    words = wordings["nebula"][0]
    starts = [sampled(painter, words, seed) for seed in range(20)]
    again = [sampled(painter, words, 99, latent=start, denoise=0.2) for start in starts]
    assert measures.found_again(*([shown(painter, one) for one in all_] for all_ in (starts, again))) >= 0.95


def test_the_step_between_pictures_grows_with_denoise(
    painter: DreamPainter, wordings: dict[str, list[tuple[str, str]]]
) -> None:
    steps = np.zeros(len(DIALS))
    for seed, theme in enumerate(wordings.values()):
        start = sampled(painter, theme[0], seed, latent=SMALL)
        picture = shown(painter, start)
        for index, dial in enumerate(DIALS):
            dreamt = sampled(painter, theme[0], seed + 60, latent=start, denoise=dial)
            steps[index] += measures.step(picture, shown(painter, dreamt))
    assert steps[0] == 0.0
    assert measures.spearman(list(steps)) >= 0.95


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_thousand_keyframes_later_the_dream_is_alive(
    painter: DreamPainter, wordings: dict[str, list[tuple[str, str]]]
) -> None:
    every = [words for theme in wordings.values() for words in theme]
    latent = sampled(painter, every[0], 0)
    before = shown(painter, latent)
    for turn in range(1, 1001):
        latent = sampled(painter, every[turn // 15 % len(every)], turn, latent=latent, denoise=0.45)
        assert 0.8 < float(latent.std()) < 1.3
        if turn % 50 == 0:
            picture = shown(painter, latent)
            assert measures.lab(picture)[0].std() > 0.05
            assert measures.step(before, picture) > 0.02
            before = picture


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("aurora borealis, veils of emerald light", "stained glass window"),
        ("ink in water", "embers in the dark"),
        ("frost crystals", "moss after rain, ferns"),
    ],
)
def test_no_step_of_a_walk_jumps_where_another_form_comes(
    painter: DreamPainter, first: str, last: str
) -> None:
    ends = [
        sampled(painter, (words, ""), 50 * place, latent=SMALL) for place, words in enumerate((first, last))
    ]
    shares = np.linspace(0.0, 1.0, 101)
    pictures = [measures.lab(shown(painter, measures.walked(*ends, float(share)))) for share in shares]
    steps = [float(np.sqrt(((b - a) ** 2).mean())) for a, b in itertools.pairwise(pictures)]
    assert max(steps) < 3.0 * float(np.median(steps))
