from __future__ import annotations

import math

import pytest
import torch

from backend.interpolation.spherical_lerp import PATHS, lerp, slerp, smooth, smooth_arc, velocity

HALFWAY = torch.tensor([0.5])


def latents(seed: int, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 4, 6, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_the_ends_are_the_keyframes_exactly(path, dtype) -> None:
    a, b = latents(1).to(dtype), latents(2).to(dtype)
    walked = path(a, b, torch.tensor([0.0, 1.0]))
    assert walked.dtype == dtype
    if dtype is torch.float64:  # computed in float32
        assert torch.allclose(walked[0], a, atol=1e-6)
        assert torch.allclose(walked[1], b, atol=1e-6)
    else:
        assert torch.equal(walked[0], a)
        assert torch.equal(walked[1], b)


def test_equal_steps_are_equal_angles() -> None:
    a, b = latents(1, 1), latents(2, 1)
    walked = slerp(a, b, torch.linspace(0, 1, 11)).flatten(1)
    unit = walked / walked.norm(dim=1, keepdim=True)
    angles = torch.arccos((unit[1:] * unit[:-1]).sum(dim=1))
    assert torch.allclose(angles, angles.mean(), rtol=1e-3)


def test_the_norm_is_interpolated_where_lerp_sinks() -> None:
    a, b = latents(1), latents(2) * 3
    expected = (a.flatten(1).norm(dim=1) + b.flatten(1).norm(dim=1)) / 2
    assert torch.allclose(slerp(a, b, HALFWAY)[0].flatten(1).norm(dim=1), expected, rtol=1e-5)
    assert (lerp(a, b, HALFWAY)[0].flatten(1).norm(dim=1) < 0.9 * expected).all()


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_each_sample_of_a_batch_walks_by_itself(path) -> None:
    a, b, leaving, arriving = (latents(seed) for seed in range(4))
    t = torch.tensor([0.0, 0.3, 1.0])
    together = path(a, b, t, leaving, arriving)
    for i in range(len(a)):
        alone = path(*(x[i : i + 1] for x in (a, b)), t, *(x[i : i + 1] for x in (leaving, arriving)))
        assert torch.allclose(together[:, i], alone[:, 0], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (latents(1), latents(1)),
        (latents(1), -latents(1)),
        (latents(1), -latents(1) * 2 + 1e-7),
        (latents(1), latents(1) * (1 + 1e-7)),
        (torch.zeros(3, 4, 6, 8), latents(1)),
        (latents(1), torch.zeros(3, 4, 6, 8)),
        (torch.zeros(3, 4, 6, 8), torch.zeros(3, 4, 6, 8)),
        (torch.ones(3, 4, 6, 8), -torch.ones(3, 4, 6, 8)),
    ],
    ids=[
        "equal",
        "opposite",
        "nearly opposite",
        "nearly equal",
        "from zero",
        "to zero",
        "zero",
        "constant opposite",
    ],
)
@pytest.mark.parametrize("ends", [(None, None), (latents(5), latents(6)), (latents(5) * 0, latents(6) * 0)])
@pytest.mark.parametrize("path", [slerp, smooth])
def test_degenerate_pairs_stay_finite_and_near_the_interpolated_norm(path, a, b, dtype, ends) -> None:
    a, b = a.to(dtype), b.to(dtype)
    walked = path(a, b, torch.linspace(0, 1, 9), *ends).float()
    assert torch.isfinite(walked).all()
    norms = walked.flatten(2).norm(dim=2)
    middle = (a.float().flatten(1).norm(dim=1) + b.float().flatten(1).norm(dim=1)) / 2
    if ends[0] is None:
        assert torch.allclose(norms[4], middle, rtol=2e-3, atol=1e-3)
    assert (norms <= 1.01 * torch.stack((norms[0], norms[-1])).amax(0) + 1e-3).all()


def test_one_degenerate_sample_does_not_disturb_its_neighbours() -> None:
    a, b = latents(1), latents(2)
    alone = slerp(a[1:2], b[1:2], HALFWAY)[:, 0]
    a[0] = -b[0]
    assert torch.allclose(slerp(a, b, HALFWAY)[:, 1], alone, atol=1e-6)


def test_orthogonal_unit_vectors_meet_in_the_middle() -> None:
    walked = slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), HALFWAY)
    assert torch.allclose(walked, torch.full((1, 1, 2), math.sqrt(0.5)))


def test_different_shapes_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"\(1, 4, 8, 8\) and \(1, 16, 8, 8\)"):
        slerp(torch.zeros(1, 4, 8, 8), torch.zeros(1, 16, 8, 8), HALFWAY)
    with pytest.raises(ValueError, match="one dimension"):
        slerp(torch.zeros(1, 4), torch.zeros(1, 4), torch.tensor(0.5))


def test_the_smooth_walk_leaves_and_arrives_with_the_velocities_that_it_is_given() -> None:
    a, b = latents(1), latents(2)
    leaving, arriving = 0.7 * (b - a) + 0.3 * latents(3), 0.5 * (b - a) + 0.4 * latents(4)
    h = 1e-3
    first, second, third, last = smooth(a, b, torch.tensor([0.0, h, 1 - h, 1.0]), leaving, arriving).double()
    assert torch.allclose(across((second - first) / h, a), across(leaving, a), atol=0.03)
    assert torch.allclose(across((last - third) / h, b), across(arriving, b), atol=0.03)


