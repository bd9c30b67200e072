"""Bytes from ComfyUI's WebSocket become typed events. Pure: no I/O, and it never raises, whatever comes.

Text frames are ``{"type": T, "data": {...}}``; binary frames begin with a big-endian u32, the event.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from backend.core.jobs import FileRef
from backend.utils.tame_json import tame

MAX_TEXT_CHARS = 8 * 2**20
"""Longer texts are not read (a progress_state of 125 nodes has 4.6 MB)."""

PREVIEW_IMAGE = 1
PROGRESS_TEXT = 3
PREVIEW_IMAGE_WITH_METADATA = 4

FEATURE_FLAGS = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
"""Must be the first message of a connection: pictures then carry their prompt and node id."""


@dataclass(frozen=True)
class Status:
    """Broadcast whenever the queue changes, and sent with ``sid`` on connecting."""

    queue_remaining: int
    sid: str | None = None


@dataclass(frozen=True)
class FeatureFlags:
    """The server's answer to ours."""

    preview_metadata: bool


@dataclass(frozen=True)
class ExecutionStart:
    """The server took the prompt from its queue."""

    prompt_id: str
    timestamp_ms: float | None


@dataclass(frozen=True)
class ExecutionCached:
    """The nodes that will not run."""

    prompt_id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Executing:
    """A node begins; ``node`` None is the end of the prompt, however it went."""

    prompt_id: str | None
    node: str | None


@dataclass(frozen=True)
class Progress:
    """A node's progress."""

    prompt_id: str | None
    node: str | None
    value: float
    maximum: float


@dataclass(frozen=True)
class ProgressState:
    """All nodes that are running or finished."""

    prompt_id: str
    running: tuple[str, ...]


@dataclass(frozen=True)
class Executed:
    """An output node is done, with the files it saved."""

    prompt_id: str
    node: str
    files: tuple[FileRef, ...]


@dataclass(frozen=True)
class ExecutionSuccess:
    """All went well; the history is not yet written."""

    prompt_id: str
    timestamp_ms: float | None


@dataclass(frozen=True)
class ExecutionError:
    """A node raised an error."""

    prompt_id: str
    node_id: str | None
    node_type: str | None
    message: str
    exception_type: str


@dataclass(frozen=True)
class ExecutionInterrupted:
    """Somebody interrupted it."""

    prompt_id: str
    node_id: str | None
    node_type: str | None


@dataclass(frozen=True)
class PictureArrived:
    """A picture.

    Attributes:
        prompt_id: Whose it is; None if the server does not say so (event 1), like ``node_id``.
        frame: Its place among those of its node, from 0; None where it has none. Only our own nodes number.
    """

    data: bytes = field(repr=False)
    format: str
    prompt_id: str | None = None
    node_id: str | None = None
    frame: int | None = None


@dataclass(frozen=True)
class ProgressText:
    """A line of text by a node."""

    node_id: str
    text: str


@dataclass(frozen=True)
class Unknown:
    """A kind of message that this client has no use for."""

    kind: str


@dataclass(frozen=True)
class Malformed:
    """Not a message at all."""

    reason: str


Event: TypeAlias = (
    Status
    | FeatureFlags
    | ExecutionStart
    | ExecutionCached
    | Executing
    | Progress
    | ProgressState
    | Executed
    | ExecutionSuccess
    | ExecutionError
    | ExecutionInterrupted
    | PictureArrived
    | ProgressText
    | Unknown
    | Malformed
)


def parse_text(text: str) -> Event:
    """The event of a text frame."""
    if len(text) > MAX_TEXT_CHARS:
        return Malformed(f"a text of {len(text)} characters")
    try:
        message = tame(text)
    except (ValueError, RecursionError) as error:
        return Malformed(f"not JSON: {error}")
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return Malformed("no type")
    return event_of(message["type"], message.get("data"))


def event_of(kind: str, data: object) -> Event:
    """The event of a message that is already parsed; /history records them in the same form."""
    reader = _READERS.get(kind)
    if reader is None:
        return Unknown(kind)
    if not isinstance(data, Mapping):
        return Malformed(f"{kind} without data")
    try:
        return reader(data)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        return Malformed(f"{kind}: {error!r}")


def parse_binary(frame: bytes) -> Event:
    """The event of a binary frame."""
    try:
        (event,) = struct.unpack_from(">I", frame)
        if event == PREVIEW_IMAGE:
            return _picture(frame)
        if event == PREVIEW_IMAGE_WITH_METADATA:
            return _picture_with_metadata(frame)
        if event == PROGRESS_TEXT:
            return _progress_text(frame)
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        return Malformed(f"binary frame of {len(frame)} bytes: {error!r}")
    return Unknown(f"binary event {event}")


