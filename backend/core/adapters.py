"""What a user adds to the graphs: LoRAs, control nets, masks, upscalers. Any number, in any order.

Each adapter is a small function from handles to handles. They are applied by stage, in the user's order
within a stage. One whose subject is not there (a mask in a graph that only decodes) brings its loaders along
all the same: the server forgets what the last graph did not contain.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from types import MappingProxyType
from typing import ClassVar, TypeAlias

from backend.core.handles import (
    ClipHandle,
    ConditioningHandle,
    ControlNetHandle,
    GraphNodes,
    Handles,
    ImageHandle,
    MaskHandle,
    ModelHandle,
    Tiles,
    UpscaleModelHandle,
    VaeHandle,
)
from backend.core.jobs import FileRef
from backend.core.picture_nodes import join_masks, picture, resize_image, scale_latent, size_of
from backend.core.sampler_nodes import sample


class Stage(IntEnum):
    """When an adapter has its turn."""

    MODEL = 0
    """After loading, before the texts are encoded."""
    TEXT = 1
    """On the conditioning."""
    LATENT = 2
    """On what the sampling starts from."""
    SAMPLED = 3
    """On its result, before decoding."""
    IMAGE = 4
    """On the decoded pictures, keyframes and in-betweens alike."""


@dataclass(frozen=True)
class Lora:
    """A low-rank change of the model; ``clip_strength`` is ``strength`` unless it is given. -10..10."""

    stage: ClassVar[Stage] = Stage.MODEL
    name: str
    strength: float = 1.0
    clip_strength: float | None = None

    def __post_init__(self) -> None:
        _check_name(self, "name", self.name)
        _check_number(self, "strength", self.strength, -10, 10)
        if self.clip_strength is not None:
            _check_number(self, "clip_strength", self.clip_strength, -10, 10)

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """Model and text encoders go through it."""
        node = nodes.add(
            "LoraLoader",
            model=handles.model,
            clip=handles.clip,
            lora_name=self.name,
            strength_model=self.strength,
            strength_clip=self.strength if self.clip_strength is None else self.clip_strength,
        )
        return replace(handles, model=ModelHandle(node, 0), clip=ClipHandle(node, 1))


@dataclass(frozen=True)
class ClipSkip:
    """Take the text encoder's output before its end: 1 is the last layer, 2 the one before, up to 24."""

    stage: ClassVar[Stage] = Stage.MODEL
    layers: int

    def __post_init__(self) -> None:
        _check_number(self, "layers", self.layers, 1, 24, whole=True)

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """The text encoders stop earlier."""
        node = nodes.add("CLIPSetLastLayer", clip=handles.clip, stop_at_clip_layer=-self.layers)
        return replace(handles, clip=ClipHandle(node))


@dataclass(frozen=True)
class SeparateVae:
    """A VAE of its own file in the place of the model's."""

    stage: ClassVar[Stage] = Stage.MODEL
    name: str

    def __post_init__(self) -> None:
        _check_name(self, "name", self.name)

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """The VAE is another; the way in which it is to work stays."""
        node = nodes.add("VAELoader", vae_name=self.name)
        return replace(handles, vae=VaeHandle(node, 0, handles.vae.tiles))


