from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from itertools import islice

import numpy as np
import pytest

from backend.cache.collapse import (
    CollapseDetector,
    CollapseKind,
    CollapseSettings,
    CollapseState,
    Reference,
    calibrated,
)
from backend.cache.coverage import Vectors
from tests.cache.streams import DIMENSION, drift, healthy, oscillation, still, unit

Plant = Callable[[int, Vectors], Iterator[Vectors]]

PERCEPTUAL = calibrated("perceptual", "1")
PLANTS: dict[str, tuple[Plant, set[CollapseKind]]] = {
    "still": (still, {CollapseKind.STILL}),
    "drift": (drift, {CollapseKind.DRIFT, CollapseKind.STILL}),
    "oscillation": (oscillation, {CollapseKind.OSCILLATION}),
    "slow oscillation": (lambda seed, at: oscillation(seed, at, 3), {CollapseKind.OSCILLATION}),
}
REFERENCES = {"calibrated": (PERCEPTUAL, 60), "frozen": (None, 260)}
SEEDS = [
    pytest.param("calibrated", range(20), id="calibrated"),
    pytest.param("frozen", range(5), id="frozen"),
    pytest.param("frozen", range(20), id="frozen, 20 seeds", marks=pytest.mark.long),
]


def seen(detector: CollapseDetector, vectors: Iterator[Vectors], count: int) -> list[CollapseState]:
    return [detector.see(vector) for vector in islice(vectors, count)]


@cache
def _warmed(reference: Reference | None, keyframes: int, seed: int) -> tuple[CollapseDetector, Vectors]:
    detector, dream = CollapseDetector(reference), healthy(seed)
    seen(detector, dream, keyframes)
    return detector, next(dream)


def warm(reference: Reference | None, keyframes: int, seed: int) -> tuple[CollapseDetector, Vectors]:
    """A detector of one's own that has seen a healthy dream, and the last picture of it."""
    detector, last = _warmed(reference, keyframes, seed)
    return deepcopy(detector), last


@pytest.mark.parametrize(("reference", "seeds"), SEEDS)
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_collapse_is_seen_within_30_keyframes_whatever_the_seed(
    plant: str, reference: str, seeds: range
) -> None:
    stream, kinds = PLANTS[plant]
    for seed in seeds:
        detector, last = warm(*REFERENCES[reference], seed=1000 + seed)
        assert not detector.newest.collapsed
        states = seen(detector, stream(seed, last), 30)
        assert states[-1].collapsed, (seed, states[-1])
        assert states[-1].kind in kinds, (seed, states[-1])
        assert states[-1].level >= 0.5


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_healthy_dream_raises_at_most_one_false_alarm_in_a_thousand_keyframes(reference: str) -> None:
    alarms = 0
    for seed in range(5):
        detector, _ = warm(*REFERENCES[reference], seed=2000 + seed)
        alarms += sum(state.collapsed for state in seen(detector, healthy(3000 + seed), 1000))
    assert alarms <= 5


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_lasting_collapse_is_never_called_healthy_because_it_lasts(reference: str) -> None:
    detector, last = warm(*REFERENCES[reference], seed=5)
    states = seen(detector, still(5, last), 500)
    assert all(state.collapsed and state.armed for state in states[30:])


def test_the_frozen_reference_stays_whatever_comes_after_it() -> None:
    detector, last = warm(None, 260, seed=6)
    frozen = detector.reference
    assert frozen is not None
    seen(detector, still(6, last), 300)
    seen(detector, healthy(7), 300)
    assert detector.reference == frozen


def test_an_injection_into_a_collapse_neither_disarms_the_detector_nor_shortens_what_it_has_seen() -> None:
    detector, last = warm(PERCEPTUAL, 60, seed=8)
    standing, other = still(8, last), next(healthy(9))
    seen(detector, standing, 60)
    for lap in range(20):
        arc = [
            detector.see(unit((1.0 - share) * last + share * other)) for share in (0.2, 0.5, 0.8, 0.5, 0.2)
        ]
        after = seen(detector, standing, 25)
        assert all(state.armed for state in (*arc, *after)), lap
        assert after[-1].collapsed, lap


def test_a_dream_that_recovers_is_called_healthy_again() -> None:
    detector, last = warm(PERCEPTUAL, 60, seed=10)
    assert seen(detector, still(10, last), 40)[-1].collapsed
    states = seen(detector, healthy(11), 40)
    assert not states[-1].collapsed
    assert states[-1].kind is None


def test_a_level_between_the_two_thresholds_changes_nothing() -> None:
    """Hysteresis: the same middling dream stays what it was, healthy or collapsed."""
    settings = CollapseSettings(enter=0.99, leave=0.05)
    middling = list(islice(healthy(12, memory=0.97), 200))
    fresh, ill = CollapseDetector(PERCEPTUAL, settings), CollapseDetector(PERCEPTUAL, settings)
    assert seen(ill, still(12, middling[0]), 60)[-1].collapsed
    well_states, ill_states = seen(fresh, iter(middling), 200), seen(ill, iter(middling), 200)
    assert all(0.05 < state.level < 0.99 for state in well_states[24:])
    assert not any(state.collapsed for state in well_states)
    assert all(state.collapsed for state in ill_states)


def test_a_dream_that_stands_still_from_its_first_picture_is_seen_before_any_reference_is_frozen() -> None:
    detector = CollapseDetector()
    state = seen(detector, still(13, unit(np.ones(DIMENSION))), 500)[-1]
    assert state.collapsed
    assert not state.armed
    assert detector.reference is None, "copies of one picture are no healthy dream"


