"""Two keyframes -> the frames between them, in as few engine jobs as memory allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.errors import LatentRejected
from backend.interpolation.latent_encoder import LatentEncoder, PicturesJob
from backend.interpolation.spherical_lerp import slerp
from backend.utils.prompt_manager import Prompt

if TYPE_CHECKING:
    from torch import Tensor

# A decoded batch lies in the server's memory as float32 RGB: 12 bytes a pixel, here up to 400 MB.
_PIXELS_PER_JOB = 32_000_000
_PIXELS_PER_CELL = 64


@dataclass(frozen=True)
class Leg:
    """A part of a walk that travels as one job.

    Attributes:
        first: 0-based place of its first in-between in the gap.
        latents: Shape ``[N, C, h, w]``; kept until the leg has arrived, to send it again if need be.
        job: The pictures to come, in order.
    """

    first: int
    latents: Tensor
    prompt: Prompt
    job: PicturesJob

    def __len__(self) -> int:
        return len(self.latents)


class HybridGenerator:
    """Walks from keyframe to keyframe through the latent space."""

    def __init__(self, encoder: LatentEncoder, frames_per_job: int | None = None) -> None:
        """``frames_per_job`` of None lets the size of the pictures decide."""
        self._encoder = encoder
        self._frames_per_job = frames_per_job

    def walk(self, start: Tensor, end: Tensor, steps: int, prompt: Prompt) -> tuple[Leg, ...]:
        """Queue the ``steps - 1`` in-betweens that lead from ``start`` to ``end``.

        Args:
            start: Latent of the older keyframe, shape ``[1, C, h, w]``.
            end: Latent of the newer one, same shape.
            steps: Frames in the gap, the newer keyframe included; at least 1.
            prompt: The prompt of the newer keyframe.

        Returns:
            The legs in order; empty for a gap of one step.

        Raises:
            LatentRejected: If the two latents cannot be walked between.
            EngineError: If the engine does not take a job.
        """
        import torch

        if steps < 2:
            return ()
        try:
            between = slerp(start, end, torch.arange(1, steps) / steps)[:, 0]
        except ValueError as error:
            raise LatentRejected(str(error)) from error
        size = self._chunk(between)
        return tuple(
            self._send(first, between[first : first + size], prompt) for first in range(0, steps - 1, size)
        )

    def again(self, leg: Leg) -> Leg:
        """Queue a leg once more after its job has failed."""
        return self._send(leg.first, leg.latents, leg.prompt)

    def _send(self, first: int, latents: Tensor, prompt: Prompt) -> Leg:
        return Leg(first, latents, prompt, self._encoder.decode(latents, prompt))

    def _chunk(self, between: Tensor) -> int:
        if self._frames_per_job is not None:
            return self._frames_per_job
        pixels = between.shape[-1] * between.shape[-2] * _PIXELS_PER_CELL
        return max(1, _PIXELS_PER_JOB // pixels)
