from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from backend.interpolation.walk import Knot, Waypoint
from backend.interpolation.walk import Walk as OurWalk
from backend.interpolation.walk_course import course_of
from comfyui_nodes.walk import Ahead, Walk, places_of

STRAIGHT = {"path": "slerp", "seconds": 4.0, "start": {"at": 0}, "end": {"at": 1}}


def point(seed: int, shape: tuple[int, ...] = (1, 4, 6, 8)) -> Waypoint:
    latent = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return Waypoint(latent, f"kf_{seed}.latent [output]")


def our_walk(path: str, shape: tuple[int, ...] = (1, 4, 6, 8)) -> OurWalk:
    """Through two keyframes, with one before and one after, in unequal times."""
    before, start, end, after = (point(seed, shape) for seed in range(4))
    first = Knot(start, before, end, before_s=3.0, after_s=5.5)
    return OurWalk.between(path, first, Knot(end, start, after, before_s=5.5, after_s=2.0), 5.5)


def theirs(walk: OurWalk, t: torch.Tensor) -> Walk:
    """The same walk as the nodes understand it, after its way as text."""
    course = course_of(walk)
    places = ", ".join(map(repr, t.tolist()))
    return Walk.read(course.latents, course.text, places_of(places))


@pytest.mark.parametrize("path", ["smooth", "slerp", "lerp"])
@pytest.mark.parametrize("shape", [(1, 4, 6, 8), (1, 16, 1, 6, 8)])
def test_it_walks_the_very_numbers_that_the_daemon_walks(path: str, shape: tuple[int, ...]) -> None:
    walk, t = our_walk(path, shape), torch.arange(1, 12) / 12
    expected = walk.latents(t)
    assert torch.equal(theirs(walk, t).at(range(11)), expected)


@pytest.mark.parametrize("path", ["smooth", "slerp", "lerp"])
def test_pieces_of_it_are_the_same_as_the_whole(path: str) -> None:
    walk, t = our_walk(path), torch.arange(1, 12) / 12
    pieces = theirs(walk, t)
    torch.testing.assert_close(pieces.at([3, 7]), walk.latents(t)[[3, 7]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "knots",
    [
        (Knot(point(1)), Knot(point(2))),
        (Knot(point(1), after=point(2)), Knot(point(2))),
        (Knot(point(1), before=point(0), before_s=0.7), Knot(point(2), after=point(3))),
    ],
)
def test_it_heeds_the_neighbours_that_there_are(knots: tuple[Knot, Knot]) -> None:
    walk, t = OurWalk.between("smooth", *knots, 4.0), torch.arange(1, 8) / 8
    assert torch.equal(theirs(walk, t).at(range(7)), walk.latents(t))


@pytest.mark.parametrize("counts", [(1,) * 11, (1, 7, 3), (11,)])
def test_latents_that_are_computed_ahead_are_taken_in_their_order(counts: tuple[int, ...]) -> None:
    walk, t = our_walk("smooth"), torch.arange(1, 45) / 45
    chosen = [*range(0, 44, 4)]
    ahead = Ahead(theirs(walk, t), chosen)
    taken = torch.cat([ahead.take(count) for count in counts])
    torch.testing.assert_close(taken, walk.latents(t)[chosen], rtol=1e-5, atol=1e-6)


def test_more_than_is_computed_at_a_time_is_computed_all_the_same() -> None:
    walk, t = our_walk("smooth"), torch.arange(1, 101) / 101
    ahead = Ahead(theirs(walk, t), range(100))
    taken = torch.cat([ahead.take(count) for count in (1, 60, 39)])
    torch.testing.assert_close(taken, walk.latents(t), rtol=1e-5, atol=1e-6)


def test_places_survive_being_written_as_text() -> None:
    places = (torch.arange(1, 100) / 97).clamp_max(1.0).tolist()
    assert places_of(", ".join(map(repr, places))) == tuple(places)


@pytest.mark.parametrize("text", ["a", "0.1 0.2", "nan", "inf", "1e999", "-0.1", "1.01"])
def test_a_place_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="place"):
        places_of(f"0.5, {text}")


def test_latents_that_are_not_finite_are_refused() -> None:
    broken = torch.ones(2, 4, 4, 4)
    broken[1, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="finite"):
        Walk.read(broken, json.dumps(STRAIGHT), (0.5,))


@pytest.mark.parametrize(
    ("course", "says"),
    [
        ("{", "JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"path":' * 100_000, "nested too deeply"),
        ("[]", "no path"),
        ("{}", "no path"),
        ({"path": "zigzag"}, "no path"),
        ({"path": ["smooth"]}, "no path"),
        ({"start": None}, "start"),
        ({"start": {}}, "start"),
        ({"start": {"at": 2}}, r"start\.at 2"),
        ({"end": {"at": -1}}, r"end\.at -1"),
        ({"end": {"at": True}}, r"end\.at True"),
        ({"end": {"at": 1, "after": "0"}}, r"end\.after '0'"),
        ({"end": {"at": 1, "after_s": 0}}, "after_s 0"),
        ({"seconds": -1}, "seconds -1"),
        ({"seconds": None}, "seconds None"),
    ],
)
def test_a_course_that_makes_no_sense_is_refused_in_words(course: Any, says: str) -> None:
    text = course if isinstance(course, str) else json.dumps({**STRAIGHT, **course})
    with pytest.raises(ValueError, match=says):
        Walk.read(torch.ones(2, 4, 4, 4), text, (0.5,))


def test_more_frames_than_anybody_needs_are_refused() -> None:
    with pytest.raises(ValueError, match="5000"):
        Walk.read(torch.ones(2, 4, 4, 4), json.dumps(STRAIGHT), (0.5,) * 5000)
