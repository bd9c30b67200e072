"""Sources of pictures for tests: a VAE of no weights, which says exactly what it makes of a latent."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from backend.errors import DecoderUnfit, EngineError
from backend.interpolation.seamless_decoder import Picture
from backend.utils.futures import ready
from backend.utils.picture_formats import Encoding
from backend.utils.prompt_manager import Prompt

PROMPT = Prompt("sea", "a quiet sea", "noise")
SCALE_PX = 8


class AtOnce(Executor):
    """A pool that computes on the thread that asks."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return ready(function(*args, **kwargs))


def latent(seed: int, rows: int = 10, columns: int = 16) -> Tensor:
    return torch.randn(1, 4, rows, columns, generator=torch.Generator().manual_seed(seed))


def true_picture(one: Tensor) -> NDArray[np.uint8]:
    """What the keyframes' VAE makes of a latent ``[1, 4, h, w]``: three channels drawn large, and grain."""
    large = interpolate(one[:, :3], scale_factor=SCALE_PX, mode="bicubic")[0]
    rows, columns = large.shape[1:]
    grain = torch.randn(3, rows, columns, generator=torch.Generator().manual_seed(3))
    return (128 + 40 * large + 6 * grain).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


def small_picture(one: Tensor) -> NDArray[np.uint8]:
    """What a small VAE makes of it: nearly the colours, and no grain."""
    large = interpolate(one[:, :3], scale_factor=SCALE_PX, mode="bilinear")[0]
    return (122 + 36 * large).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


def grey_picture(one: Tensor) -> NDArray[np.uint8]:
    return np.full((one.shape[2] * SCALE_PX, one.shape[3] * SCALE_PX, 3), 127, np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    return Encoding("png").encode(pixels)


@dataclass
class ByHand:
    """A source that records what it is asked, and makes pictures when it is told to.

    Attributes:
        paint: What it makes of a latent.
        refuse: What it raises when it is asked.
        encoded: Whether it gives PNGs, as an engine, or pixels.
    """

    paint: Any = small_picture
    refuse: DecoderUnfit | EngineError | None = None
    encoded: bool = False
    asked: list[Tensor] = field(default_factory=list)
    waiting: list[tuple[Future[Picture], Tensor]] = field(default_factory=list)

    def submit(self, latents: Tensor, prompt: Prompt) -> Sequence[Future[Picture]]:
        if self.refuse is not None:
            raise self.refuse
        self.asked.append(latents)
        futures: list[Future[Picture]] = [Future() for _ in latents]
        self.waiting += list(zip(futures, latents.split(1), strict=True))
        return futures

    def finish(self, count: int = 1000) -> None:
        """All that was asked for is done, or the first of it."""
        for _ in range(min(count, len(self.waiting))):
            future, one = self.waiting.pop(0)
            pixels = self.paint(one)
            future.set_result(png(pixels) if self.encoded else pixels)

    def fail(self, error: EngineError) -> None:
        """All that was asked for fails."""
        while self.waiting:
            self.waiting.pop(0)[0].set_exception(error)
