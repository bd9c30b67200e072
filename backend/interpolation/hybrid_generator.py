"""**HybridGenerator**: two keyframes -> the frames between them, in as few engine jobs as memory allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backend.interpolation.decoder import Anchor, Decoder, LatentBatch, PicturesJob
from backend.interpolation.latent_size import resized
from backend.interpolation.spherical_lerp import angle_between
from backend.interpolation.walk import Walk
from backend.utils.prompt_manager import Prompt

if TYPE_CHECKING:
    from torch import Tensor

# A decoded batch lies in the server's memory as float32 RGB: 12 bytes a pixel, here up to 400 MB.
_PIXELS_PER_JOB = 32_000_000
_PIXELS_PER_CELL = 64
# However small they are: the nodes of comfyui_nodes take no more at a time.
_FRAMES_PER_JOB = 4096


@dataclass(frozen=True, eq=False)
class Leg:
    """A part of a walk that travels as one job: what is to be decoded, not yet the latents themselves.

    Attributes:
        t: Where on the walk its in-betweens lie, 0 to 1, shape ``[N]``.
        pictures: The keyframes at both ends, encoded; None where they are not at hand.
    """

    walk: Walk
    t: Tensor
    prompt: Prompt
    pictures: tuple[bytes, bytes] | None = None

    def __len__(self) -> int:
        return len(self.t)

    def split(self, frames: int) -> tuple[Leg, Leg]:
        """Its first ``frames`` in-betweens, and the others; neither may be empty."""
        return replace(self, t=self.t[:frames]), replace(self, t=self.t[frames:])

    def only(self, numbers: Sequence[int]) -> Leg:
        """Some of its in-betweens."""
        return replace(self, t=self.t[list(numbers)])


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
        likely = self._frames_per_job or max(1, _PIXELS_PER_JOB // _pixels(latent))
        return min(likely, _FRAMES_PER_JOB)

    def angle(self, start: Tensor, end: Tensor) -> float:
        """Radians between two latents; raises LatentRejected where no walk leads from one to the other."""
        return angle_between(resized(start, end), end)

    def plan(
        self, walk: Walk, t: Tensor, prompt: Prompt, pictures: tuple[bytes, bytes] | None = None
    ) -> tuple[Leg, ...]:
        """Lay out in-betweens in legs of a size that the engine can bear; nothing is sent yet.

        Args:
            walk: From the older keyframe to the newer one.
            t: Where on it they lie, shape ``[N]``.
            prompt: The prompt of the newer keyframe.
            pictures: Both keyframes as they are shown, for decoders that have to meet them.

        Returns:
            The legs in order; empty where there is nothing between.
        """
        size = self.frames_per_job(walk.end.at.latent)
        parts = (t[first : first + size] for first in range(0, len(t), size))
        return tuple(Leg(walk, part, prompt, pictures) for part in parts)

    def send(self, leg: Leg) -> PicturesJob:
        """Queue one leg at the engine; may be done again after its job has failed.

        Raises:
            EngineError: If the engine does not take it.
        """
        batch = LatentBatch(leg.walk.latents(leg.t), leg.prompt, tuple(leg.t.tolist()), walk=leg.walk)
        if leg.pictures is not None:
            ends = (leg.walk.start.at.latent, leg.walk.end.at.latent)
            start, end = (Anchor(latent, picture) for latent, picture in zip(ends, leg.pictures, strict=True))
            batch = replace(batch, start=start, end=end)
        return self._decoder.decode(batch)


def _pixels(latent: Tensor) -> int:
    return int(latent.shape[-1]) * int(latent.shape[-2]) * _PIXELS_PER_CELL
