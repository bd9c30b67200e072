from __future__ import annotations

import itertools

import pytest
import torch

from backend.errors import LatentRejected
from backend.interpolation.spherical_lerp import slerp
from backend.interpolation.walk import Knot, Walk, Waypoint

H = 1e-3
INNER = torch.tensor([0.25, 0.5, 0.75])


def point(seed: int, *shape: int) -> Waypoint:
    shape = shape or (1, 4, 6, 8)
    return Waypoint(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), f"{seed}.latent")


def chain(points: list[Waypoint], seconds: list[float]) -> list[Walk]:
    """Walks through all points, each knot with both its neighbours."""
    knots = [
        Knot(
            at,
            points[place - 1] if place else None,
            points[place + 1] if place + 1 < len(points) else None,
            seconds[place - 1] if place else 1.0,
            seconds[place] if place < len(seconds) else 1.0,
        )
        for place, at in enumerate(points)
    ]
    return [
        Walk.between("smooth", knots[place], knots[place + 1], seconds[place])
        for place in range(len(points) - 1)
    ]


def rates(before: Walk, after: Walk) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents a second just before a keyframe and just after it."""
    coming = before.latents(torch.tensor([1 - H, 1.0])).double()
    going = after.latents(torch.tensor([0.0, H])).double()
    return (coming[1] - coming[0]) / (H * before.seconds), (going[1] - going[0]) / (H * after.seconds)


@pytest.mark.parametrize("seconds", [[4.0, 4.0, 4.0], [4.0, 9.0, 2.0]], ids=["even", "uneven"])
def test_walks_that_share_a_knot_pass_it_without_a_kink(seconds: list[float]) -> None:
    walks = chain([point(seed) for seed in range(4)], seconds)
    for before, after in itertools.pairwise(walks):
        coming, going = rates(before, after)
        assert float((going - coming).norm()) < 0.01 * float(coming.norm())


def test_a_slerp_through_the_same_keyframes_has_one() -> None:
    walks = [
        Walk("slerp", walk.start, walk.end, walk.seconds)
        for walk in chain([point(1), point(2), point(3)], [4.0, 4.0])
    ]
    coming, going = rates(*walks)
    assert float((going - coming).norm()) > float(coming.norm())


def test_a_knot_settled_before_the_next_keyframe_was_known_still_joins_both_walks() -> None:
    one, two, three = point(1), point(2), point(3)
    knot = Knot(two, before=one, before_s=4.0)
    before = Walk.between("smooth", Knot(one, after=two, after_s=4.0), knot, 4.0)
    after = Walk.between("smooth", knot, Knot(three, before=two, before_s=4.0), 4.0)
    coming, going = rates(before, after)
    assert float((going - coming).norm()) < 0.01 * float(coming.norm())


def test_between_two_keyframes_alone_it_goes_straight() -> None:
    (walk,) = chain([point(1), point(2)], [4.0])
    expected = slerp(walk.start.at.latent, walk.end.at.latent, INNER)[:, 0].flatten(1)
    walked = walk.latents(INNER).flatten(1)
    assert torch.allclose(torch.cosine_similarity(walked, expected), torch.ones(3), atol=1e-5)
    assert torch.allclose(walked.norm(dim=1), expected.norm(dim=1), rtol=1e-2)


def test_from_one_keyframe_to_itself_it_stands_still() -> None:
    (walk,) = chain([point(1), point(1)], [4.0])
    assert torch.allclose(walk.latents(INNER), point(1).latent.expand(3, -1, -1, -1), atol=1e-5)
    assert walk.at((0.25, 0.5), by_turn=True).tolist() == [0.25, 0.5]


def test_neighbours_of_another_size_are_brought_to_the_size_that_is_walked_to() -> None:
    walks = chain([point(1, 1, 4, 12, 16), point(2), point(3)], [4.0, 4.0])
    assert walks[0].latents(INNER).shape == (3, 4, 6, 8)
    assert walks[1].latents(INNER).shape == (3, 4, 6, 8)
    assert walks[0].start.at.name is None, "what was scaled here is not what lies on the server"


def test_neighbours_of_another_model_are_left_out_but_no_walk_leads_to_them() -> None:
    walks = chain([point(1), point(2)], [4.0])
    other = point(3, 1, 16, 6, 8)
    knot = Knot(walks[0].end.at, walks[0].start.at, other)
    walk = Walk.between("smooth", walks[0].start, knot, 4.0)
    assert walk.end.after is None
    assert torch.isfinite(walk.latents(INNER)).all()
    with pytest.raises(LatentRejected, match=r"\(1, 4, 6, 8\) and \(1, 16, 6, 8\)"):
        Walk.between("smooth", knot, Knot(other), 4.0)


@pytest.mark.parametrize("path", ["smooth", "slerp"])
def test_equal_shares_of_a_walk_are_equal_turns(path: str) -> None:
    knots = chain([point(seed) for seed in range(4)], [4.0] * 3)[1]
    walk = Walk(path, knots.start, knots.end, 4.0)
    t = walk.at(tuple(step / 20 for step in range(21)), by_turn=True)
    assert (float(t[0]), float(t[-1])) == (0.0, 1.0)
    points = walk.latents(t).flatten(1).double()
    unit = points / points.norm(dim=1, keepdim=True)
    turns = (unit[1:] - unit[:-1]).norm(dim=1)
    assert torch.allclose(turns, turns.mean(), rtol=5e-3)


def test_shares_are_positions_where_the_turn_is_not_asked_for() -> None:
    walk = chain([point(seed) for seed in range(4)], [4.0] * 3)[1]
    assert walk.at((0.25, 0.5), by_turn=False).tolist() == [0.25, 0.5]
