"""A typed request becomes an API-format graph.

Handles are typed, so that a latent cannot be plugged in where a picture belongs. Every graph carries the
checkpoint loader and both text encoders, unconnected where it does not use them: the server keeps only the
nodes of its last prompt warm, by content, and unconnected nodes are kept but never run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from backend.core.jobs import FileRef, Graph

SIZE_STEP_PX = 8
"""Side of one latent cell in pixels."""


@dataclass(frozen=True)
class _Handle:
    node: str
    slot: int

    @property
    def link(self) -> list[str | int]:
        return [self.node, self.slot]


class ModelHandle(_Handle):
    """A MODEL output."""


class ClipHandle(_Handle):
    """A CLIP output."""


class VaeHandle(_Handle):
    """A VAE output."""


class ConditioningHandle(_Handle):
    """A CONDITIONING output."""


class LatentHandle(_Handle):
    """A LATENT output."""


class ImageHandle(_Handle):
    """An IMAGE output."""


@dataclass(frozen=True)
class Sampling:
    """How KSampler samples, in ComfyUI's names."""

    steps: int
    cfg: float
    sampler: str
    scheduler: str


@dataclass(frozen=True)
class TextToImage:
    """A keyframe from words alone; ``width`` and ``height`` in pixels, divisible by 8."""

    prompt: str
    negative: str
    seed: int
    width: int
    height: int


@dataclass(frozen=True)
class ImageToImage:
    """A keyframe from a picture on the server. ``denoise`` 0..1: how far it leaves the picture."""

    picture: FileRef
    prompt: str
    negative: str
    seed: int
    denoise: float


@dataclass(frozen=True)
class DreamStep:
    """A keyframe from the last keyframe's latent, without a detour over 8-bit pictures."""

    latent: FileRef
    prompt: str
    negative: str
    seed: int
    denoise: float


@dataclass(frozen=True)
class DecodeLatents:
    """Pictures of a batch of latents; the texts are those of the keyframes, to keep the cache warm."""

    latents: FileRef
    prompt: str
    negative: str


@dataclass(frozen=True)
class EncodePicture:
    """The latent of a picture on the server; the texts are those of the keyframes."""

    picture: FileRef
    prompt: str = ""
    negative: str = ""


Request: TypeAlias = TextToImage | ImageToImage | DreamStep | DecodeLatents | EncodePicture


@dataclass(frozen=True)
class Workflow:
    """A graph, and which of its nodes give the pictures and the latent, if any."""

    graph: Graph
    picture_node: str | None
    latent_node: str | None


class WorkflowBuilder:
    """Builds the graphs of one checkpoint."""

    def __init__(self, checkpoint: str, sampling: Sampling, latent_prefix: Callable[[], str]) -> None:
        """Takes the checkpoint's name on the server.

        Args:
            checkpoint: As /models/checkpoints lists it.
            sampling: For every keyframe.
            latent_prefix: Gives the ``filename_prefix`` of the next saved latent, e.g. ``dreamloop/kf``.
        """
        self._checkpoint = checkpoint
        self._sampling = sampling
        self._latent_prefix = latent_prefix

    def build(self, request: Request) -> Workflow:
        """The graph of a request.

        Raises:
            ValueError: A size that is not divisible by 8, or a denoise outside 0..1.
        """
        match request:
            case TextToImage():
                return self._text_to_image(request)
            case ImageToImage():
                return self._image_to_image(request)
            case DreamStep():
                return self._dream_step(request)
            case DecodeLatents():
                return self._decode(request)
            case EncodePicture():
                return self._encode(request)

    def _text_to_image(self, request: TextToImage) -> Workflow:
        _check_size(request.width, request.height)
        graph = _Nodes(self._checkpoint, request.prompt, request.negative)
        latent = graph.empty_latent(request.width, request.height)
        return self._keyframe(graph, latent, request.seed, 1.0)

    def _image_to_image(self, request: ImageToImage) -> Workflow:
        graph = _Nodes(self._checkpoint, request.prompt, request.negative)
        latent = graph.encode(graph.load_image(request.picture))
        return self._keyframe(graph, latent, request.seed, request.denoise)

    def _dream_step(self, request: DreamStep) -> Workflow:
        graph = _Nodes(self._checkpoint, request.prompt, request.negative)
        return self._keyframe(graph, graph.load_latent(request.latent), request.seed, request.denoise)

    def _decode(self, request: DecodeLatents) -> Workflow:
        graph = _Nodes(self._checkpoint, request.prompt, request.negative)
        sent = graph.send(graph.decode(graph.load_latent(request.latents)))
        return Workflow(graph.nodes, picture_node=sent, latent_node=None)

    def _encode(self, request: EncodePicture) -> Workflow:
        graph = _Nodes(self._checkpoint, request.prompt, request.negative)
        saved = graph.save_latent(graph.encode(graph.load_image(request.picture)), self._latent_prefix())
        return Workflow(graph.nodes, picture_node=None, latent_node=saved)

    def _keyframe(self, graph: _Nodes, start: LatentHandle, seed: int, denoise: float) -> Workflow:
        if not 0.0 < denoise <= 1.0:
            raise ValueError(f"denoise {denoise} is outside 0..1 (0 excluded)")
        latent = graph.sample(start, self._sampling, seed, denoise)
        saved = graph.save_latent(latent, self._latent_prefix())
        sent = graph.send(graph.decode(latent))
        return Workflow(graph.nodes, picture_node=sent, latent_node=saved)


