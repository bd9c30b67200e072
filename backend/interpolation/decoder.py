"""How latents become pictures, as far as a walk is concerned: one small interface, several ways behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from backend.errors import LatentRejected
from backend.interpolation.walk import Walk
from backend.utils.prompt_manager import Prompt

if TYPE_CHECKING:
    from torch import Tensor


class PicturesJob(Protocol):
    """Pictures that are being decoded; it ends once, well or not."""

    def done(self) -> bool: ...

    def arrived(self) -> tuple[tuple[int, bytes], ...]:
        """The encoded pictures that have come since the last call, in any order, each with its place.

        A job that fails may have brought some. Whoever does not ask loses nothing: pictures() has them all.
        """
        ...

    def add_arrival_callback(self, callback: Callable[[], None]) -> None:
        """Call back, from any thread, whenever pictures have come before the end."""
        ...

    def pictures(self) -> tuple[bytes, ...]:
        """The encoded pictures in the order of their latents; raises JobFailed."""
        ...

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call back, from any thread, when it ends; at once if it has."""
        ...


@dataclass(frozen=True, eq=False)  # latents have no equality to speak of
class Anchor:
    """A keyframe at an end of a walk.

    Attributes:
        latent: Shape ``[1, C, h, w]`` or ``[1, C, 1, h, w]``: what the walk passes through there.
        picture: The keyframe as it is shown, encoded.
    """

    latent: Tensor
    picture: bytes


@dataclass(frozen=True, eq=False)
class LatentBatch:
    """Latents of a walk that are decoded together.

    Attributes:
        latents: As ``read_latents()`` gives them: shape ``[N, C, h, w]``, or ``[N, C, 1, h, w]`` of models
            that also make films; what VAEDecode takes, without the scale of the model.
        prompt: Of the keyframe that is walked to; it keeps the server's text cache warm.
        t: Where on the way from ``start`` to ``end`` each of them lies, 0 to 1; may be empty without anchors.
        start: The keyframe at t = 0; None where nothing has to meet it.
        end: The keyframe at t = 1, in whose size the pictures are shown.
        walk: On which they lie at ``t``, for an engine that can walk by itself, without the latents. None
            where they lie on none; whoever changes the latents takes it away.
    """

    latents: Tensor
    prompt: Prompt
    t: tuple[float, ...] = ()
    start: Anchor | None = None
    end: Anchor | None = None
    walk: Walk | None = None

    def __post_init__(self) -> None:
        anchored = self.start is not None or self.end is not None or self.walk is not None
        if anchored and len(self.t) != len(self.latents):
            raise ValueError(f"{len(self.latents)} latents lie at {len(self.t)} places")
        for anchor in (self.start, self.end):
            if anchor is not None and anchor.latent.shape[1:] != self.latents.shape[1:]:
                raise LatentRejected(
                    f"a walk in latents of shape {tuple(self.latents.shape[1:])} cannot meet a keyframe "
                    f"of shape {tuple(anchor.latent.shape[1:])}"
                )

    def __len__(self) -> int:
        return len(self.latents)


class Decoder(Protocol):
    """Turns latents into pictures; the engine stands behind it, or a VAE on this machine.

    ``decode`` returns at once; the job may end on any thread. Pictures are encoded, all of one size: that of
    ``batch.end.picture`` where it is given, else whatever the VAE makes of the latents. Where another VAE
    than the keyframes' decodes, or at another size, the pictures near an anchor are led into its picture, so
    that nothing pops; without anchors they are as they were decoded.

    A job that has failed may be sent again: who cannot decode something remembers that, and leaves it to
    the next best, which is the engine in the end. ``JobFailed.kind`` is ``"decoder"`` then.
    """

    def decode(self, batch: LatentBatch) -> PicturesJob:
        """Begin to decode.

        Raises:
            EngineError: If the engine is needed and does not take it.
        """
        ...
