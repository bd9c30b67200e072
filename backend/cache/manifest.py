"""The lines of an export's manifest: what they tell of a memory, and how much of that is believed.

A line comes from anywhere. What is no word or number of the kind that its key asks for is refused by name;
a number out of its range becomes the nearest within, as for whatever is admitted; a vector is somebody's word
for how a picture looks: it counts at the door, and the picture is embedded again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np

from backend.cache.matching import Identity, Vectors
from backend.cache.memory_row import Memory, NewMemory, Origin
from backend.cache.picture_files import MAX_FILE_BYTES, is_ours, is_whole, owner_of
from backend.cache.row_codec import is_unit
from backend.cache.told import finite, utc_now
from backend.utils.picture_check import inspect_picture
from backend.utils.tame_json import tame

FORMAT = "dreamloop-memory"
VERSION = 1
MANIFEST = "manifest.jsonl"
_MAX_PIXELS = 2**26
_MAX_TEXT = 20_000
_MOST_PARENTS, _MOST_PARENT_TEXT = 64, 64
_MOST_SHOWN = 2**31

Read = Callable[[str], bytes]


def header() -> bytes:
    """The first line."""
    return _line({"format": FORMAT, "version": VERSION})


def check_header(line: bytes) -> None:
    """ValueError for the first line of something else."""
    try:
        told = tame(line)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise ValueError(f"{MANIFEST} does not begin as that of a memory's export")
    if told.get("version") != VERSION:
        raise ValueError(f"an export of version {str(told.get('version'))[:20]}; known is {VERSION}")


def line_of(row: Memory, vector: Vectors | None, identity: Identity, *, has_latent: bool) -> bytes:
    """All that is known of a memory."""
    told = asdict(row)
    if not has_latent:
        told["latent"] = None
    told["identity"] = None if vector is None else asdict(identity)
    told["vector"] = None if vector is None else base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return _line(told)


def memory_in(line: bytes, read: Read, identity: Identity) -> NewMemory:
    """A memory as a line and the files that it names tell.

    Args:
        line: Of the manifest.
        read: The bytes of a file, by its name.
        identity: Whose vectors can be compared where it goes.

    Raises:
        ValueError: Something in it is not as it should be.
        PictureRejected: Its picture cannot be decoded, or shows nothing.
    """
    told = _object(line)
    path, picture = _file(told.get("picture"), "pictures/", read)
    inspect_picture(picture, max_pixels=_MAX_PIXELS)
    latent_path, latent = None, None
    if told.get("latent") is not None:
        latent_path, latent = _file(told["latent"], "latents/", read)
    if latent_path is not None and owner_of(latent_path) != owner_of(path):
        raise ValueError(f"{latent_path} is the latent of another picture than {path}")
    vector = _vector(told, identity)
    return NewMemory(
        picture=picture,
        latent=latent,
        embedding=vector,
        identity=None if vector is None else identity,
        claimed=True,
        score=_number(told, "score", 0.0, 1.0),
        theme=_text(told, "theme"),
        prompt=_text(told, "prompt"),
        negative=_text(told, "negative"),
        seed=_whole(told, "seed", 2**64),
        parents=_parents(told),
        denoise=_number(told, "denoise", 0.0, 1.0),
        shows_prompt=None if told.get("shows_prompt") is None else _number(told, "shows_prompt", -1.0, 1.0),
        origin=_origin(told),
        pinned=_yes_or_no(told, "pinned"),
        added_at=_moment(told, "added_at"),
        times_shown=_whole(told, "times_shown", _MOST_SHOWN),
        last_shown_at=_moment(told, "last_shown_at"),
    )


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    try:
        told = tame(line)
    except RecursionError:
        raise ValueError("nested without end") from None
    if not isinstance(told, dict):
        raise ValueError("it is no object")
    return told


def _file(path: object, kind: str, read: Read) -> tuple[str, bytes]:
    if not isinstance(path, str) or not path.startswith(kind) or not is_ours(path):
        raise ValueError(f"{str(path)[:120]!r} is no name of a file of a memory")
    data = read(path)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{path} has more than {MAX_FILE_BYTES:,} bytes")
    if not is_whole(path, data):
        raise ValueError(f"{path} is not what its name says")
    return path, data


def _vector(told: Mapping[str, Any], identity: Identity) -> Vectors | None:
    """Only one that can be compared here."""
    if told.get("identity") != asdict(identity) or not isinstance(told.get("vector"), str):
        return None
    data = base64.b64decode(told["vector"], validate=True)
    if len(data) != 4 * identity.dimension:
        return None
    vector = np.frombuffer(data, "<f4").astype(np.float32)
    return vector if is_unit(vector, identity.dimension) else None


def _wrong(told: Mapping[str, Any], key: str, wish: str) -> ValueError:
    return ValueError(f"{key} is {told.get(key)!r:.60}, which should be {wish}")


def _text(told: Mapping[str, Any], key: str) -> str:
    value = told.get(key, "")
    if not isinstance(value, str):
        raise _wrong(told, key, "text")
    return value[:_MAX_TEXT]


def _number(told: Mapping[str, Any], key: str, least: float, most: float) -> float:
    number = finite(told.get(key))
    if number is None:
        raise _wrong(told, key, f"a number from {least:g} to {most:g}")
    return min(most, max(least, number))


def _whole(told: Mapping[str, Any], key: str, below: int) -> int:
    value = told.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < below:
        raise _wrong(told, key, f"a whole number from 0 to {below - 1}")
    return value


def _yes_or_no(told: Mapping[str, Any], key: str) -> bool:
    value = told.get(key, False)
    if not isinstance(value, bool):
        raise _wrong(told, key, "true or false")
    return value


def _origin(told: Mapping[str, Any]) -> Origin:
    try:
        return Origin(_text(told, "origin"))
    except ValueError:
        raise _wrong(told, "origin", " or ".join(Origin)) from None


def _parents(told: Mapping[str, Any]) -> tuple[str, ...]:
    parents = told.get("parents", [])
    if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
        raise _wrong(told, "parents", "a list of texts")
    return tuple(parent[:_MOST_PARENT_TEXT] for parent in parents[:_MOST_PARENTS])


def _moment(told: Mapping[str, Any], key: str) -> str | None:
    if told.get(key) is None:
        return None
    try:
        moment = datetime.fromisoformat(_text(told, key))
        if moment.tzinfo is not None:
            return utc_now(moment)
    except (ValueError, OverflowError):
        pass
    raise _wrong(told, key, "a moment such as 2026-01-02T03:04:05Z")
