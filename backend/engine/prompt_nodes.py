"""The nodes that shape what is asked for: LoRAs, and prompts made of several.

Names, ranges, defaults and tooltips are ComfyUI's own, since clients read them.
"""

from __future__ import annotations

from collections.abc import Callable

from backend.engine import wording
from backend.engine.node_type import Input, JsonObject, NodeCall, NodeResult, NodeType, Output, link, tip

LORAS = ("dreamloop-black-noir.safetensors", "dreamloop-frost.safetensors", "dreamloop-gold.safetensors")
"""The engine's LoRAs are words: what their names say is blended into the prompt."""

_STRENGTH: JsonObject = {"default": 1.0, "min": -100.0, "max": 100.0, "step": 0.01}
_LORA = (
    "LoRAs are used to modify diffusion and CLIP models, altering the way in which latents are denoised such "
    "as applying styles. Multiple LoRA nodes can be linked together."
)
_MODEL = Output("MODEL", tooltip="The modified diffusion model.")
_CLIP = Output("CLIP", tooltip="The modified CLIP model.")


def prompt_nodes() -> list[NodeType]:
    """LoRAs and conditionings."""
    combine = ("conditioning_1", "conditioning_2")
    concat = ("conditioning_to", "conditioning_from")
    return [
        _lora_loader(),
        _model_lora_loader(),
        _of_two("ConditioningCombine", "Conditioning (Combine)", combine, _combine),
        _of_two("ConditioningConcat", "Conditioning (Concat)", concat, _concat),
        _average(),
    ]


def _lora_loader() -> NodeType:
    told = "How strongly to modify the {} model. This value can be negative."
    return NodeType(
        "LoraLoader",
        (
            link("model", "MODEL", "The diffusion model the LoRA will be applied to."),
            link("clip", "CLIP", "The CLIP model the LoRA will be applied to."),
            _name(tip("The name of the LoRA.")),
            Input("strength_model", "FLOAT", _STRENGTH | tip(told.format("diffusion"))),
            Input("strength_clip", "FLOAT", _STRENGTH | tip(told.format("CLIP"))),
        ),
        (_MODEL, _CLIP),
        lambda call: NodeResult(
            (_with_lora(call, "model", "strength_model"), _with_lora(call, "clip", "strength_clip"))
        ),
        "loaders",
        "Load LoRA",
        _LORA,
    )


def _model_lora_loader() -> NodeType:
    return NodeType(
        "LoraLoaderModelOnly",
        (link("model", "MODEL"), _name(None), Input("strength_model", "FLOAT", _STRENGTH)),
        (_MODEL,),
        lambda call: NodeResult((_with_lora(call, "model", "strength_model"),)),
        "loaders",
        description=_LORA,
        # ComfyUI lets this node inherit the tooltips of the other, one more than it has outputs.
        more_tooltips=(_CLIP.tooltip,),
    )


def _name(options: JsonObject | None) -> Input:
    return Input("lora_name", "COMBO", options, lambda workspace: workspace.models["loras"])


def _with_lora(call: NodeCall, what: str, strength: str) -> wording.Loras:
    loras: wording.Loras = call.inputs[what]
    return (*loras, (wording.words_of(call.inputs["lora_name"]), call.inputs[strength]))


def _of_two(
    name: str, display_name: str, inputs: tuple[str, str], work: Callable[[NodeCall], NodeResult]
) -> NodeType:
    links = tuple(link(given, "CONDITIONING") for given in inputs)
    return NodeType(name, links, (Output("CONDITIONING"),), work, "conditioning", display_name)


def _combine(call: NodeCall) -> NodeResult:
    inputs = call.inputs
    return NodeResult((wording.combined(inputs["conditioning_1"], inputs["conditioning_2"]),))


def _concat(call: NodeCall) -> NodeResult:
    inputs = call.inputs
    return NodeResult((wording.concatenated(inputs["conditioning_to"], inputs["conditioning_from"]),))


def _average() -> NodeType:
    share: JsonObject = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}
    return NodeType(
        "ConditioningAverage",
        (
            link("conditioning_to", "CONDITIONING"),
            link("conditioning_from", "CONDITIONING"),
            Input("conditioning_to_strength", "FLOAT", share),
        ),
        (Output("CONDITIONING"),),
        _averaged,
        "conditioning",
    )


def _averaged(call: NodeCall) -> NodeResult:
    to, source = call.inputs["conditioning_to"], call.inputs["conditioning_from"]
    return NodeResult((wording.averaged(to, source, call.inputs["conditioning_to_strength"]),))
