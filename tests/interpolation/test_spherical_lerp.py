from __future__ import annotations

import math

import pytest
import torch

from backend.interpolation.spherical_lerp import lerp, slerp

HALFWAY = torch.tensor([0.5])


def latents(seed: int, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 4, 6, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("path", [slerp, lerp])
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


def test_each_sample_of_a_batch_walks_by_itself() -> None:
    a, b = latents(1), latents(2)
    t = torch.tensor([0.0, 0.3, 1.0])
    together = slerp(a, b, t)
    for i in range(len(a)):
        assert torch.allclose(together[:, i], slerp(a[i : i + 1], b[i : i + 1], t)[:, 0], atol=1e-6)


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
def test_degenerate_pairs_stay_finite_and_near_the_interpolated_norm(a, b, dtype) -> None:
    a, b = a.to(dtype), b.to(dtype)
    walked = slerp(a, b, torch.linspace(0, 1, 9)).float()
    assert torch.isfinite(walked).all()
    norms = walked.flatten(2).norm(dim=2)
    middle = (a.float().flatten(1).norm(dim=1) + b.float().flatten(1).norm(dim=1)) / 2
    assert torch.allclose(norms[4], middle, rtol=2e-3, atol=1e-3)


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
