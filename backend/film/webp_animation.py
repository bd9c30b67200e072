"""Animated WebP, written frame by frame: libraries hold the whole animation in memory, however long it is.

Every frame is a picture of its own: in a dream everything moves, so little could be saved. The container: https://developers.google.com/speed/webp/docs/riff_container
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image

from backend.film.stills import Size

_XMP, _ANIMATED = 0x04, 0x02
_FOREVER = 0
_DO_NOT_BLEND = 0x02
_BLACK = b"\x00\x00\x00\xff"
_METHOD = 4
_MAX_BYTES = 2**32 - 2**20
_SIMPLE = (b"VP8 ", b"VP8L")


class WebpAnimation:
    """An animation that plays for ever.

    Args:
        path: The file.
        size: Width and height in pixels.
        fps: Frames a second; the format counts milliseconds, so they are rounded, without adding up.
        quality: 1 to 100.
        title: What it is called.
        comment: What is to be said of it.
    """

    def __init__(self, path: Path, size: Size, fps: float, quality: int, *, title: str, comment: str) -> None:
        self._fps = fps
        self._quality = quality
        self._xmp = _xmp(title, comment)
        self._count = 0
        self._file = path.open("wb")
        width, height = (side - 1 for side in size)
        self._file.write(b"RIFF\x00\x00\x00\x00WEBP")
        flags = struct.pack("<I", _ANIMATED | _XMP)
        self._chunk(b"VP8X", flags + _u24(width) + _u24(height))
        self._chunk(b"ANIM", _BLACK + struct.pack("<H", _FOREVER))
        self._place = bytes(6) + _u24(width) + _u24(height)

    def add(self, frame: Image.Image) -> None:
        """Append a frame; raises OSError where the disk or the format has no room for it."""
        encoded = io.BytesIO()
        frame.save(encoded, "WEBP", quality=self._quality, method=_METHOD)
        duration_ms = round((self._count + 1) * 1000 / self._fps) - round(self._count * 1000 / self._fps)
        self._count += 1
        picture = b"".join(
            name + struct.pack("<I", len(data)) + _padded(data)
            for name, data in _bitstreams(encoded.getvalue())
        )
        if self._file.tell() + len(picture) > _MAX_BYTES:
            raise OSError(0, "a WebP has at most 4 GB; make it shorter or smaller, or an .mp4")
        self._chunk(b"ANMF", self._place + _u24(duration_ms) + bytes((_DO_NOT_BLEND,)) + picture)

    def finish(self) -> None:
        """Add what is said of it, and its length."""
        self._chunk(b"XMP ", self._xmp)
        length = self._file.tell() - 8
        self._file.seek(4)
        self._file.write(struct.pack("<I", length))
        self._file.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _chunk(self, name: bytes, data: bytes) -> None:
        self._file.write(name + struct.pack("<I", len(data)) + _padded(data))


def _bitstreams(still: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a still WebP that hold its picture."""
    found, at = [], 12
    while at + 8 <= len(still):
        name, length = still[at : at + 4], struct.unpack("<I", still[at + 4 : at + 8])[0]
        if name in _SIMPLE:
            found.append((name, still[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return found


def _padded(data: bytes) -> bytes:
    return data + b"\x00" * (len(data) % 2)


def _u24(number: int) -> bytes:
    return struct.pack("<I", number)[:3]


def _xmp(title: str, comment: str) -> bytes:
    """Title and description as XMP has them."""
    spoken = "".join(
        f'<dc:{name}><rdf:Alt><rdf:li xml:lang="x-default">{escape(text)}</rdf:li></rdf:Alt></dc:{name}>'
        for name, text in (("title", title), ("description", comment))
    )
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f'{spoken}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode("utf-8", "replace")
