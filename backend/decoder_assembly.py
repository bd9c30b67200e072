"""The decoder of in-betweens that the settings ask for."""

from __future__ import annotations

import time
from contextlib import ExitStack

from backend.config import Settings
from backend.interpolation.decoder import Decoder
from backend.interpolation.decoder_choice import DecoderChoice
from backend.interpolation.engine_source import EngineSource
from backend.interpolation.latent_encoder import LatentEncoder, LatentEngine
from backend.interpolation.recoding_decoder import RecodingDecoder
from backend.interpolation.seamless_decoder import SeamlessDecoder, finishing_pool
from backend.utils.picture_formats import Encoding


def encoding_of(settings: Settings) -> Encoding:
    """How frames are to be encoded."""
    return Encoding(settings.display.format, settings.display.quality)


def open_decoder(settings: Settings, engine: LatentEngine, stack: ExitStack) -> Decoder:
    """Who decodes in-betweens, and who does where that one cannot.

    Args:
        settings: How in-betweens are decoded, and how frames are encoded.
        engine: Decodes what nobody else does.
        stack: Ends on its way out what is started here.
    """
    wishes, encoding = settings.interpolation, encoding_of(settings)
    pool = finishing_pool()  # its threads begin with the first picture
    stack.callback(pool.shutdown, wait=False, cancel_futures=True)
    decoder: Decoder = LatentEncoder(engine)
    if wishes.scale < 1.0:
        decoder = SeamlessDecoder(EngineSource(engine), pool, encoding, scale=wishes.scale)
    elif encoding.format is not None:
        decoder = RecodingDecoder(decoder, pool, encoding)
    if wishes.tiny_vae is not None:
        tiny = SeamlessDecoder(
            EngineSource(engine, tiny=True), pool, encoding, scale=wishes.scale, judged=True
        )
        decoder = DecoderChoice(f"the engine's {wishes.tiny_vae}", tiny, decoder, time.monotonic)
    return decoder
