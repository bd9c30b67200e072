"""A workflow of the user's own, with what is bound in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.core.api_graph import Source, link_at
from backend.core.jobs import Graph

SAVERS: Mapping[str, str] = {
    "SaveImage": "images",
    "PreviewImage": "images",
    "SaveImageWebsocket": "images",
    "SaveAnimatedWEBP": "images",
    "SaveAnimatedPNG": "images",
    "SaveLatent": "samples",
}
"""Stock output nodes that ours stand in for, and the input that brings them what they save."""


@dataclass(frozen=True)
class Place:
    """An input of a node."""

    node: str
    input: str


@dataclass(frozen=True)
class CustomWorkflow:
    """A workflow and its bindings; everything they name is there.

    Attributes:
        name: Of its file.
        graph: As exported.
        prompt: Where the words go, at least one place.
        negative: Where the words to keep away from go.
        seed: Where the seed goes, at least one place.
        denoise: Where 0..1 goes.
        width: Where the width in pixels goes.
        height: Where the height in pixels goes.
        latent_in: A linked LATENT input, or the file name of a LoadLatent.
        picture_in: A linked IMAGE input, or the file name of a LoadImage.
        picture_out: The IMAGE that is shown.
        latent_out: The LATENT behind that picture.
        vae: The VAE that decodes it.
    """

    name: str
    graph: Graph
    prompt: tuple[Place, ...]
    seed: tuple[Place, ...]
    picture_out: Source
    negative: tuple[Place, ...] = ()
    denoise: tuple[Place, ...] = ()
    width: tuple[Place, ...] = ()
    height: tuple[Place, ...] = ()
    latent_in: Place | None = None
    picture_in: Place | None = None
    latent_out: Source | None = None
    vae: Source | None = None


def unsaved(graph: Graph, source: Source) -> Source | None:
    """What a saving node was given, where ``source`` is what it hands on; None if it was given nothing."""
    for _ in range(len(graph)):
        saved = SAVERS.get(graph[source.node]["class_type"])
        if saved is None:
            return source
        link = link_at(graph[source.node], saved)
        if link is None:
            return None
        source = link
    return None
