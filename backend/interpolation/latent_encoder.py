"""Pictures to latents and back, and the file format in which latents travel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from backend.errors import LatentRejected
from backend.interpolation.decoder import LatentBatch, PicturesJob
from backend.interpolation.walk_course import Course, course_of
from backend.utils.prompt_manager import Prompt

if TYPE_CHECKING:
    from torch import Tensor

# ComfyUI's LoadLatent divides by the SD 1.x scale when a file lacks the version marker.
_UNMARKED_SCALE = 1.0 / 0.18215


class LatentEngine(Protocol):
    """What decodes and encodes; the engine's session in core stands behind it."""

    def submit_decode(self, latents: bytes, count: int, prompt: Prompt, *, tiny: bool = False) -> PicturesJob:
        """Queue the decoding of ``count`` latents; ``prompt`` keeps the server's text cache warm.

        ``tiny`` has the small VAE of the settings do it; raises GraphUnfit where the server has none.
        """
        ...

    def submit_walk(self, course: Course, places: tuple[float, ...], prompt: Prompt) -> PicturesJob | None:
        """Have the server walk and decode by itself at these places (0 to 1); None where it cannot."""
        ...

    def encode_picture(self, picture: bytes, timeout_s: float) -> bytes:
        """Encode a PNG of the dream's size and return the latent file."""
        ...


class LatentEncoder:
    """Image <-> latent with the VAE that also paints the keyframes, so that nothing pops; a `Decoder`."""

    def __init__(self, engine: LatentEngine) -> None:
        self._engine = engine

    def decode(self, batch: LatentBatch) -> PicturesJob:
        """Queue one job; the pictures come as the engine encodes them."""
        job = None
        if batch.walk is not None:
            job = self._engine.submit_walk(course_of(batch.walk), batch.t, batch.prompt)
        return job or self._engine.submit_decode(write_latents(batch.latents), len(batch), batch.prompt)

    def encode(self, picture: bytes, timeout_s: float = 60.0) -> Tensor:
        """Encode a picture file into a latent of shape ``[1, C, h, w]``, or ``[1, C, 1, h, w]``.

        Raises:
            EngineError: If the engine does not deliver within ``timeout_s``.
            LatentRejected: If what it delivers is no latent.
        """
        return read_latents(self._engine.encode_picture(picture, timeout_s))


def warm_up() -> None:
    """Import what the first latent needs: torch takes a second, which nobody should wait for later."""
    import safetensors.torch  # noqa: F401


def read_latents(data: bytes) -> Tensor:
    """Read a ``.latent`` file (safetensors) into a float32 tensor.

    Returns:
        Shape ``[B, C, h, w]``, or ``[B, C, 1, h, w]`` of models that also make films (Qwen-Image), as saved.

    Raises:
        LatentRejected: If it is not such a file, is of a film, or holds a value that is not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise LatentRejected(f"not a latent file ({len(data)} bytes): {error}") from error
    latents = tensors.get("latent_tensor")
    if latents is None or not _is_of_pictures(latents):
        shape = None if latents is None else tuple(latents.shape)
        raise LatentRejected(
            "a latent must have the shape [batch, channels, height, width] "
            f"or [batch, channels, 1, height, width], not {shape}"
        )
    latents = latents.to(torch.float32)
    if "latent_format_version_0" not in tensors:
        latents = latents * _UNMARKED_SCALE
    if not bool(torch.isfinite(latents).all()):
        raise LatentRejected("the latent holds values that are not finite")
    return latents


def write_latents(latents: Tensor) -> bytes:
    """The ``.latent`` file that ComfyUI's LoadLatent reads; ``latents`` as read_latents() gives them."""
    import torch
    from safetensors.torch import save

    return save(
        {
            "latent_tensor": latents.detach().to(device="cpu", dtype=torch.float32).contiguous(),
            "latent_format_version_0": torch.tensor([]),
        }
    )


def _is_of_pictures(latents: Tensor) -> bool:
    frames = latents.shape[2] if latents.dim() == 5 else 1
    return latents.dim() in (4, 5) and frames == 1 and 0 not in latents.shape
