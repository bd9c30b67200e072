"""Graphs for tests: models of every family, catalogs that have them, and what a graph is made of.

The golden graphs under tests/data/graphs are written by ``python -m tests.core.graphs``, to be read before
they are committed: without an argument those that are not there yet, with names of families just those, and
with "node pack" those of our own nodes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from backend.core.adapters import Adapter, TiledVae
from backend.core.graph_validation import graph_problems
from backend.core.jobs import FileRef, Graph
from backend.core.latent_nodes import AS_JPEG, WalkFrames
from backend.core.model_choice import Models
from backend.core.model_families import FAMILIES, QWEN_IMAGE, SD15
from backend.core.model_family import ModelFamily
from backend.core.node_catalog import NodeCatalog
from backend.core.workflow_builder import (
    DecodeLatents,
    DreamStep,
    EncodePicture,
    ImageToImage,
    Request,
    TextToImage,
    WorkflowBuilder,
)
from tests.core.recorded import node_catalog

VERSIONS = ("0.3.64", "0.33.0")
GOLDEN = Path(__file__).parent.parent / "data" / "graphs"
GOLDEN_PACKED = GOLDEN.parent / "node_pack_graphs.json"

CHECKPOINT = "model.safetensors"
LORA = "lora.safetensors"
CONTROL_NET = "control.safetensors"
UPSCALER = "upscaler.pth"
PICTURE = FileRef("picture.png", "", "input")
MASK = FileRef("mask.png", "", "input")
LATENT = FileRef("kf_00001_.latent", "dreamloop", "output")
COURSE = '{"path": "slerp", "seconds": 4.0, "start": {"at": 0}, "end": {"at": 1}}'
WALK = WalkFrames(
    (LATENT, FileRef("kf_00002_.latent", "dreamloop", "output")), COURSE, (0.25, 0.5, 0.75), "a cat", "fog"
)

_LOADED = (
    ("CheckpointLoaderSimple", "ckpt_name"),
    ("UNETLoader", "unet_name"),
    ("CLIPLoader", "clip_name"),
    *(("DualCLIPLoader", f"clip_name{number}") for number in (1, 2)),
    *(("TripleCLIPLoader", f"clip_name{number}") for number in (1, 2, 3)),
    *(("QuadrupleCLIPLoader", f"clip_name{number}") for number in (1, 2, 3, 4)),
    ("VAELoader", "vae_name"),
    ("LoraLoader", "lora_name"),
    ("ControlNetLoader", "control_net_name"),
    ("UpscaleModelLoader", "model_name"),
)
WARM = re.compile(
    r"Loader|^CLIP|^ModelSampling|^FluxGuidance$|^ConditioningZeroOut$|Cache$|^ControlNet|^LoadImageMask$"
)
"""Classes of the nodes that every graph of one builder carries."""


def as_checkpoint(family: ModelFamily) -> Models:
    return Models(family, checkpoint=CHECKPOINT)


def in_parts(family: ModelFamily) -> Models:
    parts = family.parts
    assert parts is not None
    encoders = tuple(slot.example for slot in parts.encoders)
    return Models(family, diffusion_model=CHECKPOINT, text_encoders=encoders, vae=parts.vae.example)


def usual(family: ModelFamily) -> Models:
    """As most people load it."""
    split = family.line in ("flux", "flux2", "hidream", "qwen-image", "z-image")
    return in_parts(family) if split else as_checkpoint(family)


LOADINGS = [as_checkpoint(family) for family in FAMILIES] + [
    in_parts(family) for family in FAMILIES if family.parts
]


def loading_name(models: Models) -> str:
    return f"{models.family.name} {'checkpoint' if models.checkpoint else 'parts'}"


def versions_of(family: ModelFamily) -> tuple[str, ...]:
    """The recorded servers that can run a family."""
    return tuple(version for version in VERSIONS if _number(version) >= _number(family.since))


def requests(family: ModelFamily) -> tuple[Request, ...]:
    width, height = family.width, family.height
    return (
        TextToImage("a cat", "fog", 9, width, height),
        ImageToImage(PICTURE, "a cat", "fog", 9, 0.4, (width, height)),
        ImageToImage(PICTURE, "a cat", "fog", 9, 0.4),
        DreamStep(LATENT, "a cat", "fog", 9, 0.4, (width, height)),
        DreamStep(LATENT, "a cat", "fog", 9, 0.4),
        DecodeLatents(LATENT, "a cat", "fog"),
        EncodePicture(PICTURE, "a cat", "fog"),
    )


def builder(models: Models, *adapters: Adapter) -> WorkflowBuilder:
    return WorkflowBuilder(models, models.family.sampling(), lambda: "dream/kf", adapters)


def build(models: Models, request: Request, *adapters: Adapter) -> Graph:
    return builder(models, *adapters).build(request).graph


@cache
def catalog(version: str, *, pack: bool = False) -> NodeCatalog:
    """A recorded server that has every model of these tests, and perhaps our own nodes."""
    names = {CHECKPOINT, LORA, CONTROL_NET, UPSCALER, "other.safetensors"}
    for family in FAMILIES:
        if family.parts:
            names |= {slot.example for slot in (*family.parts.encoders, family.parts.vae)}
    known = node_catalog(version, pack=pack)
    for class_type, input_name in _LOADED:
        known = known.with_choices(class_type, input_name, sorted(names))
    return known


def problems(graph: Graph, version: str, *, pack: bool = False) -> list[str]:
    return [str(problem) for problem in graph_problems(graph, catalog(version, pack=pack))]


def classes(graph: Graph) -> list[str]:
    return [node["class_type"] for node in graph.values()]


def only(graph: Graph, class_type: str) -> Mapping[str, Any]:
    """The inputs of the one node of a class."""
    (node,) = [node for node in graph.values() if node["class_type"] == class_type]
    inputs: Mapping[str, Any] = node["inputs"]
    return inputs


def connected(graph: Graph) -> dict[str, str]:
    """The nodes that run, id -> class: those that the outputs need."""
    todo = [key for key, node in graph.items() if node["class_type"] in ("SaveLatent", "SaveImageWebsocket")]
    found: dict[str, str] = {}
    while todo:
        node_id = todo.pop()
        found[node_id] = graph[node_id]["class_type"]
        todo += [value[0] for value in graph[node_id]["inputs"].values() if isinstance(value, list)]
    return found


def content(graph: Graph, node_id: str) -> str:
    """What the server keys its cache by: class, inputs and all that stands before."""
    inputs = {
        name: [content(graph, value[0]), value[1]] if isinstance(value, list) else value
        for name, value in graph[node_id]["inputs"].items()
    }
    return json.dumps([graph[node_id]["class_type"], inputs], sort_keys=True)


def warm(graph: Graph) -> set[str]:
    return {content(graph, key) for key, node in graph.items() if WARM.search(node["class_type"])}


def golden_file(family: ModelFamily) -> Path:
    return GOLDEN / f"{re.sub(r'[^a-z0-9]+', '-', family.name.lower())}.json"


def golden_text(family: ModelFamily) -> str:
    """The graphs of a keyframe, a dream step and a decoding, one node a line."""
    first, _, _, _, step, decoding, _ = requests(family)
    wanted = {"keyframe": first, "dream_step": step, "decode": decoding}
    return _as_text({name: build(usual(family), request) for name, request in wanted.items()})


def packed(models: Models, *adapters: Adapter) -> WorkflowBuilder:
    """For a server that has our own nodes."""
    return WorkflowBuilder(models, models.family.sampling(), lambda: "dream/kf", adapters, AS_JPEG)


def golden_packed_text() -> str:
    """The graphs with our own nodes, of a family of ordinary latents and one whose latents have frames."""
    graphs = {}
    for family, adapters in ((SD15, ()), (QWEN_IMAGE, (TiledVae(512, 64),))):
        first, _, _, _, step, _, _ = requests(family)
        made = packed(usual(family), *adapters)
        for name, request in {"keyframe": first, "dream_step": step, "walk": WALK}.items():
            graphs[f"{family.name}: {name}"] = made.build(request).graph
    return _as_text(graphs)


def _as_text(graphs: Mapping[str, Graph]) -> str:
    parts = []
    for name, graph in graphs.items():
        lines = ",\n".join(f"    {json.dumps(key)}: {json.dumps(node)}" for key, node in graph.items())
        parts.append(f'  "{name}": {{\n{lines}\n  }}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part)


if __name__ == "__main__":
    if "node pack" in sys.argv[1:]:
        GOLDEN_PACKED.write_text(golden_packed_text(), encoding="utf-8")
    for one in FAMILIES:
        if one.name in sys.argv[1:] or not golden_file(one).exists():
            golden_file(one).write_text(golden_text(one), encoding="utf-8")
