"""Pictures in another format than the one that they come in, where the settings ask for that."""

from __future__ import annotations

from concurrent.futures import Executor

from backend.interpolation.decoder import Decoder, LatentBatch
from backend.interpolation.picture_futures import PicturesInTheMaking, pictures_of
from backend.utils.futures import after
from backend.utils.picture_formats import Encoding, format_of, pixels_of


class RecodingDecoder:
    """A `Decoder` whose pictures are encoded anew, beside the loop.

    Args:
        decoder: Decodes.
        pool: Encodes; pictures that are in the right format already pass as they came.
        encoding: The format.
    """

    def __init__(self, decoder: Decoder, pool: Executor, encoding: Encoding) -> None:
        self._decoder = decoder
        self._pool = pool
        self._encoding = encoding

    def decode(self, batch: LatentBatch) -> PicturesInTheMaking:
        """See `Decoder.decode`."""
        pictures = pictures_of(self._decoder.decode(batch), len(batch))
        return PicturesInTheMaking([after(self._pool, [picture], self._recoded) for picture in pictures])

    def _recoded(self, picture: bytes) -> bytes:
        try:
            if not self._encoding.changes(format_of(picture)):
                return picture
            return self._encoding.encode(pixels_of(picture))
        except (OSError, ValueError, SyntaxError):  # broken: refused with a reason where it is inspected
            return picture