def files_of(output: object) -> tuple[FileRef, ...]:
    """The files in a node's output, ``{"images": [{filename, subfolder, type}], "latents": [...]}``.

    Entries that are no files (some nodes answer with texts or numbers) are passed over.
    """
    lists = output.values() if isinstance(output, Mapping) else ()
    entries = [entry for listed in lists if isinstance(listed, list) for entry in listed]
    return tuple(
        FileRef(entry["filename"], str(entry.get("subfolder") or ""), str(entry.get("type") or "output"))
        for entry in entries
        if isinstance(entry, Mapping) and isinstance(entry.get("filename"), str)
    )


def finite(value: object) -> float | None:
    """A number of JSON as a float; None for anything else, for NaN and for what is too large (1e400)."""
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def seconds_between(start_ms: float | None, end_ms: float | None) -> float:
    """From one time stamp to another; 0 where one is missing or they make no sense."""
    if start_ms is None or end_ms is None:
        return 0.0
    return max(0.0, finite((end_ms - start_ms) / 1000) or 0.0)


def image_format(data: bytes) -> str | None:
    """``png``, ``jpeg`` or ``webp`` by the first bytes; None for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return None


def _picture(frame: bytes) -> Event:
    struct.unpack_from(">II", frame)
    data = frame[8:]
    kind = image_format(data)
    return PictureArrived(data, kind) if kind else Malformed("a picture of no known format")


def _picture_with_metadata(frame: bytes) -> Event:
    (length,) = struct.unpack_from(">I", frame, 4)
    if 8 + length > len(frame):
        return Malformed(f"{length} bytes of metadata announced in a frame of {len(frame)}")
    metadata = json.loads(frame[8 : 8 + length])
    data = frame[8 + length :]
    kind = image_format(data)
    if kind is None:
        return Malformed("a picture of no known format")
    prompt_id, node_id = _text(metadata, "prompt_id"), _text(metadata, "node_id")
    return PictureArrived(data, kind, prompt_id, node_id, _whole(metadata.get("frame")))


def _progress_text(frame: bytes) -> Event:
    (length,) = struct.unpack_from(">I", frame, 4)
    node_id = frame[8 : 8 + length].decode(errors="replace")
    return ProgressText(node_id, frame[8 + length :].decode(errors="replace"))


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} is {value!r}")
    return value


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _maybe_text(data: Mapping[str, Any], key: str) -> str | None:
    return None if data.get(key) is None else str(data[key])


def _number(data: Mapping[str, Any], key: str) -> float | None:
    return finite(data.get(key))


def _texts(values: object) -> tuple[str, ...]:
    return tuple(str(value) for value in values) if isinstance(values, list) else ()


def _status(data: Mapping[str, Any]) -> Event:
    return Status(int(data["status"]["exec_info"]["queue_remaining"]), _maybe_text(data, "sid"))


def _progress(data: Mapping[str, Any]) -> Event:
    value, maximum = _number(data, "value") or 0.0, _number(data, "max") or 0.0
    return Progress(_maybe_text(data, "prompt_id"), _maybe_text(data, "node"), value, maximum)


def _progress_state(data: Mapping[str, Any]) -> Event:
    nodes = data["nodes"].items() if isinstance(data["nodes"], Mapping) else ()
    running = (str(node_id) for node_id, state in nodes if _is_running(state))
    return ProgressState(_text(data, "prompt_id"), tuple(running))


def _is_running(state: object) -> bool:
    return isinstance(state, Mapping) and state.get("state") == "running"


def _execution_error(data: Mapping[str, Any]) -> Event:
    return ExecutionError(
        _text(data, "prompt_id"),
        _maybe_text(data, "node_id"),
        _maybe_text(data, "node_type"),
        str(data.get("exception_message", "")).strip(),
        str(data.get("exception_type", "")),
    )


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Event]] = {
    "status": _status,
    "feature_flags": lambda data: FeatureFlags(data.get("supports_preview_metadata") is True),
    "execution_start": lambda data: ExecutionStart(_text(data, "prompt_id"), _number(data, "timestamp")),
    "execution_cached": lambda data: ExecutionCached(_text(data, "prompt_id"), _texts(data.get("nodes"))),
    "executing": lambda data: Executing(_maybe_text(data, "prompt_id"), _maybe_text(data, "node")),
    "progress": _progress,
    "progress_state": _progress_state,
    "executed": lambda data: Executed(
        _text(data, "prompt_id"), _text(data, "node"), files_of(data.get("output"))
    ),
    "execution_success": lambda data: ExecutionSuccess(_text(data, "prompt_id"), _number(data, "timestamp")),
    "execution_error": _execution_error,
    "execution_interrupted": lambda data: ExecutionInterrupted(
        _text(data, "prompt_id"), _maybe_text(data, "node_id"), _maybe_text(data, "node_type")
    ),
}
