"""The nodes that load a model and encode the texts: what every graph has, and the server keeps warm."""

from __future__ import annotations

from dataclasses import replace

from backend.core.handles import (
    ClipHandle,
    ConditioningHandle,
    GraphNodes,
    Handles,
    ModelHandle,
    VaeHandle,
)
from backend.core.model_choice import Models
from backend.core.model_family import Negative

_BIG_LOADERS = {3: "TripleCLIPLoader", 4: "QuadrupleCLIPLoader"}


def load_models(nodes: GraphNodes, models: Models, *, patched: bool = True) -> Handles:
    """Loaders of a checkpoint, or of a diffusion model and its parts; ``patched`` as the family wants it.

    Raises:
        ValueError: A diffusion model without text encoders or without a VAE, or more encoders than there are
            loaders for.
    """
    if models.checkpoint is not None:
        loader = nodes.add("CheckpointLoaderSimple", ckpt_name=models.checkpoint)
        model, clip, vae = ModelHandle(loader, 0), ClipHandle(loader, 1), VaeHandle(loader, 2)
        if models.text_encoders:
            clip = _load_encoders(nodes, models)
        if models.vae is not None:
            vae = load_vae(nodes, models.vae)
    elif models.diffusion_model is not None and models.vae is not None:
        unet = nodes.add("UNETLoader", unet_name=models.diffusion_model, weight_dtype="default")
        model, clip, vae = ModelHandle(unet), _load_encoders(nodes, models), load_vae(nodes, models.vae)
    else:
        raise ValueError("a checkpoint is needed, or a diffusion model with its text encoders and its VAE")
    patch = models.family.patch
    if patched and patch is not None:
        model = ModelHandle(nodes.add(patch.class_type, model=model, **patch.inputs))
    return Handles(models.family, model, clip, vae)


def encode_texts(
    nodes: GraphNodes, handles: Handles, prompt: str, negative: str, guidance: float | None
) -> Handles:
    """Both conditionings, as the family wants them."""
    text = ConditioningHandle(nodes.add("CLIPTextEncode", text=prompt, clip=handles.clip))
    if handles.family.negative is Negative.ZERO:
        away = ConditioningHandle(nodes.add("ConditioningZeroOut", conditioning=text))
    else:
        away = ConditioningHandle(nodes.add("CLIPTextEncode", text=negative, clip=handles.clip))
    if guidance is not None:
        text = ConditioningHandle(nodes.add("FluxGuidance", conditioning=text, guidance=guidance))
    return replace(handles, positive=text, negative=away)


def _load_encoders(nodes: GraphNodes, models: Models) -> ClipHandle:
    names = models.text_encoders
    numbered = {f"clip_name{number}": name for number, name in enumerate(names, start=1)}
    clip_type = models.family.parts.clip_type if models.family.parts else "stable_diffusion"
    if len(names) == 1:
        return ClipHandle(nodes.add("CLIPLoader", clip_name=names[0], type=clip_type))
    if len(names) == 2:
        return ClipHandle(nodes.add("DualCLIPLoader", **numbered, type=clip_type))
    if len(names) in _BIG_LOADERS:
        return ClipHandle(nodes.add(_BIG_LOADERS[len(names)], **numbered))
    raise ValueError(f"{len(names)} text encoders: one to four can be loaded together")


def load_vae(nodes: GraphNodes, name: str) -> VaeHandle:
    """A VAE of its own, by its name in VAELoader."""
    return VaeHandle(nodes.add("VAELoader", vae_name=name))
