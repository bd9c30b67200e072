"""What the embedded engine asks of whoever paints its pictures.

The server knows graphs, queues and files; a painter knows latents and colours. Arrays are numpy, so that
the server runs without torch and a test may hand in a painter of a few lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

LATENT_CHANNELS = 4
LATENT_SCALE = 8
"""Side of the square of picture pixels that one latent cell stands for."""

Latent: TypeAlias = NDArray[np.float32]
"""float32 ``[batch, 4, height / 8, width / 8]``, roughly of zero mean and unit variance."""

Pixels: TypeAlias = NDArray[np.uint8]
"""uint8 ``[height, width, 3]``, sRGB."""

Conditioning: TypeAlias = Any
"""Whatever a painter makes of a text: opaque to the server, which only carries it around."""

OnStep: TypeAlias = Callable[[int, int, Latent], None]
"""Called as ``on_step(done, total, latent)`` after each step, with the latent as the step left it.

The latent is lent: it is neither to be written to nor to be kept. The call may raise, which must end the
sampling at once.
"""


@dataclass(frozen=True)
class Window:
    """Part of a picture, in pixels; all four are divisible by 8."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def rows(self) -> slice:
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.right)

    def grown(self, margin_px: int, limits: Window) -> Window:
        """The window with a margin (divisible by 8), as far as there is anything."""
        return Window(
            max(self.top - margin_px, limits.top),
            min(self.bottom + margin_px, limits.bottom),
            max(self.left - margin_px, limits.left),
            min(self.right + margin_px, limits.right),
        )

    def seen_from(self, outer: Window) -> Window:
        """The same part, counted from the corner of ``outer``."""
        top, left = outer.top, outer.left
        return Window(self.top - top, self.bottom - top, self.left - left, self.right - left)


class Painter(Protocol):
    """Stands in for a diffusion model. Equal arguments must give equal arrays, byte for byte.

    All methods are called from the engine's one worker thread, never from two threads at a time.
    """

    def text(self, text: str) -> Conditioning:
        """Reads a prompt; cheap and deterministic."""
        ...

    def blend(self, parts: Sequence[tuple[Conditioning, float]]) -> Conditioning:
        """Several readings in one, by their weights.

        Args:
            parts: Readings with weights that sum to 1. A weight below 0 pushes away.
        """
        ...

    def sample(
        self,
        latent: Latent,
        positive: Conditioning,
        negative: Conditioning,
        *,
        seed: int,
        steps: int,
        cfg: float,
        denoise: float,
        on_step: OnStep,
    ) -> Latent:
        """Moves ``latent`` toward what ``positive`` asks for, by ``denoise`` (0 to 1) of the way.

        Args:
            latent: Where to start, any batch size; all zeros from EmptyLatentImage. Not to be written to.
            positive: What to paint.
            negative: What to stay away from.
            seed: 0 to 2^64 - 1.
            steps: At least 1.
            cfg: How strongly the text pulls, 0 to 100.
            denoise: 0 gives the latent back unchanged, 1 ignores it.
            on_step: To be called after each of the ``steps`` steps.

        Returns:
            A new latent of the same shape.
        """
        ...

    def decode(self, latent: Latent) -> Iterator[Pixels]:
        """Paints each latent of the batch, in order, one picture at a time (so nobody holds them all)."""
        ...

    def decode_window(self, latent: Latent, window: Window) -> Pixels:
        """What ``decode`` paints of a single latent inside the window, without painting the rest."""
        ...

    def encode(self, picture: Pixels) -> Latent:
        """The latent ``[1, 4, height / 8, width / 8]`` whose decoding comes close to ``picture``.

        Both sides of the picture are divisible by 8.
        """
        ...
