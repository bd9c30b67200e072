"""Typed handles of a graph in the making, so that a latent cannot be plugged in where a picture belongs.

:class:`GraphNodes` is the graph, :class:`Handles` what has been reached in it so far. Loaders, adapters and
the sampling are functions from handles to handles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backend.core.model_family import ModelFamily
from backend.core.sampling import Draw


@dataclass(frozen=True)
class Handle:
    """One output of a node."""

    node: str
    slot: int = 0

    @property
    def link(self) -> list[str | int]:
        """As an API-format graph refers to it."""
        return [self.node, self.slot]


class ModelHandle(Handle):
    """A MODEL output."""


class ClipHandle(Handle):
    """A CLIP output: one text encoder, or several that work as one."""


class ConditioningHandle(Handle):
    """A CONDITIONING output."""


class LatentHandle(Handle):
    """A LATENT output."""


class WalkHandle(Handle):
    """A DREAMLOOP_WALK output: a way through latents, of our own nodes."""


class ImageHandle(Handle):
    """An IMAGE output: a batch of pictures."""


class MaskHandle(Handle):
    """A MASK output: 1 where something is to be painted, 0 where all stays."""


class NumberHandle(Handle):
    """An INT output."""


class ControlNetHandle(Handle):
    """A CONTROL_NET output."""


class UpscaleModelHandle(Handle):
    """An UPSCALE_MODEL output."""


class SigmasHandle(Handle):
    """A SIGMAS output: the noise levels of a sampling, falling."""


class GuiderHandle(Handle):
    """A GUIDER output."""


class NoiseHandle(Handle):
    """A NOISE output."""


class SamplerHandle(Handle):
    """A SAMPLER output."""


@dataclass(frozen=True)
class Tiles:
    """In which pieces a VAE works where memory is short, in pixels."""

    tile_px: int
    overlap_px: int


@dataclass(frozen=True)
class VaeHandle(Handle):
    """A VAE output, and in which tiles it is to work; None for whole pictures."""

    tiles: Tiles | None = None


@dataclass(frozen=True)
class Handles:
    """What a graph in the making has to offer.

    Attributes:
        family: What the model is of.
        positive: The prompt's conditioning; None until the texts are encoded.
        negative: What guidance leads away from.
        latent: Before the sampling, what it starts from; after it, its result. None while only ``image`` is
            known, or nothing yet.
        image: Before the sampling, the picture that is dreamt on; after it, the decoded result.
        mask: Where the sampling may paint; None for everywhere.
        mask_conditions: Whether the mask is shown to the model too, as inpainting models want it.
        draw: The sampling to come; None in a graph that samples nothing.
        tiny_vae: A small VAE for in-betweens; None where none is wished for, or there is none.
    """

    family: ModelFamily
    model: ModelHandle
    clip: ClipHandle
    vae: VaeHandle
    positive: ConditioningHandle | None = None
    negative: ConditioningHandle | None = None
    latent: LatentHandle | None = None
    image: ImageHandle | None = None
    mask: MaskHandle | None = None
    mask_conditions: bool = False
    draw: Draw | None = None
    tiny_vae: VaeHandle | None = None

    @property
    def texts(self) -> tuple[ConditioningHandle, ConditioningHandle]:
        """The positive and the negative conditioning.

        Raises:
            ValueError: If the texts are not encoded yet.
        """
        if self.positive is None or self.negative is None:
            raise ValueError("the texts are encoded before anything is done with their conditioning")
        return self.positive, self.negative


class GraphNodes:
    """A graph in the making; ids count up from "1" in the order in which nodes are added."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}

    def add(self, class_type: str, **inputs: object) -> str:
        """Add a node and return its id.

        Args:
            class_type: ComfyUI's name of the class.
            **inputs: Handles become links; whatever else is taken as it is.
        """
        node_id = str(len(self.nodes) + 1)
        linked = {name: value.link if isinstance(value, Handle) else value for name, value in inputs.items()}
        self.nodes[node_id] = {"class_type": class_type, "inputs": linked}
        return node_id
