"""A workflow of the user's own, and the graphs that are made of it.

Only what is bound is changed: every node, every word and every number that no binding names stays as the
user made it. All nodes travel with every graph, unconnected where it does not use them, so that the server
keeps their models warm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backend.core.api_graph import Nodes, Source, changeable, link_at, loose_ends, needed_by, repoint
from backend.core.jobs import FileRef, Graph
from backend.core.workflow_builder import (
    SIZE_STEP_PX,
    DecodeLatents,
    DreamStep,
    EncodePicture,
    ImageToImage,
    Request,
    TextToImage,
    Workflow,
)

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


class CustomBuilder:
    """Builds the graphs of one workflow of the user's."""

    def __init__(self, workflow: CustomWorkflow, latent_prefix: Callable[[], str]) -> None:
        """Takes a workflow as :func:`~backend.core.workflow_files.load_workflow` gives it.

        Args:
            workflow: With its bindings.
            latent_prefix: Gives the ``filename_prefix`` of the next saved latent, e.g. ``dreamloop/kf``.
        """
        self._workflow = workflow
        self._latent_prefix = latent_prefix

    @property
    def feeds_pictures(self) -> bool:
        """Whether it can go on only from a picture (ImageToImage), not from a latent (DreamStep)."""
        return self._workflow.latent_in is None and self._workflow.picture_in is not None

    @property
    def walks(self) -> bool:
        """Whether latents between two keyframes can be turned into pictures."""
        return not self.why_no_walks

    @property
    def why_no_walks(self) -> str:
        """The sentence that says what is missing for walks; empty if nothing is."""
        missing = [name for name in ("latent_out", "vae") if getattr(self._workflow, name) is None]
        return self._missing("a walk between keyframes", " and ".join(missing)) if missing else ""

    def build(self, request: Request) -> Workflow:
        """The graph of a request.

        Raises:
            ValueError: The workflow lacks a binding that the request needs (the sentence names it), a size is
                not divisible by 8, or a denoise is outside 0..1.
        """
        draft = _Draft(self._workflow)
        draft.fill(self._workflow.prompt, request.prompt)
        draft.fill(self._workflow.negative, request.negative)
        match request:
            case TextToImage():
                self._start_from_words(draft, request)
            case ImageToImage():
                self._start_from_picture(draft, request)
            case DreamStep():
                self._start_from_latent(draft, request)
            case DecodeLatents():
                return self._decode(draft, request)
            case EncodePicture():
                return self._encode(draft, request)
        draft.fill(self._workflow.seed, request.seed)
        return self._keyframe(draft)

    def _start_from_words(self, draft: _Draft, request: TextToImage) -> None:
        for places, size_px in (
            (self._workflow.width, request.width),
            (self._workflow.height, request.height),
        ):
            if places and (size_px < SIZE_STEP_PX or size_px % SIZE_STEP_PX):
                raise ValueError(f"a side of {size_px} px is not divisible by {SIZE_STEP_PX}")
            draft.fill(places, size_px)
        if self._workflow.picture_in is None:  # there is only noise to begin with, and it wants all of it
            draft.fill(self._workflow.denoise, 1.0)

    def _start_from_picture(self, draft: _Draft, request: ImageToImage) -> None:
        self._set_denoise(draft, request.denoise)
        if self._workflow.picture_in is not None:
            draft.feed_file(self._workflow.picture_in, "LoadImage", "image", request.picture)
            return
        if self._workflow.latent_in is None:
            raise ValueError(self._missing("a keyframe from a picture", "picture_in (or latent_in)"))
        draft.feed(self._workflow.latent_in, self._encoded(draft, request.picture))

    def _start_from_latent(self, draft: _Draft, request: DreamStep) -> None:
        self._set_denoise(draft, request.denoise)
        if self._workflow.latent_in is None:
            raise ValueError(self._missing("a keyframe from the latent of the last one", "latent_in"))
        draft.feed_file(self._workflow.latent_in, "LoadLatent", "latent", request.latent)

    def _set_denoise(self, draft: _Draft, denoise: float) -> None:
        if not 0.0 < denoise <= 1.0:
            raise ValueError(f"denoise {denoise} is outside 0..1 (0 excluded)")
        draft.fill(self._workflow.denoise, denoise)

    def _keyframe(self, draft: _Draft) -> Workflow:
        sent = draft.add("SaveImageWebsocket", images=self._workflow.picture_out.link)
        latent = self._workflow.latent_out
        return Workflow(draft.nodes, sent, draft.save(latent, self._latent_prefix()) if latent else None)

    def _decode(self, draft: _Draft, request: DecodeLatents) -> Workflow:
        """The workflow's own way from its latent to its picture, or a plain decoding if it samples again."""
        latent = self._workflow.latent_out
        if latent is None or self._workflow.vae is None:
            raise ValueError(self.why_no_walks)
        loaded = draft.load("LoadLatent", "latent", request.latents)
        picture = self._workflow.picture_out
        tail = _Draft(self._workflow, changeable(draft.nodes))
        repoint(tail.nodes, latent, loaded)
        if loaded.node in tail.above(picture.node) and not tail.samples(picture.node):
            draft = tail
        else:
            picture = Source(
                draft.add("VAEDecode", samples=loaded.link, vae=self._workflow.vae.link),
                0,
            )
        sent = draft.add("SaveImageWebsocket", images=picture.link)
        draft.leave_out_other_outputs(sent)
        return Workflow(draft.nodes, picture_node=sent, latent_node=None)

    def _encode(self, draft: _Draft, request: EncodePicture) -> Workflow:
        saved = draft.save(self._encoded(draft, request.picture), self._latent_prefix())
        draft.leave_out_other_outputs(saved)
        return Workflow(draft.nodes, picture_node=None, latent_node=saved)

    def _encoded(self, draft: _Draft, picture: FileRef) -> Source:
        if self._workflow.vae is None:
            raise ValueError(self._missing("the latent of a picture", "vae"))
        pixels = draft.load("LoadImage", "image", picture)
        return Source(draft.add("VAEEncode", pixels=pixels.link, vae=self._workflow.vae.link), 0)

    def _missing(self, what: str, binding: str) -> str:
        name = self._workflow.name
        return f"the workflow {name!r} cannot give {what}: bind {binding} in {name}.yaml"


