"""What can differ from one model family to another; the families themselves are data in model_families.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from backend.core.sampling import Sampling


class Negative(StrEnum):
    """What a model's guidance leads away from."""

    TEXT = "text"
    """The negative prompt."""
    ZERO = "zero"
    """Nothing at all: the model was distilled to do without, and the negative prompt has no effect."""


@dataclass(frozen=True)
class Slot:
    """One file that a model loaded in parts needs.

    Attributes:
        patterns: Regular expressions for its lower-case name, the best first.
        example: The name under which most people have it.
    """

    patterns: tuple[str, ...]
    example: str

    def find(self, available: tuple[str, ...]) -> str | None:
        """The first file that fits the best pattern."""
        for pattern in self.patterns:
            for name in available:
                if re.search(pattern, base_name(name)):
                    return name
        return None


@dataclass(frozen=True)
class Parts:
    """The files beside the diffusion model.

    Attributes:
        clip_type: The ``type`` of CLIPLoader and DualCLIPLoader.
        encoders: Text encoders, in the order of the loader's inputs.
        vae: What turns its latents into pictures.
    """

    clip_type: str
    encoders: tuple[Slot, ...]
    vae: Slot


@dataclass(frozen=True)
class ModelPatch:
    """A node that every model of the family goes through, and which of its inputs is the shift, if any."""

    class_type: str
    inputs: Mapping[str, object]
    shift_input: str | None = None


@dataclass(frozen=True)
class ModelFamily:
    """The graph, the size and the sampling that suit a family of models.

    Attributes:
        name: How people call it.
        line: The same for a model and its distilled variants, which load alike.
        patterns: Regular expressions, any of which is found in a lower-case file name of the line.
        variant: Regular expressions, any of which a name must have as well; empty for the line's plain model.
        architectures: Regular expressions for the ``modelspec.architecture`` that a file tells of itself.
        width: Picture width in pixels: whole latent cells, about 16:9, near the family's number of pixels.
        height: Picture height in pixels.
        steps: Sampling steps of one picture at denoise 1.
        cfg: Classifier-free guidance scale.
        sampler: ComfyUI's ``sampler_name``.
        scheduler: ComfyUI's ``scheduler``; of no account where there is a ``schedule_node``.
        latent_channels: Channels of a latent.
        cell_px: Side of one latent cell in pixels.
        empty_latent: The node that makes an empty latent.
        guidance: What FluxGuidance is told; None for models that know no such thing.
        negative: What guidance leads away from.
        patch: A node that every model goes through.
        tail: Whether a dream step walks the last of the noise levels that the model was distilled for. Others
            get levels of their own for each denoise, as KSampler makes them.
        schedule_node: A node that knows the family's noise levels from steps and size.
        parts: The files that it is loaded from where it is no checkpoint.
        bare: Regular expressions for checkpoints that lack their text encoders.
        since: The first ComfyUI that can run it; "" for all of the last two years.
    """

    name: str
    line: str
    patterns: tuple[str, ...]
    width: int
    height: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    latent_channels: int = 4
    cell_px: int = 8
    empty_latent: str = "EmptyLatentImage"
    variant: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    guidance: float | None = None
    negative: Negative = Negative.TEXT
    patch: ModelPatch | None = None
    tail: bool = False
    schedule_node: str | None = None
    parts: Parts | None = field(default=None, repr=False)
    bare: tuple[str, ...] = ()
    since: str = ""

    def sampling(
        self,
        steps: int | None = None,
        cfg: float | None = None,
        sampler: str | None = None,
        scheduler: str | None = None,
    ) -> Sampling:
        """The family's sampling, but for what is wished otherwise.

        The one number by which people mean "how strictly" is ``cfg``: guidance-distilled models take it as
        their guidance, since real classifier-free guidance spoils their pictures.
        """
        guided = self.guidance is not None
        return Sampling(
            steps=self.steps if steps is None else steps,
            cfg=self.cfg if cfg is None or guided else cfg,
            sampler=sampler or self.sampler,
            scheduler=scheduler or self.scheduler,
            guidance=cfg if cfg is not None and guided else self.guidance,
        )


def base_name(name: str) -> str:
    """The lower-case file name of a model that may lie in a sub-folder (either slash)."""
    return name.replace("\\", "/").rsplit("/", 1)[-1].lower()