class _Nodes:
    """A graph in the making: the warm nodes first, then one method a node class."""

    def __init__(self, checkpoint: str, prompt: str, negative: str) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        loader = self._add("CheckpointLoaderSimple", ckpt_name=checkpoint)
        self.model, clip, self.vae = ModelHandle(loader, 0), ClipHandle(loader, 1), VaeHandle(loader, 2)
        self.positive = self._text(clip, prompt)
        self.negative = self._text(clip, negative)

    def empty_latent(self, width_px: int, height_px: int) -> LatentHandle:
        return LatentHandle(self._add("EmptyLatentImage", width=width_px, height=height_px, batch_size=1), 0)

    def load_latent(self, file: FileRef) -> LatentHandle:
        return LatentHandle(self._add("LoadLatent", latent=file.annotated), 0)

    def load_image(self, file: FileRef) -> ImageHandle:
        return ImageHandle(self._add("LoadImage", image=file.annotated), 0)

    def encode(self, image: ImageHandle) -> LatentHandle:
        return LatentHandle(self._add("VAEEncode", pixels=image.link, vae=self.vae.link), 0)

    def sample(self, latent: LatentHandle, how: Sampling, seed: int, denoise: float) -> LatentHandle:
        node = self._add(
            "KSampler",
            model=self.model.link,
            positive=self.positive.link,
            negative=self.negative.link,
            latent_image=latent.link,
            seed=seed,
            steps=how.steps,
            cfg=how.cfg,
            sampler_name=how.sampler,
            scheduler=how.scheduler,
            denoise=denoise,
        )
        return LatentHandle(node, 0)

    def decode(self, latent: LatentHandle) -> ImageHandle:
        return ImageHandle(self._add("VAEDecode", samples=latent.link, vae=self.vae.link), 0)

    def send(self, images: ImageHandle) -> str:
        return self._add("SaveImageWebsocket", images=images.link)

    def save_latent(self, latent: LatentHandle, prefix: str) -> str:
        return self._add("SaveLatent", samples=latent.link, filename_prefix=prefix)

    def _text(self, clip: ClipHandle, text: str) -> ConditioningHandle:
        return ConditioningHandle(self._add("CLIPTextEncode", text=text, clip=clip.link), 0)

    def _add(self, class_type: str, **inputs: object) -> str:
        node_id = str(len(self.nodes) + 1)
        self.nodes[node_id] = {"class_type": class_type, "inputs": inputs}
        return node_id


def _check_size(width_px: int, height_px: int) -> None:
    for name, size_px in (("width", width_px), ("height", height_px)):
        if size_px < SIZE_STEP_PX or size_px % SIZE_STEP_PX:
            wish = max(SIZE_STEP_PX, round(size_px / SIZE_STEP_PX) * SIZE_STEP_PX)
            raise ValueError(f"{name} {size_px} px is not divisible by {SIZE_STEP_PX}; {wish} would be")
