"""The engine as a source of pictures, one by one, with the keyframes' VAE or a small one."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING

from backend.errors import DecoderUnfit, GraphUnfit
from backend.interpolation.latent_encoder import LatentEngine, write_latents
from backend.interpolation.picture_futures import pictures_of
from backend.utils.prompt_manager import Prompt

if TYPE_CHECKING:
    from torch import Tensor


class EngineSource:
    """A `PictureSource`.

    Args:
        engine: Decodes.
        tiny: Whether with the small VAE that the settings name, instead of the keyframes' own.
    """

    def __init__(self, engine: LatentEngine, *, tiny: bool = False) -> None:
        self._engine = engine
        self._tiny = tiny

    def submit(self, latents: Tensor, prompt: Prompt) -> list[Future[bytes]]:
        """See `PictureSource.submit`."""
        try:
            job = self._engine.submit_decode(write_latents(latents), len(latents), prompt, tiny=self._tiny)
        except GraphUnfit as error:
            if self._tiny:  # without it, it may fit
                raise DecoderUnfit(str(error)) from error
            raise
        return pictures_of(job, len(latents))
