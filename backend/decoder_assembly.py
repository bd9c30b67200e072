"""The decoder of in-betweens that the settings ask for."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Protocol

from backend.config import InterpolationSettings, Settings
from backend.core.engine import EngineFacts
from backend.errors import DecoderUnfit, Problem
from backend.interpolation.decoder import Decoder
from backend.interpolation.decoder_choice import DecoderChoice
from backend.interpolation.engine_source import EngineSource
from backend.interpolation.latent_encoder import LatentEncoder, LatentEngine
from backend.interpolation.local_source import LocalSource
from backend.interpolation.recoding_decoder import RecodingDecoder
from backend.interpolation.seamless_decoder import SeamlessDecoder, finishing_pool
from backend.interpolation.vae_file import VaeFile, read_vae_file
from backend.utils.picture_formats import Encoding

if TYPE_CHECKING:
    from backend.interpolation.local_vae import LocalVae

log = logging.getLogger(__name__)

# A local job gives up by itself; one that has not done so this much later hangs in the device's driver.
_GRACE_S = 30.0


class DecodingEngine(LatentEngine, Protocol):
    """The engine, as far as decoding goes."""

    @property
    def facts(self) -> EngineFacts | None: ...


def encoding_of(settings: Settings) -> Encoding:
    """How frames are to be encoded."""
    return Encoding(settings.display.format, settings.display.quality)


def decoder_problems(wishes: InterpolationSettings) -> Iterator[Problem]:
    """What can be told of the decoder without loading it."""
    if wishes.decoder != "local":
        return
    key = "interpolation.vae"
    if wishes.vae is None:
        yield Problem("config", None, key, "auto", "decoder: local needs the .safetensors file of a VAE")
        return
    try:
        read_vae_file(wishes.vae)
    except DecoderUnfit as error:
        yield Problem("config", None, key, str(wishes.vae), str(error))


def open_decoder(settings: Settings, engine: DecodingEngine, stack: ExitStack) -> Decoder:
    """Who decodes in-betweens, and who does where that one cannot.

    Args:
        settings: How in-betweens are decoded, and how frames are encoded.
        engine: Decodes what nobody else does.
        stack: Ends on its way out what is started here.
    """
    wishes, encoding = settings.interpolation, encoding_of(settings)
    pool = finishing_pool()  # its threads begin with the first picture
    stack.callback(pool.shutdown, wait=False, cancel_futures=True)
    decoder = _engines(wishes, engine, pool, encoding)
    if wishes.decoder == "local" and wishes.vae is not None:
        decoder = _local(settings, engine, pool, decoder, stack)
    return decoder


def _engines(
    wishes: InterpolationSettings, engine: LatentEngine, pool: Executor, encoding: Encoding
) -> Decoder:
    """The engine's own ways."""
    decoder: Decoder = LatentEncoder(engine)
    if encoding.format is not None:
        decoder = RecodingDecoder(decoder, pool, encoding)
    if wishes.scale < 1.0:  # not for every model: the embedded engine's latents mean nothing in another size
        smaller = SeamlessDecoder(EngineSource(engine), pool, encoding, scale=wishes.scale, judged=True)
        decoder = DecoderChoice(f"the engine at {wishes.scale:.0%}", smaller, decoder, time.monotonic)
    if wishes.tiny_vae is not None:
        tiny = EngineSource(engine, tiny=True)
        small = SeamlessDecoder(tiny, pool, encoding, scale=wishes.scale, judged=True)
        decoder = DecoderChoice(f"the engine's {wishes.tiny_vae}", small, decoder, time.monotonic)
    return decoder


def _local(
    settings: Settings, engine: DecodingEngine, pool: Executor, other: Decoder, stack: ExitStack
) -> Decoder:
    """A VAE on this machine, and the other decoder where it cannot."""
    wishes, patience_s = settings.interpolation, settings.comfyui.job_timeout_seconds
    assert wishes.vae is not None  # noqa: S101 - for the type checker: the caller has looked
    try:
        file = read_vae_file(wishes.vae)
    except DecoderUnfit as error:  # looked at before; it has changed since
        log.warning("the engine decodes in-betweens: %s", error)
        return other
    source = LocalSource(
        file,
        partial(_loaded, file, wishes.device),
        line=lambda: engine.facts.family.line if engine.facts else "",
        patience_s=patience_s,
        clock=time.monotonic,
    )
    stack.callback(source.stop)
    seamless = SeamlessDecoder(source, pool, encoding_of(settings), scale=wishes.scale, judged=True)
    return DecoderChoice(file.path.name, seamless, other, time.monotonic, patience_s + _GRACE_S)


def _loaded(file: VaeFile, device: str | None) -> LocalVae:
    """On the thread that decodes: torch is imported here."""
    from backend.interpolation.local_vae import Device, LocalVae

    return LocalVae(file, Device.chosen(device, file.kind))
