"""An engine without a server: the embedded painter, asked directly, done as soon as it is asked."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from backend.core.engine import EngineFacts, EngineKind
from backend.core.jobs import FileRef, Finished, Job, Picture
from backend.core.model_families import EMBEDDED
from backend.core.workflow_builder import DreamStep, Request, TextToImage, Workflow
from backend.engine import png
from backend.engine.painter import DreamPainter
from backend.engine.painting import Latent, Pixels
from backend.interpolation.decoder import LatentBatch, PicturesJob
from backend.interpolation.latent_encoder import read_latents, write_latents

Words = tuple[str, str]
"""Positive and negative."""


class Painting:
    """The painter with its words read once."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.painter = DreamPainter()
        self._shape = (1, 4, size[1] // 8, size[0] // 8)
        self._text = cache(self.painter.text)

    def fresh(self, words: Words, seed: int) -> Latent:
        return self.moved(np.zeros(self._shape, np.float32), words, seed, 1.0)

    def moved(self, latent: Latent, words: Words, seed: int, denoise: float) -> Latent:
        positive, negative = (self._text(text) for text in words)
        sampling = {"steps": 1, "cfg": 4.0, "on_step": lambda *_: None}
        return self.painter.sample(latent, positive, negative, seed=seed, denoise=denoise, **sampling)

    def picture(self, latent: Latent) -> Pixels:
        return next(iter(self.painter.decode(latent)))


class PaintedEngine:
    """Keyframes are painted, files lie in memory; what the loop needs of an engine."""

    def __init__(self, painting: Painting) -> None:
        self.facts: EngineFacts | None = None
        self.reachable = True
        self._painting = painting
        self._files: dict[str, bytes] = {}
        self._names = 0

    def connect(self) -> EngineFacts:
        facts = EngineFacts(EngineKind.EMBEDDED, "memory://", "1", "cpu", "dreamloop-painter", EMBEDDED)
        self.facts = facts
        return facts

    def submit(self, request: Request) -> tuple[Job, Workflow]:
        """Paints at once; DreamStep and TextToImage are all that this loop asks for."""
        latent = self._painted(request)
        file = self._keep(write_latents(torch.from_numpy(latent)))
        picture = Picture(png.encode(self._painting.picture(latent)), "png")
        job = Job(file.filename)
        job.end(Finished(file.filename, (picture,), {"latent": (file,)}, executed=("latent",), engine_s=0.1))
        return job, Workflow({}, "picture", "latent")

    def _painted(self, request: Request) -> Latent:
        if isinstance(request, TextToImage):
            return self._painting.fresh((request.prompt, request.negative), request.seed)
        if not isinstance(request, DreamStep):
            raise TypeError(f"{type(request).__name__} is not painted here")
        start = read_latents(self._files[request.latent.filename]).numpy()
        words = request.prompt, request.negative
        return self._painting.moved(start, words, request.seed, request.denoise)

    def _keep(self, data: bytes) -> FileRef:
        self._names += 1
        name = f"{self._names}.latent"
        self._files[name] = data
        return FileRef(name)

    def fetch_latent(self, latent: FileRef) -> bytes:
        return self._files[latent.filename]

    def upload_latent(self, data: bytes) -> FileRef:
        return self._keep(data)

    def retire_latent(self, latent: FileRef) -> None:
        self._files.pop(latent.filename, None)

    def encoded(self, picture: bytes) -> torch.Tensor:
        return torch.from_numpy(self._painting.painter.encode(png.decode(picture)))

    def upload_picture(self, picture: bytes) -> FileRef:
        raise NotImplementedError("this loop feeds latents")

    def free_memory(self) -> None:
        """There is none to free."""

    def restart(self) -> bool:
        return False


@dataclass
class _Decoded:
    made: tuple[bytes, ...]

    def done(self) -> bool:
        return True

    def arrived(self) -> tuple[tuple[int, bytes], ...]:
        return ()  # all of them come with the end

    def add_arrival_callback(self, callback: Callable[[], None]) -> None:
        """There is nothing to tell: it has ended."""

    def pictures(self) -> tuple[bytes, ...]:
        return self.made

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        callback()


@dataclass(frozen=True, eq=False)
class WalkedGap:
    """What would have been decoded between two keyframes.

    Attributes:
        latents: Both keyframes and all in-betweens in order, ``[N, C, h, w]``, as they are: in half
            precision the painter would flicker.
        t: Where on the walk they lie, 0 to 1, rising.
    """

    latents: NDArray[np.float32]
    t: NDArray[np.float64]

    def with_leg(self, latents: torch.Tensor, t: Sequence[float]) -> WalkedGap:
        """The same with more in-betweens."""
        places = np.concatenate([self.t, t])
        order = np.argsort(places, kind="stable")
        return WalkedGap(np.concatenate([self.latents, _kept(latents)])[order], places[order])


class PaintingDecoder:
    """Paints every latent of a walk, at once."""

    def __init__(self, painting: Painting) -> None:
        self._painting = painting

    def decode(self, batch: LatentBatch) -> PicturesJob:
        pictures = self._painting.painter.decode(batch.latents.numpy())
        return _Decoded(tuple(png.encode(picture) for picture in pictures))


class RecordingDecoder:
    """Writes down the latents of every walk, and paints those alone that tell the loop how to pace it.

    These are the few frames of a gap that are asked for first; all of it, where it is asked for at once.

    Args:
        usual: Frames of a usual gap: fewer are asked for to see it in part, and so many or more at once.
    """

    def __init__(self, painting: Painting, usual: int) -> None:
        self.gaps: list[WalkedGap] = []
        self._paints = PaintingDecoder(painting)
        self._usual = usual
        self._known: dict[
            bytes, tuple[int, bool]
        ] = {}  # by the picture at the end: place, is it seen in part

    def decode(self, batch: LatentBatch) -> PicturesJob:
        assert batch.start is not None and batch.end is not None  # noqa: PT018 - the loop gives both
        begins = batch.end.picture not in self._known
        if begins:
            self._known[batch.end.picture] = len(self.gaps), len(batch) < self._usual
            ends = _kept(torch.cat([batch.start.latent, batch.end.latent]))
            self.gaps.append(WalkedGap(ends, np.array([0.0, 1.0])))
        place, sketched = self._known[batch.end.picture]
        self.gaps[place] = self.gaps[place].with_leg(batch.latents, batch.t)
        if begins or not sketched:
            return self._paints.decode(batch)
        return _Decoded((_stand_in(),) * len(batch))


def _kept(latents: torch.Tensor) -> NDArray[np.float32]:
    return latents.numpy().astype(np.float32)


@cache
def _stand_in() -> bytes:
    """A small picture that passes every check."""
    pixels = np.random.default_rng(1).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