def _alike(seed: int, spread: float) -> Iterator[Vectors]:
    """A dream that never repeats a picture, all of them so near each other (mean cosine distance)."""
    around = unit(np.random.default_rng(seed).normal(size=DIMENSION))
    for vector in healthy(seed + 1, memory=0.0):
        yield unit((1.0 - spread) ** 0.5 * around + spread**0.5 * vector)


def test_a_dream_of_pictures_that_are_all_alike_from_the_first_is_no_reference() -> None:
    detector = CollapseDetector(None, CollapseSettings(near=0.94))
    states = seen(detector, _alike(31, 0.03), 500)
    assert detector.reference is None, "or it would be called healthy for ever"
    assert all(state.level >= 0.35 for state in states[24:]), "so medicine is given"
    assert states[-1].collapsed
    recovered = seen(detector, healthy(32), 300)[-1]
    assert recovered.armed
    assert not recovered.collapsed
    assert seen(detector, _alike(31, 0.03), 40)[-1].collapsed


def test_what_an_embedding_calls_alike_changes_nothing_for_a_dream_of_different_pictures() -> None:
    told, untold = CollapseDetector(None, CollapseSettings(near=0.94)), CollapseDetector()
    stream = list(islice(healthy(33), 400))
    assert seen(told, iter(stream), 400) == seen(untold, iter(stream), 400)
    assert told.reference == untold.reference


def test_a_stored_reference_of_pictures_that_were_all_alike_is_not_believed() -> None:
    spoilt = CollapseDetector()
    seen(spoilt, _alike(34, 0.03), 300)
    assert spoilt.reference is not None
    again = CollapseDetector(None, CollapseSettings(near=0.94))
    assert again.restore(spoilt.state(), DIMENSION)
    assert again.reference is None
    healthy_one = warm(None, 260, seed=35)[0]
    assert again.restore(healthy_one.state(), DIMENSION)
    assert again.reference == healthy_one.reference


def test_levels_and_coverage_stay_between_0_and_1_and_the_number_between_1_and_the_window() -> None:
    detector, last = warm(PERCEPTUAL, 60, seed=14)
    for state in (*seen(detector, still(14, last), 60), *seen(detector, healthy(15, memory=0.0), 100)):
        assert 0.0 <= state.level <= 1.0
        assert 0.0 <= state.coverage <= 1.0
        assert 1.0 - 1e-6 <= state.effective_number <= 24.0 + 1e-6


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("until", [10, 150, 300])
def test_a_restart_at_any_time_changes_nothing(until: int, reference: str) -> None:
    given = REFERENCES[reference][0]
    stream = list(islice(healthy(16), 320))
    straight = CollapseDetector(given)
    seen(straight, iter(stream), until)
    again = CollapseDetector(given)
    assert again.restore(json.loads(json.dumps(straight.state(), allow_nan=False)))
    assert again.newest == straight.newest
    for vector in stream[until:]:
        one, other = straight.see(vector), again.see(vector)
        assert other.level == pytest.approx(one.level, abs=1e-3)
        assert (other.kind, other.collapsed, other.armed) == (one.kind, one.collapsed, one.armed)


def _broken() -> dict[str, object]:
    state = warm(None, 230, seed=17)[0].state()
    return {
        "nothing": None,
        "a list": [],
        "another version": state | {"version": 2},
        "no window": {name: value for name, value in state.items() if name != "window"},
        "no base64": state | {"window": {"shape": [1, 64], "data": "§§"}},
        "a wrong shape": state | {"window": {"shape": [7, 7], "data": "AAAA"}},
        "no direction": state | {"window": {"shape": [1, 2], "data": "AAAAAA=="}},
        "a scale of nothing": state | {"reference": dict.fromkeys(state["reference"], 0.0)},  # type: ignore[call-overload]
        "an unknown kind": state | {"newest": state["newest"] | {"kind": "bored"}},  # type: ignore[operator]
        "a level that is none": state | {"newest": state["newest"] | {"level": "high"}},  # type: ignore[operator]
        "a list for a reference": state | {"reference": [1, 2]},
        "text for numbers": state | {"nearest": ["near"]},
    }


@pytest.mark.parametrize("broken", _broken())
def test_a_state_that_is_none_of_ours_changes_nothing(broken: str) -> None:
    detector, _ = warm(PERCEPTUAL, 60, seed=18)
    before = detector.state()
    assert not detector.restore(_broken()[broken])
    assert detector.state() == before


def test_a_stored_reference_does_not_replace_a_calibrated_one() -> None:
    frozen, _ = warm(None, 260, seed=19)
    detector = CollapseDetector(PERCEPTUAL)
    assert detector.restore(frozen.state())
    assert detector.reference == PERCEPTUAL


@pytest.mark.parametrize("vector", [np.zeros(4), np.full(4, np.nan), np.array([np.inf, 0, 0, 0])])
def test_a_vector_without_a_direction_is_refused_and_not_remembered(vector: Vectors) -> None:
    detector = CollapseDetector()
    with pytest.raises(ValueError, match="direction"):
        detector.see(vector)
    assert detector.state() == CollapseDetector().state()


def test_a_vector_of_another_dimension_is_refused() -> None:
    detector = CollapseDetector()
    detector.see(unit(np.ones(8)))
    with pytest.raises(ValueError, match="9 numbers among those of 8"):
        detector.see(unit(np.ones(9)))


def test_only_the_perceptual_embedding_is_calibrated_and_only_in_a_version_that_was() -> None:
    assert calibrated("perceptual", "1") is not None
    assert calibrated("perceptual", "none such") is None
    assert calibrated("clip", "1") is None
