from __future__ import annotations

import pytest
import torch

from backend.cache.arc import arc_weights
from backend.core.folding import Arc
from backend.errors import LatentRejected


def latent(seed: int, size: tuple[int, int] = (8, 10), channels: int = 4) -> torch.Tensor:
    return torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(seed))


def likeness(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


def test_each_keyframe_leans_a_little_further_until_the_strength_is_reached() -> None:
    start, memory = latent(1), latent(2)
    arc = Arc("m", memory, arc_weights(0.8, 6), "because")
    likenesses = []
    here = start
    while not arc.over:
        here = arc.lean(here)
        likenesses.append(likeness(here, memory))
    assert len(likenesses) == 6
    assert likenesses == sorted(likenesses)
    assert likenesses[0] < 0.25
    assert likenesses[-1] > 0.85


def test_leaning_goes_along_the_sphere_so_that_nothing_washes_out() -> None:
    start, memory = latent(1), latent(2)
    arc = Arc("m", memory, (0.5,), "because")
    assert float(arc.lean(start).norm()) == pytest.approx(float((start.norm() + memory.norm()) / 2), rel=0.02)


def test_a_memory_of_another_size_is_brought_to_the_size_of_the_dream() -> None:
    arc = Arc("m", latent(2, (16, 20)), (0.3,), "because")
    assert arc.lean(latent(1)).shape == (1, 4, 8, 10)


def test_a_memory_of_another_model_ends_the_arc_at_once() -> None:
    arc = Arc("m", latent(2, channels=16), (0.3, 0.3), "because")
    with pytest.raises(LatentRejected, match="another model"):
        arc.lean(latent(1))
    assert arc.over
