"""The graphs that are made of a workflow of the user's own.

Only what is bound is changed: every node, every word and every number that no binding names stays as the
user made it. All nodes travel with every graph, unconnected where it does not use them, so that the server
keeps their models warm.
"""

from __future__ import annotations

from collections.abc import Callable

from backend.core.api_graph import Source, needed_by, repoint
from backend.core.jobs import FileRef
from backend.core.latent_nodes import WalkFrames
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
from backend.core.workflow_draft import Draft
from backend.core.workflow_places import CustomWorkflow, Place

__all__ = ["CustomBuilder", "CustomWorkflow"]

_TO_A_SIZE = ("ImageScale", "LatentUpscale", "ImageScaleToTotalPixels", "ImageScaleToMaxDimension")
"""Nodes that scale, but to a size that stands there."""


class CustomBuilder:
    """Builds the graphs of one workflow of the user's."""

    def __init__(
        self,
        workflow: CustomWorkflow,
        latent_prefix: Callable[[], str],
        size: tuple[int, int] | None = None,
    ) -> None:
        """Takes a workflow as :func:`~backend.core.workflow_files.load_workflow` gives it.

        Args:
            workflow: With its bindings.
            latent_prefix: Gives the ``filename_prefix`` of the next saved latent, e.g. ``dreamloop/kf``.
            size: Width and height of keyframes in pixels, where they are bound and a request says nothing;
                None for what the workflow itself says.
        """
        self._workflow = workflow
        self._latent_prefix = latent_prefix
        self._size = size

    @property
    def feeds_pictures(self) -> bool:
        """Whether it can go on only from a picture (ImageToImage), not from a latent (DreamStep)."""
        takes_pictures = self._workflow.latent_in is None and self._workflow.picture_in is not None
        return takes_pictures or self._workflow.latent_out is None

    @property
    def size(self) -> tuple[int, int] | None:
        """Of keyframes, in pixels: what was wished, else what the workflow says, in whole latent cells."""
        size = self._size or self._own_size()
        if size is None:
            return None
        width, height = (side_px // SIZE_STEP_PX * SIZE_STEP_PX for side_px in size)
        return width, height

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
        draft = Draft(self._workflow.graph)
        draft.fill(self._workflow.prompt, request.prompt)
        draft.fill(self._workflow.negative, request.negative)
        self._set_size(draft, request)
        match request:
            case TextToImage():
                self._start_from_words(draft)
            case ImageToImage():
                self._start_from_picture(draft, request)
            case DreamStep():
                self._start_from_latent(draft, request)
            case DecodeLatents(tiny=True):
                raise ValueError("a workflow of your own decodes with the VAE that it loads itself")
            case DecodeLatents():
                return self._decode(draft, request)
            case EncodePicture():
                return self._encode(draft, request)
            case WalkFrames():
                raise ValueError("walks through a workflow of your own are not computed on the server")
        draft.fill(self._workflow.seed, request.seed)
        return self._keyframe(draft)

    def _set_size(self, draft: Draft, request: Request) -> None:
        size = self._size
        if isinstance(request, TextToImage):
            size = (request.width, request.height)
        elif isinstance(request, ImageToImage | DreamStep):
            size = request.size or size
        for side_px, places in zip(size or (), (self._workflow.width, self._workflow.height), strict=False):
            if places and (side_px < SIZE_STEP_PX or side_px % SIZE_STEP_PX):
                raise ValueError(f"a side of {side_px} px is not divisible by {SIZE_STEP_PX}")
            draft.fill(places, side_px)

    def _start_from_words(self, draft: Draft) -> None:
        if self._workflow.picture_in is None:  # there is only noise to begin with, and it wants all of it
            draft.fill(self._workflow.denoise, 1.0)

    def _start_from_picture(self, draft: Draft, request: ImageToImage) -> None:
        self._set_denoise(draft, request.denoise)
        place = self._workflow.picture_in
        if place is not None:
            size = request.size or self._size_before(place, self._workflow.picture_out)
            if size is None:
                draft.feed_file(place, "LoadImage", "image", request.picture)
            else:
                loaded = draft.load("LoadImage", "image", request.picture)
                draft.feed(place, draft.resize_picture(loaded, size))
        elif self._workflow.latent_in is not None:
            draft.feed(self._workflow.latent_in, self._encoded(draft, request.picture, request.size))
        else:
            raise ValueError(self._missing("a keyframe from a picture", "picture_in (or latent_in)"))

    def _start_from_latent(self, draft: Draft, request: DreamStep) -> None:
        self._set_denoise(draft, request.denoise)
        place = self._workflow.latent_in
        if place is None:
            raise ValueError(self._missing("a keyframe from the latent of the last one", "latent_in"))
        size = request.size or self._size_before(place, self._workflow.latent_out)
        if size is None:
            draft.feed_file(place, "LoadLatent", "latent", request.latent)
        else:
            loaded = draft.load("LoadLatent", "latent", request.latent)
            draft.feed(place, draft.resize_latent(loaded, size))

    def _size_before(self, place: Place, end: Source | None) -> tuple[int, int] | None:
        """The size to begin with in a workflow that enlarges: what comes out of it may not go in as it is.

        Raises:
            ValueError: It enlarges, and nobody says from which size.
        """
        if end is None or not self._enlarges(place.node, end.node):
            return None
        if size := self._size or self._own_size():
            return size
        what = "a second keyframe, since it enlarges its pictures"
        raise ValueError(self._missing(what, "width and height"))

    def _enlarges(self, start: str, end: str) -> bool:
        """Whether a node between the two makes its picture, or its latent, larger by a factor."""
        graph = self._workflow.graph
        between = needed_by(graph, [end])
        scalers = [node_id for node_id in between if _scales_by_a_factor(graph[node_id]["class_type"])]
        return any(start in needed_by(graph, [node_id]) for node_id in scalers)

    def _own_size(self) -> tuple[int, int] | None:
        """What the workflow says of width and height."""
        graph = self._workflow.graph
        places = (self._workflow.width, self._workflow.height)
        match [graph[place.node]["inputs"][place.input] for bound in places for place in bound[:1]]:
            case [int(width), int(height)]:
                return width, height
        return None

    def _set_denoise(self, draft: Draft, denoise: float) -> None:
        if not 0.0 < denoise <= 1.0:
            raise ValueError(f"denoise {denoise} is outside 0..1 (0 excluded)")
        draft.fill(self._workflow.denoise, denoise)

    def _keyframe(self, draft: Draft) -> Workflow:
        sent = draft.add("SaveImageWebsocket", images=self._workflow.picture_out.link)
        latent = self._workflow.latent_out
        saved = draft.save(latent, self._latent_prefix()) if latent else None
        draft.leave_out_other_savers(sent, saved or sent)
        return Workflow(draft.nodes, sent, saved)

    def _decode(self, draft: Draft, request: DecodeLatents) -> Workflow:
        """The workflow's own way from its latent to its picture, or a plain decoding if it samples again."""
        latent = self._workflow.latent_out
        if latent is None or self._workflow.vae is None:
            raise ValueError(self.why_no_walks)
        loaded = draft.load("LoadLatent", "latent", request.latents)
        picture = self._workflow.picture_out
        tail = draft.copy()
        repoint(tail.nodes, latent, loaded)
        if loaded.node in tail.above(picture.node) and not tail.samples(picture.node):
            draft = tail
        else:
            vae = self._workflow.vae
            picture = Source(draft.add("VAEDecode", samples=loaded.link, vae=vae.link), 0)
        sent = draft.add("SaveImageWebsocket", images=picture.link)
        draft.leave_out_other_outputs(sent)
        return Workflow(draft.nodes, picture_node=sent, latent_node=None)

    def _encode(self, draft: Draft, request: EncodePicture) -> Workflow:
        saved = draft.save(self._encoded(draft, request.picture), self._latent_prefix())
        draft.leave_out_other_outputs(saved)
        return Workflow(draft.nodes, picture_node=None, latent_node=saved)

    def _encoded(self, draft: Draft, picture: FileRef, size: tuple[int, int] | None = None) -> Source:
        if self._workflow.vae is None:
            raise ValueError(self._missing("the latent of a picture", "vae"))
        pixels = draft.load("LoadImage", "image", picture)
        if size is not None:
            pixels = draft.resize_picture(pixels, size)
        return Source(draft.add("VAEEncode", pixels=pixels.link, vae=self._workflow.vae.link), 0)

    def _missing(self, what: str, binding: str) -> str:
        name = self._workflow.name
        return f"the workflow {name!r} cannot give {what}: bind {binding} in {name}.yaml"


def _scales_by_a_factor(class_type: str) -> bool:
    return "scale" in class_type.lower() and class_type not in _TO_A_SIZE
