"""Adapters of what is loaded: model, text encoders, VAE."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

from backend.core.adapter import Stage, check_name, check_number, refusal
from backend.core.handles import ClipHandle, GraphNodes, Handles, ModelHandle, Tiles, VaeHandle


@dataclass(frozen=True)
class Lora:
    """A low-rank change of the model; ``clip_strength`` is ``strength`` unless it is given. -10..10."""

    stage: ClassVar[Stage] = Stage.MODEL
    name: str
    strength: float = 1.0
    clip_strength: float | None = None

    def __post_init__(self) -> None:
        check_name(self, "name", self.name)
        check_number(self, "strength", self.strength, -10, 10)
        if self.clip_strength is not None:
            check_number(self, "clip_strength", self.clip_strength, -10, 10)

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
        check_number(self, "layers", self.layers, 1, 24, whole=True)

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
        check_name(self, "name", self.name)

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
        check_number(self, "tile_px", self.tile_px, 64, 4096, whole=True)
        check_number(self, "overlap_px", self.overlap_px, 0, self.tile_px // 2, whole=True)

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """Whatever is encoded or decoded from here on is so in tiles."""
        return replace(handles, vae=replace(handles.vae, tiles=Tiles(self.tile_px, self.overlap_px)))


@dataclass(frozen=True)
class Shift:
    """The model's noise levels shifted otherwise than its family likes. 0..100, more for larger pictures."""

    stage: ClassVar[Stage] = Stage.MODEL
    value: float

    def __post_init__(self) -> None:
        check_number(self, "value", self.value, 0, 100)

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """The family's own patch, with another shift.

        Raises:
            ValueError: The family has no shift.
        """
        patch = handles.family.patch
        if patch is None or patch.shift_input is None:
            raise refusal(self, "value", self.value, f"{handles.family.name} has no shift; leave it out")
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
            raise refusal(self, "class_type", self.class_type, f"one of {', '.join(_SPEED_UPS)}")

    def apply(self, nodes: GraphNodes, handles: Handles) -> Handles:
        """The model goes through it.

        Raises:
            ValueError: TeaCache does not know the family.
        """
        inputs = dict(_SPEED_UPS[self.class_type])
        if self.class_type == "TeaCache":
            known = _TEA_MODELS.get(handles.family.name)
            if known is None:
                raise refusal(self, "class_type", "TeaCache", f"it does not know {handles.family.name}")
            inputs["model_type"] = known
        return replace(handles, model=ModelHandle(nodes.add(self.class_type, model=handles.model, **inputs)))