class _Draft:
    """A graph in the making: the user's nodes without those that save, and ours beside them."""

    def __init__(self, workflow: CustomWorkflow, nodes: Nodes | None = None) -> None:
        self._original = workflow.graph
        self.nodes = changeable(workflow.graph) if nodes is None else nodes
        if nodes is None:
            self._leave_out_savers()

    def _leave_out_savers(self) -> None:
        """What saved a picture is ours to send. Newer servers let such nodes hand on what they saved."""
        for node_id, node in self._original.items():
            if saved := SAVERS.get(node["class_type"]):
                del self.nodes[node_id]
                if source := link_at(node, saved):
                    repoint(self.nodes, Source(node_id, 0), source)

    def fill(self, places: tuple[Place, ...], value: object) -> None:
        for place in places:
            if place.node in self.nodes:
                self.nodes[place.node]["inputs"][place.input] = value

    def add(self, class_type: str, **inputs: object) -> str:
        numbers = [int(node_id) for node_id in self._original if node_id.isdecimal() and len(node_id) < 10]
        number = max(numbers, default=0) + 1
        while str(number) in self.nodes or str(number) in self._original:
            number += 1
        self.nodes[str(number)] = {"class_type": class_type, "inputs": inputs}
        return str(number)

    def load(self, class_type: str, input_name: str, file: FileRef) -> Source:
        return Source(self.add(class_type, **{input_name: file.annotated}), 0)

    def save(self, latent: Source, prefix: str) -> str:
        return self.add("SaveLatent", samples=latent.link, filename_prefix=prefix)

    def feed_file(self, place: Place, class_type: str, input_name: str, file: FileRef) -> None:
        """The file name into the user's own loader, or a loader of ours to where a link belongs."""
        if isinstance(self._original[place.node]["inputs"][place.input], str):
            self.fill((place,), file.annotated)
        else:
            self.feed(place, self.load(class_type, input_name, file))

    def feed(self, place: Place, source: Source) -> None:
        """Something else instead of what stands at ``place``, or instead of what the loader there gives."""
        if isinstance(self._original[place.node]["inputs"][place.input], str):
            repoint(self.nodes, Source(place.node, 0), source)
        else:
            self.fill((place,), source.link)

    def above(self, node_id: str) -> set[str]:
        return needed_by(self.nodes, [node_id])

    def samples(self, node_id: str) -> bool:
        """Whether a sampler has to run for this node."""
        return any("sampler" in self.nodes[above]["class_type"].lower() for above in self.above(node_id))

    def leave_out_other_outputs(self, ours: str) -> None:
        """Drops the ends of the user's graph: output nodes of whatever class stand there, and would run."""
        for node_id in loose_ends(self._original) - self.above(ours):
            self.nodes.pop(node_id, None)
