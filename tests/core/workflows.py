"""Workflows as people export them, for the tests of everything that reads and builds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backend.core.workflow_files import load_workflow
from backend.core.workflow_places import CustomWorkflow

EXAMPLES = Path(__file__).resolve().parents[2] / "prompts" / "workflows"
PLAIN: dict[str, Any] = json.loads((EXAMPLES / "example.json").read_text())


def node(class_type: str, title: str = "", **inputs: Any) -> dict[str, Any]:
    meta = {"_meta": {"title": title}} if title else {}
    return {"class_type": class_type, "inputs": inputs, **meta}


FLUX: dict[str, Any] = {
    "1": node("UNETLoader", unet_name="flux.safetensors", weight_dtype="default"),
    "2": node("DualCLIPLoader", clip_name1="l.safetensors", clip_name2="t5.safetensors", type="flux"),
    "3": node("VAELoader", vae_name="ae.safetensors"),
    "4": node("CLIPTextEncodeFlux", clip=["2", 0], clip_l="a cat", t5xxl="a cat", guidance=3.5),
    "5": node("BasicGuider", model=["1", 0], conditioning=["6", 0]),
    "6": node("FluxGuidance", conditioning=["4", 0], guidance=3.5),
    "7": node("RandomNoise", noise_seed=5),
    "8": node("KSamplerSelect", sampler_name="euler"),
    "9": node("BasicScheduler", model=["1", 0], scheduler="simple", steps=20, denoise=1.0),
    "10": node("EmptySD3LatentImage", width=1024, height=1024, batch_size=1),
    "11": node(
        "SamplerCustomAdvanced",
        noise=["7", 0],
        guider=["5", 0],
        sampler=["8", 0],
        sigmas=["9", 0],
        latent_image=["10", 0],
    ),
    "12": node("VAEDecode", samples=["11", 0], vae=["3", 0]),
    "13": node("PreviewImage", images=["12", 0]),
}
"""Loaders apart, a custom sampler, one text in two fields, no negative."""

CONTROLLED: dict[str, Any] = {
    **PLAIN,
    "5": node("KSampler", **{**PLAIN["5"]["inputs"], "positive": ["20", 0], "negative": ["20", 1]}),
    "20": node(
        "ControlNetApplyAdvanced",
        positive=["2", 0],
        negative=["3", 0],
        control_net=["21", 0],
        image=["22", 0],
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
    ),
    "21": node("ControlNetLoader", control_net_name="depth.safetensors"),
    "22": node("LoadImage", image="depth.png"),
}

ENLARGED: dict[str, Any] = {
    **PLAIN,
    "7": node("SaveImage", "Large", images=["30", 0], filename_prefix="large"),
    "30": node("ImageScaleBy", image=["6", 0], upscale_method="lanczos", scale_by=2.0),
}
"""The picture is made larger after it was decoded."""

TWO_SAMPLERS: dict[str, Any] = {
    **PLAIN,
    "6": node("VAEDecode", samples=["41", 0], vae=["1", 2]),
    "40": node(
        "LatentUpscaleBy",
        samples=["5", 0],
        upscale_method="bislerp",
        scale_by=1.5,
    ),
    "41": node("KSampler", "Second", **{**PLAIN["5"]["inputs"], "latent_image": ["40", 0], "denoise": 0.4}),
}


def written(folder: Path, graph: Any, bindings: str | None = None, name: str = "mine") -> Path:
    """The folder with both files of a workflow in it."""
    text = graph if isinstance(graph, str) else json.dumps(graph, indent=2)
    (folder / f"{name}.json").write_text(text)
    if bindings is not None:
        (folder / f"{name}.yaml").write_text(bindings)
    return folder


def loaded(folder: Path, graph: Any, bindings: str | None = None) -> CustomWorkflow:
    return load_workflow(written(folder, graph, bindings), "mine")