@dataclass(frozen=True)
class TiledVae:
    """Encode and decode in tiles, where memory is short. Pixels: tile 64..4096, overlap up to half of it."""

    stage: ClassVar[Stage] = Stage.MODEL
    tile_px: int = 512
    overlap_px: int = 64

    def __post_init__(self) -> None:
        _check_number(self, "tile_px", self.tile_px, 64, 4096, whole=True)
        _check_number(self, "overlap_px", self.overlap_px, 0, self.tile_px // 2, whole=True)

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """Whatever is encoded or decoded from here on is so in tiles."""
        return replace(handles, vae=replace(handles.vae, tiles=Tiles(self.tile_px, self.overlap_px)))


@dataclass(frozen=True)
class Shift:
    """The model's noise levels shifted otherwise than its family likes. 0..100, more for larger pictures."""

    stage: ClassVar[Stage] = Stage.MODEL
    value: float

    def __post_init__(self) -> None:
        _check_number(self, "value", self.value, 0, 100)

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """The family's own patch, with another shift.

        Raises:
            ValueError: The family has no shift.
        """
        patch = handles.family.patch
        if patch is None or patch.shift_input is None:
            raise _refusal(self, "value", self.value, f"{handles.family.name} has no shift; leave it out")
        inputs = {**patch.inputs, patch.shift_input: self.value}
        node = nodes.add(patch.class_type, model=handles.model, **inputs)
        return replace(handles, model=ModelHandle(node))


_STOCK_CACHE = MappingProxyType(
    {"reuse_threshold": 0.2, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}
)
_TEA_CACHE = MappingProxyType(
    {"rel_l1_thresh": 0.4, "start_percent": 0.0, "end_percent": 1.0, "cache_device": "cuda"}
)
_SPEED_UPS = MappingProxyType({"EasyCache": _STOCK_CACHE, "LazyCache": _STOCK_CACHE, "TeaCache": _TEA_CACHE})
_TEA_MODELS = MappingProxyType(
    {
        "Flux dev": "flux",
        "HiDream": "hidream_i1_full",
        "HiDream dev": "hidream_i1_dev",
        "HiDream fast": "hidream_i1_fast",
    }
)


@dataclass(frozen=True)
class SpeedUp:
    """Skip steps that would change little: EasyCache and LazyCache are stock nodes, TeaCache a custom one."""

    stage: ClassVar[Stage] = Stage.MODEL
    class_type: str

    def __post_init__(self) -> None:
        if self.class_type not in _SPEED_UPS:
            raise _refusal(self, "class_type", self.class_type, f"one of {', '.join(_SPEED_UPS)}")

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """The model goes through it.

        Raises:
            ValueError: TeaCache does not know the family.
        """
        inputs = dict(_SPEED_UPS[self.class_type])
        if self.class_type == "TeaCache":
            known = _TEA_MODELS.get(handles.family.name)
            if known is None:
                raise _refusal(self, "class_type", "TeaCache", f"it does not know {handles.family.name}")
            inputs["model_type"] = known
        return replace(handles, model=ModelHandle(nodes.add(self.class_type, model=handles.model, **inputs)))


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
        _check_name(self, "name", self.name)
        _check_file(self, "picture", self.picture)
        _check_number(self, "strength", self.strength, 0, 10)
        _check_number(self, "start", self.start, 0, 1)
        _check_number(self, "end", self.end, self.start, 1)

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
        _check_file(self, "mask", self.mask)
        if self.method not in _METHODS:
            raise _refusal(self, "method", self.method, f"one of {', '.join(_METHODS)}")

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
            _check_number(self, key, getattr(self, key), 0, 4096, whole=True)
        if self.left_px + self.top_px + self.right_px + self.bottom_px == 0:
            raise _refusal(self, "left_px", 0, "at least one side above 0")

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


@dataclass(frozen=True)
class Detail:
    """Sample once more, larger. ``scale`` 1..4, ``denoise`` 0.01..1, ``steps`` of the keyframe if None."""

    stage: ClassVar[Stage] = Stage.SAMPLED
    scale: float = 1.5
    denoise: float = 0.35
    steps: int | None = None

    def __post_init__(self) -> None:
        _check_number(self, "scale", self.scale, 1, 4)
        _check_number(self, "denoise", self.denoise, 0.01, 1)
        if self.steps is not None:
            _check_number(self, "steps", self.steps, 1, 10_000, whole=True)

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """A larger latent, sampled again."""
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
        larger = scale_latent(nodes, handles.latent, self.scale)
        return sample(nodes, replace(handles, latent=larger, draw=draw))


@dataclass(frozen=True)
class UpscaleModel:
    """Larger pictures by a model of models/upscale_models; latents stay as they are."""

    stage: ClassVar[Stage] = Stage.IMAGE
    name: str

    def __post_init__(self) -> None:
        _check_name(self, "name", self.name)

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """The decoded pictures go through it."""
        model = UpscaleModelHandle(nodes.add("UpscaleModelLoader", model_name=self.name))
        if handles.image is None:
            return handles
        node = nodes.add("ImageUpscaleWithModel", upscale_model=model, image=handles.image)
        return replace(handles, image=ImageHandle(node))


Adapter: TypeAlias = (
    Lora
    | ClipSkip
    | SeparateVae
    | TiledVae
    | Shift
    | SpeedUp
    | ControlNet
    | Inpaint
    | Outpaint
    | Detail
    | UpscaleModel
)


def apply_stage(stage: Stage, adapters: Iterable[Adapter], nodes: GraphNodes, handles: Handles) -> Handles:
    """All adapters of a stage, one after the other, in their order."""
    for adapter in adapters:
        if adapter.stage is stage:
            handles = adapter.apply(nodes, handles)
    return handles


def usable(adapters: Iterable[Adapter], classes: Container[str]) -> tuple[Adapter, ...]:
    """The adapters but for speed-ups that the server has no node for: they are to hurry, not to stop."""
    return tuple(one for one in adapters if not isinstance(one, SpeedUp) or one.class_type in classes)


def _check_name(adapter: object, key: str, name: str) -> None:
    if not name or name != name.strip():
        raise _refusal(adapter, key, name, "the name of a file as the server lists it")
    _check_path(adapter, key, name)


def _check_file(adapter: object, key: str, file: FileRef) -> None:
    for part in (file.filename, file.subfolder):
        _check_path(adapter, key, part)


def _check_path(adapter: object, key: str, path: str) -> None:
    parts = path.replace("\\", "/").split("/")
    if ".." in parts or path[:1] in ("/", "\\") or path[1:2] == ":" or not path.isprintable():
        raise _refusal(adapter, key, path, "a file inside the server's own folder, without '..'")


def _check_number(
    adapter: object, key: str, value: float, least: float, most: float, *, whole: bool = False
) -> None:
    number = isinstance(value, int) if whole else isinstance(value, int | float)
    if not number or isinstance(value, bool) or not math.isfinite(value) or not least <= value <= most:
        kind = "a whole number" if whole else "a number"
        raise _refusal(adapter, key, value, f"{kind} from {least} to {most}")


def _refusal(adapter: object, key: str, value: object, wish: str) -> ValueError:
    return ValueError(f"adapter {type(adapter).__name__}: {key} = {value!r}: {wish}")
