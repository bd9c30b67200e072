"""What a user adds to the graphs: LoRAs, control nets, masks, upscalers. Any number, in any order.

Each adapter is a small function from handles to handles. They are applied by stage, in the user's order
within a stage.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import TypeAlias

from backend.core.adapter import Stage
from backend.core.handles import GraphNodes, Handles
from backend.core.model_adapters import ClipSkip, Lora, SeparateVae, Shift, SpeedUp, TiledVae
from backend.core.picture_adapters import ControlNet, Detail, Inpaint, Outpaint, UpscaleModel

__all__ = [
    "Adapter",
    "ClipSkip",
    "ControlNet",
    "Detail",
    "Inpaint",
    "Lora",
    "Outpaint",
    "SeparateVae",
    "Shift",
    "SpeedUp",
    "Stage",
    "TiledVae",
    "UpscaleModel",
    "apply_stage",
    "usable",
]

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
