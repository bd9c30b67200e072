"""Text in PNG files, put in and read without touching the picture.

Chunks as PNG has them (third edition, sections 11.3.3.2 to 11.3.3.4): ``tEXt`` for what Latin-1 can say,
which every reader knows, else ``iTXt``. Nothing but :class:`ValueError` leaves here, whatever the bytes are.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_TEXT_BYTES = 8_000_000
"""Of all texts of a file together, unpacked: more is refused, be it sent or read."""

_IHDR_BYTES = 13
_FRAME_BYTES = 12  # length, type and CRC around a chunk's data
_MAX_KEY = 79
_TEXT_TYPES = frozenset({b"tEXt", b"zTXt", b"iTXt"})


@dataclass(frozen=True)
class _Chunk:
    """One chunk of a file: its type, and from where to where it lies."""

    type: bytes
    start: int
    end: int

    def data(self, png: bytes) -> bytes:
        return png[self.start + 8 : self.end - 4]


def with_text(data: bytes, texts: Mapping[str, str]) -> bytes:
    """The same picture with texts right behind its header, in place of older ones under the same keys.

    Args:
        data: A PNG; any other format comes back untouched.
        texts: Keyword (1 to 79 printable Latin-1 characters, no space at its ends) -> text without NUL.

    Raises:
        ValueError: A PNG whose chunks do not fit together, a keyword or text that PNG cannot carry, or more
            than :data:`MAX_TEXT_BYTES` of them.
    """
    if not data.startswith(SIGNATURE):
        return data
    added = b"".join(_packed(key, text) for key, text in texts.items())
    if len(added) > MAX_TEXT_BYTES:
        raise ValueError(f"{len(added):,} bytes of text are more than {MAX_TEXT_BYTES:,}")
    keys = {key.encode("latin-1") for key in texts}
    chunks = list(_chunks(data))
    pieces, kept_to = [data[: chunks[0].end], added], chunks[0].end
    for chunk in chunks:
        if chunk.type in _TEXT_TYPES and chunk.data(data).partition(b"\0")[0] in keys:
            pieces.append(data[kept_to : chunk.start])
            kept_to = chunk.end
    pieces.append(data[kept_to:])
    return b"".join(pieces)


def text_of(data: bytes) -> dict[str, str]:
    """The texts of a PNG; the last one counts where a keyword comes twice. Other formats have none.

    Raises:
        ValueError: A PNG that is damaged, or with more than :data:`MAX_TEXT_BYTES` of text.
    """
    if not data.startswith(SIGNATURE):
        return {}
    texts: dict[str, str] = {}
    room = MAX_TEXT_BYTES
    for chunk in _chunks(data):
        if chunk.type not in _TEXT_TYPES:
            continue
        (crc,) = struct.unpack(">I", data[chunk.end - 4 : chunk.end])
        if crc != zlib.crc32(data[chunk.start + 4 : chunk.end - 4]):
            raise ValueError("a text chunk whose checksum is wrong")
        key, text, size = _unpacked(chunk.type, chunk.data(data), room)
        texts[key] = text
        room -= size
    return texts


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """From IHDR to IEND; ValueError where they do not follow one another within the file."""
    at, last = len(SIGNATURE), b""
    while last != b"IEND":
        if at + _FRAME_BYTES > len(data):
            raise ValueError("a PNG that ends before its IEND")
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        chunk = _Chunk(kind, at, at + _FRAME_BYTES + length)
        if chunk.end > len(data):
            raise ValueError(f"a chunk of {length:,} bytes in a PNG that is shorter")
        if not last and (kind != b"IHDR" or length != _IHDR_BYTES):
            raise ValueError("a PNG that does not begin with its header")
        yield chunk
        at, last = chunk.end, kind


def _packed(key: str, text: str) -> bytes:
    if not (0 < len(key) <= _MAX_KEY) or not key.isprintable() or key != key.strip():
        raise ValueError(f"{key[:100]!r} cannot be a keyword of PNG")
    if "\0" in text:
        raise ValueError(f"the text {key!r} has a NUL in it, which PNG cannot carry")
    try:
        kind, body = b"tEXt", text.encode("latin-1")
    except UnicodeEncodeError:
        kind, body = b"iTXt", b"\0\0\0\0" + text.encode()  # not packed, no language, no translated keyword
    framed = kind + key.encode("latin-1") + b"\0" + body
    return struct.pack(">I", len(framed) - 4) + framed + struct.pack(">I", zlib.crc32(framed))


def _unpacked(kind: bytes, data: bytes, room: int) -> tuple[str, str, int]:
    """Keyword, text, and the bytes that the text takes."""
    key, _, body = data.partition(b"\0")
    if kind == b"tEXt":
        body, encoding = _within(body, room), "latin-1"
    elif kind == b"zTXt":
        body, encoding = _inflated(body[1:], room), "latin-1"
    else:
        packed, rest = body[:1], body[2:].split(b"\0", 2)
        if len(body) < 2 or len(rest) != 3:
            raise ValueError("an iTXt chunk without its fields")
        body, encoding = (_inflated if packed == b"\1" else _within)(rest[2], room), "utf-8"
    return key.decode("latin-1"), body.decode(encoding), len(body)


def _within(body: bytes, room: int) -> bytes:
    if len(body) > room:
        raise ValueError(f"a PNG with more than {MAX_TEXT_BYTES:,} bytes of text")
    return body


def _inflated(body: bytes, room: int) -> bytes:
    """Never makes more than ``room`` and one byte, however well it was packed."""
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(body, room + 1)
    except zlib.error as error:
        raise ValueError(f"a text that cannot be unpacked: {error}") from None
    if not inflater.eof and len(text) <= room:
        raise ValueError("a packed text that is cut off")
    return _within(text, room)
