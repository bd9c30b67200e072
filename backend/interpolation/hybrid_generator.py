"""**HybridGenerator**: two keyframes -> the frames between them, in as few engine jobs as memory allows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backend.interpolation.decoder import Anchor, Decoder, LatentBatch, PicturesJob
from backend.interpolation.latent_size import resized
from backend.interpolation.spherical_lerp import angle_between, slerp
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
        t: Where on the walk its in-betweens lie, 0 to 1, shape ``[N]``.
        pictures: The keyframes at both ends, encoded; None where they are not at hand.
    """

    first: int
    t: Tensor
    start: Tensor
    end: Tensor
    prompt: Prompt
    pictures: tuple[bytes, bytes] | None = None

    def __len__(self) -> int:
        return len(self.t)

    def split(self, frames: int) -> tuple[Leg, Leg]:
        """Its first ``frames`` in-betweens, and the others; neither may be empty."""
        first = replace(self, t=self.t[:frames])
        return first, replace(self, first=self.first + frames, t=self.t[frames:])


class HybridGenerator:
    """Walks from keyframe to keyframe through the latent space."""

    def __init__(self, decoder: Decoder, frames_per_job: int | None = None) -> None:
        """``frames_per_job`` of None lets the size of the pictures decide."""
        self._decoder = decoder
        self._frames_per_job = frames_per_job

    def send_at_most(self, frames: int | None) -> None:
        """From the next leg on; None lets the size of the pictures decide."""
        self._frames_per_job = frames

    def frames_per_job(self, latent: Tensor) -> int:
        """How many pictures of this latent's size travel as one job at the most."""
        return self._frames_per_job or max(1, _PIXELS_PER_JOB // _pixels(latent))

    def angle(self, start: Tensor, end: Tensor) -> float:
        """Radians that a walk between two latents turns; of what :meth:`plan` takes, with its errors."""
        return angle_between(resized(start, end), end)

    def plan(
        self,
        start: Tensor,
        end: Tensor,
        steps: int,
        prompt: Prompt,
        pictures: tuple[bytes, bytes] | None = None,
    ) -> tuple[Leg, ...]:
        """Lay out the ``steps - 1`` in-betweens that lead from ``start`` to ``end``; nothing is sent yet.

        Args:
            start: Latent of the older keyframe, shape ``[1, C, h, w]`` or ``[1, C, 1, h, w]``.
            end: Latent of the newer one, same shape; the walk has its size if only that differs.
            steps: Frames in the gap, the newer keyframe included; at least 1.
            prompt: The prompt of the newer keyframe.
            pictures: Both keyframes as they are shown, for decoders that have to meet them.

        Returns:
            The legs in order; empty for a gap of one step.

        Raises:
            LatentRejected: If the two latents cannot be walked between.
        """
        import torch

        start = resized(start, end)
        t = torch.arange(1, max(steps, 1)) / steps
        size = self.frames_per_job(end)
        return tuple(
            Leg(first, t[first : first + size], start, end, prompt, pictures)
            for first in range(0, len(t), size)
        )

    def send(self, leg: Leg) -> PicturesJob:
        """Queue one leg at the engine; may be done again after its job has failed.

        Raises:
            EngineError: If the engine does not take it.
        """
        latents = slerp(leg.start, leg.end, leg.t)[:, 0]
        if leg.pictures is None:
            return self._decoder.decode(LatentBatch(latents, leg.prompt))
        start, end = (
            Anchor(latent, picture)
            for latent, picture in zip((leg.start, leg.end), leg.pictures, strict=True)
        )
        return self._decoder.decode(LatentBatch(latents, leg.prompt, tuple(leg.t.tolist()), start, end))


def _pixels(latent: Tensor) -> int:
    return int(latent.shape[-1]) * int(latent.shape[-2]) * _PIXELS_PER_CELL
