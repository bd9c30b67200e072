"""Adapters of what is painted: control nets, masks, a second sampling, larger pictures.

One whose subject is not there (a mask in a graph that only decodes) brings its loaders along all the same:
the server forgets what the last graph did not contain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from backend.core.adapter import Stage, check_file, check_name, check_number, refusal
from backend.core.handles import (
    ConditioningHandle,
    ControlNetHandle,
    GraphNodes,
    Handles,
    ImageHandle,
    MaskHandle,
    UpscaleModelHandle,
)
from backend.core.jobs import FileRef
from backend.core.picture_nodes import join_masks, picture, resize_image, scale_latent, size_of
from backend.core.sampler_nodes import sample


@dataclass(frozen=True)
class ControlNet:
    """A picture that guides the composition.

    Attributes:
        picture: On the server, already in the form that the control net reads (edges, depth, ...).
        strength: 0..10.
        start: From which share of the sampling on, 0..1.
        end: Until which, above ``start``.
    """

    stage: ClassVar[Stage] = Stage.TEXT
    name: str
    picture: FileRef
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        check_name(self, "name", self.name)
        check_file(self, "picture", self.picture)
        check_number(self, "strength", self.strength, 0, 10)
        check_number(self, "start", self.start, 0, 1)
        check_number(self, "end", self.end, self.start, 1)

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """Both conditionings go through it."""
        positive, negative = handles.texts
        net = ControlNetHandle(nodes.add("ControlNetLoader", control_net_name=self.name))
        image = ImageHandle(nodes.add("LoadImage", image=self.picture.annotated))
        node = nodes.add(
            "ControlNetApplyAdvanced",
            positive=positive,
            negative=negative,
            control_net=net,
            image=image,
            vae=handles.vae,
            strength=self.strength,
            start_percent=self.start,
            end_percent=self.end,
        )
        return replace(handles, positive=ConditioningHandle(node, 0), negative=ConditioningHandle(node, 1))


_METHODS = ("noise_mask", "conditioning")


@dataclass(frozen=True)
class Inpaint:
    """Dream only where the mask is white; black stays as it is.

    Attributes:
        mask: A picture on the server; its red channel counts, at whatever size.
        method: ``noise_mask`` for any model, ``conditioning`` for models made for inpainting.
    """

    stage: ClassVar[Stage] = Stage.LATENT
    mask: FileRef
    method: str = "noise_mask"

    def __post_init__(self) -> None:
        check_file(self, "mask", self.mask)
        if self.method not in _METHODS:
            raise refusal(self, "method", self.method, f"one of {', '.join(_METHODS)}")

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """A mask is set, or added to the one that there is."""
        mask = MaskHandle(nodes.add("LoadImageMask", image=self.mask.annotated, channel="red"))
        if handles.latent is None and handles.image is None:
            return handles
        conditions = handles.mask_conditions or self.method == "conditioning"
        if handles.mask is None:
            return replace(handles, mask=mask, mask_conditions=conditions)
        image = picture(nodes, handles)
        joined = mask if image is None else join_masks(nodes, handles.mask, mask, image)
        return replace(handles, image=image, mask=joined, mask_conditions=conditions)


@dataclass(frozen=True)
class Outpaint:
    """Paint on beyond the edges: the picture is padded, shrunk back to its size, and the new margin painted.

    Dreamt again and again this is an endless zoom out. What was there stays; the margin is painted in full,
    whatever the step's denoise. Pixels, 0..4096.
    """

    stage: ClassVar[Stage] = Stage.LATENT
    left_px: int = 0
    top_px: int = 0
    right_px: int = 0
    bottom_px: int = 0
    feather_px: int = 40

    def __post_init__(self) -> None:
        for key in ("left_px", "top_px", "right_px", "bottom_px", "feather_px"):
            check_number(self, key, getattr(self, key), 0, 4096, whole=True)
        if self.left_px + self.top_px + self.right_px + self.bottom_px == 0:
            raise refusal(self, "left_px", 0, "at least one side above 0")

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """Another picture of the same size, and a mask over what is new in it."""
        before = picture(nodes, handles)
        if before is None:
            return handles
        pad = nodes.add(
            "ImagePadForOutpaint",
            image=before,
            left=self.left_px,
            top=self.top_px,
            right=self.right_px,
            bottom=self.bottom_px,
            feathering=self.feather_px,
        )
        after = resize_image(nodes, ImageHandle(pad, 0), size_of(nodes, before))
        mask = join_masks(nodes, handles.mask, MaskHandle(pad, 1), before)
        draw = None if handles.draw is None else replace(handles.draw, denoise=1.0)
        return replace(handles, image=after, latent=None, mask=mask, draw=draw)


_MOST_PX = 16_384
"""The longest side that ComfyUI's nodes take."""


@dataclass(frozen=True)
class Detail:
    """Sample once more, larger. ``scale`` 1..4, ``denoise`` 0.01..1, ``steps`` of the keyframe if None."""

    stage: ClassVar[Stage] = Stage.SAMPLED
    scale: float = 1.5
    denoise: float = 0.35
    steps: int | None = None

    def __post_init__(self) -> None:
        check_number(self, "scale", self.scale, 1, 4)
        check_number(self, "denoise", self.denoise, 0.01, 1)
        if self.steps is not None:
            check_number(self, "steps", self.steps, 1, 10_000, whole=True)

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """A larger latent, sampled again.

        Raises:
            ValueError: Together with other passes it would grow beyond what the server takes.
        """
        if handles.latent is None or handles.draw is None:
            return handles
        first = handles.draw
        steps = first.sampling.steps if self.steps is None else self.steps
        draw = replace(
            first,
            sampling=replace(first.sampling, steps=steps),
            denoise=self.denoise,
            width_px=round(first.width_px * self.scale),
            height_px=round(first.height_px * self.scale),
        )
        if max(draw.width_px, draw.height_px) > _MOST_PX:
            raise refusal(self, "scale", self.scale, f"a picture of at most {_MOST_PX} px a side")
        larger = scale_latent(nodes, handles.latent, self.scale)
        return sample(nodes, replace(handles, latent=larger, draw=draw))


@dataclass(frozen=True)
class UpscaleModel:
    """Larger pictures by a model of models/upscale_models; latents stay as they are."""

    stage: ClassVar[Stage] = Stage.IMAGE
    name: str

    def __post_init__(self) -> None:
        check_name(self, "name", self.name)

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """The decoded pictures go through it."""
        model = UpscaleModelHandle(nodes.add("UpscaleModelLoader", model_name=self.name))
        if handles.image is None:
            return handles
        node = nodes.add("ImageUpscaleWithModel", upscale_model=model, image=handles.image)
        return replace(handles, image=ImageHandle(node))
