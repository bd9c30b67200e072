"""How latents are sampled, as numbers; sampler_nodes.py makes nodes of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """How a sampler works, in ComfyUI's names.

    Attributes:
        cfg: Classifier-free guidance; 1 for models that were distilled to do without.
        guidance: What FluxGuidance tells a guidance-distilled model; None for models that know no such thing.
    """

    steps: int
    cfg: float
    sampler: str
    scheduler: str
    guidance: float | None = None


@dataclass(frozen=True)
class Draw:
    """One sampling: how, from which noise, and how far from what is there.

    Attributes:
        denoise: 0..1, 0 excluded; 1 keeps nothing.
        width_px: Width of the picture, for schedules that depend on it.
        height_px: Height of the picture.
    """

    sampling: Sampling
    seed: int
    denoise: float
    width_px: int
    height_px: int

    @property
    def tail_steps(self) -> int:
        """How many steps a few-step model takes, from the end: the share of ``denoise``, at least one."""
        return max(1, min(self.sampling.steps, round(self.sampling.steps * self.denoise)))
