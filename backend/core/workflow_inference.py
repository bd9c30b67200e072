"""What can be told of a workflow from its graph alone, without doubt; where there is doubt, nothing is told.

A workflow with one sampler says nearly everything by its links: words, seed, denoise, where the latent comes
from, how the picture is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.core.api_graph import Source, link_at, links_of
from backend.core.jobs import Graph
from backend.core.workflow_places import SAVERS, Place, unsaved

SAMPLERS: Mapping[str, str] = {
    "KSampler": "seed",
    "KSamplerAdvanced": "noise_seed",
    "SamplerCustom": "noise_seed",
    "SamplerCustomAdvanced": "",
}
"""Stock samplers, and where they take their seed; the last has it from another node."""

_KEYS = ("prompt", "negative", "seed", "denoise", "width", "height", "latent_in")

DECODERS = ("VAEDecode", "VAEDecodeTiled")

_WORDS: Mapping[str, tuple[str, ...]] = {
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeSDXL": ("text_g", "text_l"),
    "CLIPTextEncodeSD3": ("clip_l", "clip_g", "t5xxl"),
    "CLIPTextEncodeFlux": ("clip_l", "t5xxl"),
    "CLIPTextEncodeHiDream": ("clip_l", "clip_g", "t5xxl", "llama"),
    "CLIPTextEncodeHunyuanDiT": ("bert", "mt5xl"),
    "CLIPTextEncodeLumina2": ("user_prompt",),
    "TextEncodeQwenImageEdit": ("prompt",),
}


def told_by_sampler(graph: Graph) -> Mapping[str, tuple[Place, ...]]:
    """The places around the one sampler of a graph; empty where there is none, or more than one."""
    samplers = [node_id for node_id, node in graph.items() if node["class_type"] in SAMPLERS]
    if len(samplers) != 1:
        return dict.fromkeys(_KEYS, ())
    told = _around(graph, samplers[0])
    return {**told, "negative": ()} if set(told["negative"]) & set(told["prompt"]) else told


def told_picture(graph: Graph) -> Source | None:
    """The picture that is saved or shown; of several, the one that the only decoder gives."""
    linked = [
        link_at(node, "images") for node in graph.values() if SAVERS.get(node["class_type"]) == "images"
    ]
    shown = {source for link in linked if link and (source := unsaved(graph, link))}
    if len(shown) == 1:
        return next(iter(shown))
    decoders = _decoders(graph)
    decoded = Source(decoders[0], 0) if len(decoders) == 1 else None
    return decoded if decoded in shown or not shown else None


def told_decoding(graph: Graph, picture: Source | None) -> tuple[Source | None, Source | None]:
    """The latent behind the picture, and the VAE that decodes it."""
    if picture is not None and graph[picture.node]["class_type"] in DECODERS:
        decoder = picture.node
    elif len(decoders := _decoders(graph)) == 1:
        decoder = decoders[0]
    else:
        return None, _only_vae(graph)
    latent, vae = link_at(graph[decoder], "samples"), link_at(graph[decoder], "vae")
    return unsaved(graph, latent) if latent else None, vae


def _decoders(graph: Graph) -> list[str]:
    return [node_id for node_id, node in graph.items() if node["class_type"] in DECODERS]


def _only_vae(graph: Graph) -> Source | None:
    vaes = {source for node in graph.values() for name, source in links_of(node) if name == "vae"}
    return next(iter(vaes)) if len(vaes) == 1 else None


def _around(graph: Graph, sampler: str) -> dict[str, tuple[Place, ...]]:
    node = graph[sampler]
    guider, noise = _linked(graph, node, "guider"), _linked(graph, node, "noise")
    sigmas, latent = _linked(graph, node, "sigmas"), _linked(graph, node, "latent_image")
    guide = guider[1] if guider else node
    positive = link_at(guide, "positive") or link_at(guide, "conditioning")
    seed = _place(sampler, node, SAMPLERS[node["class_type"]], int) or _at(noise, "noise_seed", int)
    is_empty = latent is not None and latent[1]["class_type"].startswith("Empty")
    return {
        "prompt": _words(graph, positive),
        "negative": _words(graph, link_at(guide, "negative")),
        "seed": seed,
        "denoise": _place(sampler, node, "denoise", int | float) or _at(sigmas, "denoise", int | float),
        "width": _at(latent, "width", int) if is_empty else (),
        "height": _at(latent, "height", int) if is_empty else (),
        "latent_in": (Place(sampler, "latent_image"),) if latent else (),
    }


def _linked(graph: Graph, node: Mapping[str, Any], name: str) -> tuple[str, Mapping[str, Any]] | None:
    source = link_at(node, name)
    return (source.node, graph[source.node]) if source else None


def _at(found: tuple[str, Mapping[str, Any]] | None, name: str, kind: Any) -> tuple[Place, ...]:
    return _place(*found, name, kind) if found else ()


def _place(node_id: str, node: Mapping[str, Any], name: str, kind: Any) -> tuple[Place, ...]:
    """The input if a value of this kind stands there."""
    value = node["inputs"].get(name)
    return (Place(node_id, name),) if isinstance(value, kind) and not isinstance(value, bool) else ()


def _words(graph: Graph, source: Source | None) -> tuple[Place, ...]:
    """Where the words of a conditioning stand, past nodes that only add to it (ControlNet, guidance)."""
    for _ in range(len(graph)):
        if source is None:
            return ()
        node = graph[source.node]
        class_type = node["class_type"]
        if class_type in _WORDS:
            places = [_place(source.node, node, name, str) for name in _WORDS[class_type]]
            return tuple(place for (place,) in places) if all(places) else ()
        if class_type == "ConditioningZeroOut":  # whatever the words, they count for nothing
            return ()
        links = dict(links_of(node))
        if {"positive", "negative"} <= links.keys():
            source = links[("positive", "negative")[source.slot]] if source.slot in (0, 1) else None
        elif "conditioning" in links:
            source = links["conditioning"]
        else:
            return _place(source.node, node, "text", str)
    return ()
