"""A typed request becomes an API-format graph of the model that was chosen, with the user's adapters.

Every graph carries the same loaders, model adapters, texts and conditioning adapters, unconnected where it
does not use them: the server keeps only the nodes of its last prompt warm, by content, and nodes that nothing
is connected to are kept but never run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from backend.core.adapters import Adapter, Detail, Shift, Stage, apply_stage
from backend.core.handles import GraphNodes, Handles, ImageHandle, LatentHandle
from backend.core.jobs import FileRef, Graph
from backend.core.latent_nodes import FrameFormat, WalkFrames, load_latent, save_latent, stream_frames
from backend.core.model_choice import Models
from backend.core.model_nodes import encode_texts, load_models, load_vae
from backend.core.picture_nodes import decode, encode, resize_image, resize_latent, scale_latent, start_latent
from backend.core.sampler_nodes import sample
from backend.core.sampling import Draw, Sampling

SIZE_STEP_PX = 8
"""Side of one latent cell in pixels, in most families."""

LEAST_SIDE_PX = 16


@dataclass(frozen=True)
class TextToImage:
    """A keyframe from words alone; ``width`` and ``height`` in pixels, whole latent cells."""

    prompt: str
    negative: str
    seed: int
    width: int
    height: int


@dataclass(frozen=True)
class ImageToImage:
    """A keyframe from a picture on the server.

    Attributes:
        denoise: 0..1: how far it leaves the picture.
        size: In pixels; the picture is cut to that shape and scaled. None leaves it as it is.
    """

    picture: FileRef
    prompt: str
    negative: str
    seed: int
    denoise: float
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class DreamStep:
    """A keyframe from the last keyframe's latent, without a detour over 8-bit pictures.

    Attributes:
        size: In pixels, to which the latent is resized first; None leaves it as it is, but for undoing the
            enlargement of a detail pass.
    """

    latent: FileRef
    prompt: str
    negative: str
    seed: int
    denoise: float
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class DecodeLatents:
    """Pictures of a batch of latents; the texts are those of the keyframes, to keep the cache warm.

    Attributes:
        tiny: Decode with the small VAE that the settings name.
    """

    latents: FileRef
    prompt: str
    negative: str
    tiny: bool = False


@dataclass(frozen=True)
class EncodePicture:
    """The latent of a picture on the server; the texts are those of the keyframes."""

    picture: FileRef
    prompt: str = ""
    negative: str = ""


Keyframe: TypeAlias = TextToImage | ImageToImage | DreamStep
Request: TypeAlias = Keyframe | DecodeLatents | WalkFrames | EncodePicture


@dataclass(frozen=True)
class Workflow:
    """A graph, and which of its nodes give the pictures and the latent, if any."""

    graph: Graph
    picture_node: str | None
    latent_node: str | None


@dataclass(frozen=True)
class TinyVae:
    """A small VAE for in-betweens.

    Attributes:
        name: As VAELoader knows it; None for none.
        is_there: Whether the server has it; if so, every graph keeps it warm.
    """

    name: str | None = None
    is_there: bool = False


NO_TINY_VAE = TinyVae()


class WorkflowBuilder:
    """Builds the graphs of one set of models."""

    def __init__(
        self,
        models: Models,
        sampling: Sampling,
        latent_prefix: Callable[[], str],
        adapters: Sequence[Adapter] = (),
        stream: FrameFormat | None = None,
        tiny: TinyVae = NO_TINY_VAE,
    ) -> None:
        """Takes what is the same in all graphs.

        Args:
            models: The files to load, by their names on the server.
            sampling: For every keyframe.
            latent_prefix: Gives the ``filename_prefix`` of the next saved latent, e.g. ``dreamloop/kf``.
            adapters: What the user adds, in the user's order.
            stream: How our own nodes encode frames; None where the server does not have them.
            tiny: The small VAE for in-betweens.
        """
        self._models = models
        self._sampling = sampling
        self._latent_prefix = latent_prefix
        self._adapters = tuple(adapters)
        self._stream = stream
        self._tiny = tiny

    @property
    def streams_walks(self) -> bool:
        """Whether it can build the graph of WalkFrames: pictures are not changed after they are decoded."""
        return self._stream is not None and not any(one.stage is Stage.IMAGE for one in self._adapters)

    def build(self, request: Request) -> Workflow:
        """The graph of a request.

        Raises:
            ValueError: A size of no whole latent cells, a denoise outside 0..1, or an adapter that the model
                family has no use for.
        """
        match request:
            case DecodeLatents():
                return self._decode(request)
            case WalkFrames():
                return self._walk(request)
            case EncodePicture():
                return self._encode(request)
            case _:
                return self._keyframe(request)

    def _keyframe(self, request: Keyframe) -> Workflow:
        draw = self._draw(request)
        nodes, handles = self._warm(request)
        if isinstance(request, TextToImage):
            handles = self._stage(Stage.LATENT, nodes, handles)
            handles = replace(handles, draw=draw, latent=self._empty(nodes, draw))
        else:
            handles = self._stage(Stage.LATENT, nodes, self._begin(request, nodes, handles, draw))
        handles = self._stage(Stage.SAMPLED, nodes, sample(nodes, start_latent(nodes, handles)))
        if handles.latent is None:
            raise ValueError("the sampling gave no latent")
        saved = self._save(nodes, handles.latent)
        return Workflow(nodes.nodes, self._send(nodes, handles, handles.latent), saved)

    def _decode(self, request: DecodeLatents) -> Workflow:
        nodes, handles = self._warm(request)
        handles = self._stage(Stage.LATENT, nodes, handles)
        latents = load_latent(nodes, request.latents, pack=False)
        if request.tiny:
            if handles.tiny_vae is None:
                raise ValueError("the settings name no small VAE")
            handles = replace(handles, vae=handles.tiny_vae)
        return Workflow(nodes.nodes, picture_node=self._send(nodes, handles, latents), latent_node=None)

    def _walk(self, request: WalkFrames) -> Workflow:
        if self._stream is None or not self.streams_walks:
            raise ValueError("walks are not computed on this server")
        nodes, handles = self._warm(request)
        handles = self._stage(Stage.LATENT, nodes, handles)
        return Workflow(nodes.nodes, stream_frames(nodes, request, handles.vae, self._stream), None)

    def _encode(self, request: EncodePicture) -> Workflow:
        nodes, handles = self._warm(request)
        for stage in (Stage.LATENT, Stage.IMAGE):
            handles = self._stage(stage, nodes, handles)
        image = ImageHandle(nodes.add("LoadImage", image=request.picture.annotated))
        latent = encode(nodes, image, handles.vae)  # which is fetched and needed no more
        saved = save_latent(nodes, latent, self._latent_prefix(), pack=False)
        return Workflow(nodes.nodes, picture_node=None, latent_node=saved)

    def _warm(self, request: Request) -> tuple[GraphNodes, Handles]:
        """What all graphs have in common."""
        nodes = GraphNodes()
        shifted = any(isinstance(one, Shift) for one in self._adapters)
        handles = load_models(nodes, self._models, patched=not shifted)
        asked_for = isinstance(request, DecodeLatents) and request.tiny
        if self._tiny.name is not None and (self._tiny.is_there or asked_for):
            handles = replace(handles, tiny_vae=load_vae(nodes, self._tiny.name))
        handles = self._stage(Stage.MODEL, nodes, handles)
        handles = encode_texts(nodes, handles, request.prompt, request.negative, self._sampling.guidance)
        return nodes, self._stage(Stage.TEXT, nodes, handles)

    def _begin(
        self, request: ImageToImage | DreamStep, nodes: GraphNodes, handles: Handles, draw: Draw
    ) -> Handles:
        """The picture or the latent that is dreamt on, at its size."""
        if isinstance(request, ImageToImage):
            image = ImageHandle(nodes.add("LoadImage", image=request.picture.annotated))
            if request.size is not None:
                image = resize_image(nodes, image, request.size, crop="center")
            return replace(handles, image=image, draw=draw)
        latent = load_latent(nodes, request.latent, pack=self._stream is not None)
        if request.size is not None:
            latent = resize_latent(nodes, latent, request.size, handles.family.cell_px)
        else:
            for detail in (one for one in self._adapters if isinstance(one, Detail)):
                latent = scale_latent(nodes, latent, 1 / detail.scale)
        return replace(handles, latent=latent, draw=draw)

    def _draw(self, request: Keyframe) -> Draw:
        family = self._models.family
        if isinstance(request, TextToImage):
            size, denoise = (request.width, request.height), 1.0
        else:
            size, denoise = request.size or (family.width, family.height), request.denoise
        _check_size(*size, family.cell_px)
        if not 0.0 < denoise <= 1.0:
            raise ValueError(f"denoise {denoise} is outside 0..1 (0 excluded)")
        return Draw(self._sampling, request.seed, denoise, *size)

    def _empty(self, nodes: GraphNodes, draw: Draw) -> LatentHandle:
        size = {"width": draw.width_px, "height": draw.height_px}
        return LatentHandle(nodes.add(self._models.family.empty_latent, **size, batch_size=1))

    def _send(self, nodes: GraphNodes, handles: Handles, latent: LatentHandle) -> str:
        decoded = replace(handles, image=decode(nodes, latent, handles.vae))
        return nodes.add("SaveImageWebsocket", images=self._stage(Stage.IMAGE, nodes, decoded).image)

    def _save(self, nodes: GraphNodes, latent: LatentHandle) -> str:
        return save_latent(nodes, latent, self._latent_prefix(), pack=self._stream is not None)

    def _stage(self, stage: Stage, nodes: GraphNodes, handles: Handles) -> Handles:
        return apply_stage(stage, self._adapters, nodes, handles)


def _check_size(width_px: int, height_px: int, cell_px: int) -> None:
    for name, size_px in (("width", width_px), ("height", height_px)):
        if size_px < LEAST_SIDE_PX or size_px % cell_px:
            wish = max(LEAST_SIDE_PX, round(size_px / cell_px) * cell_px)
            raise ValueError(f"{name} {size_px} px is not divisible by {cell_px}; {wish} would be")
