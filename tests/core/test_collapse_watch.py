from __future__ import annotations

import json

import numpy as np
import pytest

from backend.cache.matching import Identity, Vectors
from backend.core.collapse_watch import CollapseWatch

PLAIN, OTHER = Identity("plain", "1", 8), Identity("other", "1", 4)


def vectors(seed: int, dimension: int, count: int = 30) -> Vectors:
    drawn = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_embeddings_of_two_sorts_are_watched_apart() -> None:
    watch, alone = CollapseWatch(), CollapseWatch()
    for one, other in zip(vectors(1, 8), vectors(2, 4), strict=True):
        mixed = watch.see(one, PLAIN, None)
        watch.see(other, OTHER, None)
        assert mixed == alone.see(one, PLAIN, None)


def test_a_restart_goes_on_from_what_was_seen() -> None:
    watch = CollapseWatch()
    for one in vectors(1, 8):
        watch.see(one, PLAIN, 0.4)
    again = CollapseWatch()
    again.restore(json.loads(json.dumps(watch.state())))
    (newest,) = vectors(3, 8, 1)
    before, after = watch.see(newest, PLAIN, 0.4), again.see(newest, PLAIN, 0.4)
    assert (after.collapsed, after.armed, after.kind) == (before.collapsed, before.armed, before.kind)
    assert after.effective_number == pytest.approx(before.effective_number, rel=1e-3)


def test_what_is_stored_of_a_detector_that_this_run_does_not_need_is_kept() -> None:
    first = CollapseWatch()
    for one in vectors(1, 8):
        first.see(one, PLAIN, None)
    second = CollapseWatch()
    second.restore(first.state())
    second.see(vectors(2, 4, 1)[0], OTHER, None)
    assert second.state()[str(PLAIN)] == first.state()[str(PLAIN)]
    assert str(OTHER) in second.state()


def test_what_a_matcher_calls_alike_is_heard() -> None:
    around = np.eye(8, dtype=np.float32)[0]
    watch = CollapseWatch()
    for one in vectors(5, 8):
        rows = around + 0.1 * one
        state = watch.see(rows / np.linalg.norm(rows), PLAIN, None, near=0.9)
    assert state.collapsed


def _spoilt(what: str, value: object) -> dict[str, object]:
    """The state of a detector with one thing in it that makes no sense."""
    watch = CollapseWatch()
    for one in vectors(1, 8):
        watch.see(one, PLAIN, 0.4)
    state = json.loads(json.dumps(watch.state()))
    part = state[str(PLAIN)]
    *way, last = what.split(".")
    for step in way:
        part = part[step]
    part[last] = value
    return dict(state)


def _packed(dimension: int, count: int = 3) -> dict[str, object]:
    watch = CollapseWatch()
    for one in vectors(1, dimension, count):
        watch.see(one, OTHER, None)
    return watch.state()[str(OTHER)]["window"]  # type: ignore[index, no-any-return]


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("window", _packed(10)),
        ("healthy", _packed(10)),
        ("window", {"shape": [1, 8], "data": ""}),
        ("nearest", [5.0, -7.0]),
        ("nearest", [10**400]),
        ("streak", -(10**6)),
        ("streak", float("inf")),
        ("newest.level", 1e9),
        ("newest.level", -3.0),
        ("newest.coverage", float("nan")),
        ("newest.step", 10**400),
        ("newest", []),
    ],
)
def test_a_state_with_something_in_it_that_makes_no_sense_is_told_and_begun_anew(
    what: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    watch, anew = CollapseWatch(), CollapseWatch()
    watch.restore(_spoilt(what, value))
    for one in vectors(2, 8):
        assert watch.see(one, PLAIN, None) == anew.see(one, PLAIN, None)
    (record,) = caplog.records
    assert "plain 1 (8 numbers) makes no sense: it begins anew" in record.getMessage()


def test_a_streak_without_end_turns_nothing_over_at_once() -> None:
    watch, anew = CollapseWatch(), CollapseWatch()
    watch.restore(_spoilt("streak", 10**9))
    anew.restore(_spoilt("streak", 2))
    for one in vectors(2, 8):
        assert watch.see(one, PLAIN, None) == anew.see(one, PLAIN, None)


@pytest.mark.parametrize("stored", [None, 7, [], "x", {str(PLAIN): 3}])
def test_what_makes_no_sense_is_passed_over(stored: object) -> None:
    watch = CollapseWatch()
    watch.restore(stored)
    assert not watch.see(vectors(1, 8, 1)[0], PLAIN, None).armed
