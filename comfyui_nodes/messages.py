"""A frame as it goes over the WebSocket, in the forms that every client of ComfyUI knows.

Big-endian. Event 4 is ``u32 4 | u32 length | JSON | picture``; its JSON has two entries more than ComfyUI's
own: the frame's place in its batch, and how many there are. Event 1, for clients that did not ask to be told
whose pictures they get, is ``u32 1 | u32 type | picture``. The leading u32 is the server's to write.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass

from .encoding import Encoding

PLAIN = 1
WITH_ORIGIN = 4

_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_PLAIN_TYPES = {"jpeg": 1, "png": 2}


@dataclass(frozen=True)
class Origin:
    """Whose frames these are."""

    prompt_id: str
    node_id: str


def with_origin(picture: bytes, encoding: Encoding, origin: Origin, frame: int, frames: int) -> bytes:
    """What follows the 4: a frame with its prompt, its node and its place."""
    told = json.dumps(
        {
            "node_id": origin.node_id,
            "prompt_id": origin.prompt_id,
            "display_node_id": origin.node_id,
            "parent_node_id": None,
            "real_node_id": origin.node_id,
            "image_type": encoding.mime,
            "frame": frame,
            "frames": frames,
        }
    ).encode()
    return struct.pack(">I", len(told)) + told + picture


def plain(picture: bytes, encoding: Encoding) -> bytes:
    """What follows the 1: the frame alone.

    Raises:
        ValueError: This form knows only JPEG and PNG.
    """
    if encoding.format not in _PLAIN_TYPES:
        raise ValueError(
            f"a client that asks for plain pictures can be sent jpeg or png, not {encoding.format}"
        )
    return struct.pack(">I", _PLAIN_TYPES[encoding.format]) + picture


def numbers(text: str, count: int) -> tuple[int, ...]:
    """The frames that ``"0-3, 7"`` names, in order; all of ``count`` where nothing is named.

    Raises:
        ValueError: It is no such list, or names a frame that there is not.
    """
    if not text.strip():
        return tuple(range(count))
    chosen: set[int] = set()
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            raise ValueError(f"frames {part.strip()!r} is no number and no range such as 0-3")
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last < count:
            raise ValueError(f"frames {part.strip()!r} is not within the {count} that there are")
        chosen.update(range(first, last + 1))
    return tuple(sorted(chosen))