def across(velocity: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """What of a velocity turns a latent, and does not lengthen it."""
    flat, moved = at.flatten(1).double(), velocity.flatten(1).double()
    return moved - flat * ((flat * moved).sum(1) / flat.square().sum(1))[:, None]


def test_without_velocities_the_smooth_walk_is_a_slerp() -> None:
    t = torch.linspace(0, 1, 7)
    assert torch.allclose(smooth(latents(1), latents(2), t), slerp(latents(1), latents(2), t), atol=1e-5)


def test_the_norm_of_a_smooth_walk_never_leaves_the_range_of_its_ends() -> None:
    a, b = latents(1), latents(2) * 1.1
    low, high = a.flatten(1).norm(dim=1), b.flatten(1).norm(dim=1)
    norms = smooth(a, b, torch.linspace(0, 1, 50), 9 * a, -9 * b).flatten(2).norm(dim=2)
    assert (norms >= low.minimum(high) - 1e-3).all()
    assert (norms <= low.maximum(high) + 1e-3).all()


def test_a_velocity_that_is_far_too_fast_is_held_back() -> None:
    a, b = latents(1, 1), latents(2, 1)
    near = a + 0.05 * b
    walked = smooth(a, near, torch.linspace(0, 1, 50), 5 * b, 5 * b)
    away = (walked[:, 0] - a).flatten(1).norm(dim=1).max()
    assert away < 2 * (near - a).norm()


@pytest.mark.parametrize(("turn", "share"), [(0.0, 1.0), (90.0, 1.0), (135.0, 0.54), (180.0, 0.0)])
def test_a_turn_is_passed_at_full_speed_up_to_a_right_angle_and_a_reversal_at_none(
    turn: float, share: float
) -> None:
    step = 0.1
    at = torch.tensor([[1.0, 0.0, 0.0]])
    before = torch.tensor([[math.cos(step), -math.sin(step), 0.0]])
    way = math.radians(turn)
    after = torch.tensor([[math.cos(step), math.sin(step) * math.cos(way), math.sin(step) * math.sin(way)]])
    passed = velocity(before, at, after)
    assert passed is not None
    assert float(passed.norm()) == pytest.approx(share * step, abs=2e-3)


def test_between_a_short_and_a_long_step_the_walk_is_no_faster_than_the_short_one_bears() -> None:
    def on_circle(angle: float) -> torch.Tensor:
        return torch.tensor([[math.cos(angle), math.sin(angle)]])

    passed = velocity(on_circle(-0.1), on_circle(0.0), on_circle(1.0))
    assert passed is not None
    assert float(passed.norm()) == pytest.approx(2 / (1 / 0.1 + 1 / 1.0), rel=1e-3)


def test_a_keyframe_without_neighbours_has_no_velocity_and_time_must_pass() -> None:
    assert velocity(None, latents(1), None) is None
    with pytest.raises(ValueError, match="takes time, not 0"):
        velocity(latents(1), latents(2), latents(3), before_s=0.0)


def test_equal_and_zero_neighbours_give_a_finite_velocity() -> None:
    for before, at, after in (
        (latents(1), latents(1), latents(2)),
        (latents(1), latents(1), latents(1)),
        (torch.zeros(3, 4, 6, 8), latents(1), latents(2)),
        (latents(1), torch.zeros(3, 4, 6, 8), latents(2)),
        (latents(1), -latents(1), latents(1)),
    ):
        passed = velocity(before, at, after)
        assert passed is not None
        assert torch.isfinite(passed).all()


@pytest.mark.parametrize("shape", [(1, 16, 6, 8), (1, 16, 1, 6, 8), (2, 16, 5, 6, 8)])
def test_latents_of_sixteen_channels_and_of_films_are_walked_as_they_are(shape) -> None:
    a, b, c = (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    walked = smooth(a, b, torch.linspace(0, 1, 5), None, velocity(a, b, c))
    assert walked.shape == (5, *shape)
    assert torch.isfinite(walked).all()


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("t", [-0.1, 1.2, math.nan])
def test_positions_outside_the_walk_are_refused_by_value(path, t: float) -> None:
    with pytest.raises(ValueError, match=f"between 0 and 1, not 0 to {t:g}|not {t:g} to"):
        path(latents(1), latents(2), torch.tensor([0.0, t]))


def test_a_velocity_of_another_shape_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"\(3, 4, 6, 8\) and \(3, 16, 6, 8\)"):
        smooth(latents(1), latents(2), HALFWAY, torch.zeros(3, 16, 6, 8))


def test_no_positions_give_no_latents() -> None:
    assert smooth(latents(1), latents(2), torch.tensor([])).shape == (0, 3, 4, 6, 8)


def test_the_turned_angle_grows_to_that_between_the_ends() -> None:
    arc = smooth_arc(latents(1), latents(2), torch.linspace(0, 1, 33))
    a, b = latents(1).flatten(1), latents(2).flatten(1)
    whole = torch.arccos((a * b).sum(1) / a.norm(dim=1) / b.norm(dim=1))
    assert torch.allclose(arc[-1], whole, rtol=1e-4)
    assert (arc.diff(dim=0) > 0).all()
