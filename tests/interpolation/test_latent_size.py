from __future__ import annotations

import pytest
import torch

from backend.errors import LatentRejected
from backend.interpolation.latent_size import resized, shrunk


def latent(height: int, width: int, channels: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, channels, height, width, generator=generator)


@pytest.mark.parametrize("size", [(27, 48), (54, 96), (108, 192), (46, 82)])
def test_another_size_keeps_the_length_of_the_cells(size: tuple[int, int]) -> None:
    before = latent(54, 96)
    after = resized(before, latent(*size))
    assert after.shape == (2, 4, *size)
    assert float(after.norm(dim=1).mean()) == pytest.approx(float(before.norm(dim=1).mean()), rel=0.02)
    assert bool(torch.isfinite(after).all())


def test_what_is_where_stays_there() -> None:
    left = torch.zeros(1, 4, 8, 8)
    left[..., :4], left[..., 4:] = 1.0, -2.0
    smaller = resized(left, latent(4, 4)[:1])
    assert torch.allclose(smaller[..., 0], torch.tensor(1.0))
    assert torch.allclose(smaller[..., 3], torch.tensor(-2.0))


def test_a_latent_of_the_right_size_is_left_as_it_is() -> None:
    before = latent(5, 8)
    assert resized(before, latent(5, 8)) is before


def test_a_time_axis_and_the_type_are_kept() -> None:
    before = latent(5, 8).unsqueeze(2).half()
    after = resized(before, latent(10, 16).unsqueeze(2))
    assert after.shape == (2, 4, 1, 10, 16)
    assert after.dtype is torch.float16


def test_an_empty_latent_stays_empty() -> None:
    assert not resized(torch.zeros(1, 4, 5, 8), latent(10, 16)[:1]).any()


@pytest.mark.parametrize("other", [latent(5, 8, channels=16), latent(5, 8).unsqueeze(2)])
def test_latents_of_another_model_are_refused(other: torch.Tensor) -> None:
    with pytest.raises(LatentRejected, match="no walk"):
        resized(latent(5, 8), other)


def test_latents_are_shrunk_to_whole_cells_and_left_alone_at_full_size() -> None:
    latents = torch.randn(3, 4, 9, 16)
    assert shrunk(latents, 0.5).shape == (3, 4, 4, 8)
    assert shrunk(latents, 0.25).shape == (3, 4, 4, 4)
    assert shrunk(latents, 1.0) is latents
    assert shrunk(torch.randn(1, 4, 2, 3), 0.25).shape == (1, 4, 2, 3)


def test_shrunk_latents_keep_their_length_so_that_they_do_not_turn_grey() -> None:
    latents = torch.randn(2, 4, 40, 64, generator=torch.Generator().manual_seed(1))
    assert float(shrunk(latents, 0.5).std()) > 0.9 * float(latents.std())
