"""A memory on its way back into the dream: how the next keyframes' latents lean toward it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from backend.cache.arc import gentle
from backend.errors import LatentRejected
from backend.interpolation.latent_size import resized
from backend.interpolation.spherical_lerp import angle_between, slerp

if TYPE_CHECKING:
    from torch import Tensor


class Arc:
    """An injection that is under way. Used by the dream loop alone once it has been handed over.

    Attributes:
        memory_id: The memory that is folded in.
        reason: Why, as a sentence.
    """

    def __init__(self, memory_id: str, latent: Tensor, weights: tuple[float, ...], reason: str) -> None:
        """Takes a memory's latent ``[1, C, h, w]`` and how much of it each of the next keyframes takes."""
        self.memory_id = memory_id
        self.reason = reason
        self._latent = latent
        self._weights = deque(weights)

    @property
    def over(self) -> bool:
        """Whether all of its keyframes have had their share."""
        return not self._weights

    def lean(self, start: Tensor, usual: float = 0.0) -> Tensor:
        """The latent that the next keyframe starts from: ``start`` turned on the sphere toward the memory.

        Args:
            start: The latent of the keyframe before, ``[1, C, h, w]``.
            usual: Radians that the dream turns from keyframe to keyframe by itself; 0 where unknown. The lean
                is held back to a few times that, so that it never shows as a jump.

        Raises:
            LatentRejected: The memory is of another model, whose latents have nothing to do with these.
        """
        import torch

        if self._latent.shape[:2] != start.shape[:2]:
            self._weights.clear()
            raise LatentRejected("the memory's latent is of another model")
        toward = resized(self._latent, start)
        weight = gentle(self._weights.popleft(), angle_between(start, toward), usual)
        return slerp(start, toward, torch.tensor([weight]))[0]
