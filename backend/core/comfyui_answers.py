"""JSON bodies of ComfyUI's HTTP answers become typed facts. Pure; ValueError says what makes no sense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from backend.core.comfyui_messages import (
    ExecutionCached,
    ExecutionError,
    ExecutionInterrupted,
    ExecutionStart,
    ExecutionSuccess,
    event_of,
    files_of,
    finite,
    seconds_between,
)
from backend.core.jobs import FileRef
from backend.errors import GraphRejected

_MAX_TEXT_CHARS = 300


class Outcome(Enum):
    """How a prompt in the history ended; the server itself files interrupts under errors."""

    SUCCESS = "success"
    ERROR = "error"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class HistoryEntry:
    """What /history/{id} says of a prompt that has ended.

    Attributes:
        cached: Ids of the nodes that did not run.
        engine_s: Seconds between start and end by the server's clock.
        error: The node's error, if that was the end.
    """

    prompt_id: str
    outcome: Outcome
    files: Mapping[str, tuple[FileRef, ...]]
    cached: tuple[str, ...]
    engine_s: float
    error: ExecutionError | None


MARK_KEY = "dreamloop"
"""In the extra data of our prompts; the server keeps them and reads them not."""


@dataclass(frozen=True)
class QueueState:
    """The prompt ids in the server's queue, of all its clients; pending ones in order of their turn."""

    running: tuple[str, ...]
    pending: tuple[str, ...]

    def __contains__(self, prompt_id: object) -> bool:
        return prompt_id in self.running or prompt_id in self.pending


@dataclass(frozen=True)
class SystemStats:
    """What the server says of itself; ``device`` is the first one's name."""

    version: str
    os: str
    device: str
    vram_total: int
    vram_free: int
    embedded: bool
    """Whether it is Dreamloop's own engine."""


def history_entry(body: object, prompt_id: str) -> HistoryEntry | None:
    """Reads /history/{id}; None where the prompt has not ended or is unknown (the body is ``{}``)."""
    if not isinstance(body, Mapping):
        raise ValueError("a history that is no object")
    entry = body.get(prompt_id)
    if entry is None:
        return None
    status = _mapping(entry, "status")
    messages = _messages(status.get("messages"))
    error = next((event for event in messages if isinstance(event, ExecutionError)), None)
    return HistoryEntry(
        prompt_id,
        _outcome(status, messages),
        {str(node): files_of(output) for node, output in _mapping(entry, "outputs").items()},
        next((event.nodes for event in messages if isinstance(event, ExecutionCached)), ()),
        _engine_s(messages),
        error,
    )


def queue_state(body: object) -> QueueState:
    """Reads /queue, whose pending list is a heap and not sorted."""
    if not isinstance(body, Mapping):
        raise ValueError("a queue that is no object")
    return QueueState(_queue_ids(body.get("queue_running")), _queue_ids(body.get("queue_pending")))


def marked_prompts(body: object, mark: str) -> tuple[str, ...]:
    """The ids in a /queue whose extra data bear a mark under MARK_KEY."""
    if not isinstance(body, Mapping):
        raise ValueError("a queue that is no object")
    items = [item for key in ("queue_running", "queue_pending") for item in body.get(key) or ()]
    rows = [item for item in items if isinstance(item, list) and len(item) >= 4]
    return tuple(str(row[1]) for row in rows if isinstance(row[3], Mapping) and row[3].get(MARK_KEY) == mark)


def system_stats(body: object) -> SystemStats:
    """Reads /system_stats."""
    if not isinstance(body, Mapping):
        raise ValueError("system stats that are no object")
    system = _mapping(body, "system")
    devices = body.get("devices")
    first = devices[0] if isinstance(devices, list) and devices else {}
    device = first if isinstance(first, Mapping) else {}
    ours = body.get("dreamloop", system.get("dreamloop"))
    return SystemStats(
        version=str(system.get("comfyui_version") or "unknown"),
        os=str(system.get("os") or "unknown"),
        device=str(device.get("name") or device.get("type") or "unknown"),
        vram_total=_whole(device.get("vram_total")),
        vram_free=_whole(device.get("vram_free")),
        embedded=isinstance(ours, Mapping) and ours.get("embedded") is True,
    )


def rejection(body: object) -> GraphRejected:
    """The error of a refused graph: a 400, or a 200 with node errors."""
    answer = body if isinstance(body, Mapping) else {}
    error = answer.get("error")
    details = tuple(_node_problems(answer.get("node_errors")))
    if isinstance(error, Mapping):
        message = " ".join(str(error.get(key) or "") for key in ("message", "details")).strip()
        return GraphRejected(str(error.get("type")), _short(message), details)
    if isinstance(error, str):
        return GraphRejected("error", _short(error), details)
    return GraphRejected("node_errors", "a part of the graph is not valid", details)


def _node_problems(node_errors: object) -> list[str]:
    problems = []
    for node_id, node in node_errors.items() if isinstance(node_errors, Mapping) else ():
        if not isinstance(node, Mapping):
            continue
        errors = node.get("errors")
        for error in errors if isinstance(errors, list) else ():
            if isinstance(error, Mapping):
                where = f"node {node_id} ({node.get('class_type')})"
                problems.append(_short(f"{where} {error.get('details')}: {error.get('message')}"))
    return problems


def _short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT_CHARS else text[: _MAX_TEXT_CHARS - 1] + "…"


def _messages(pairs: object) -> list[object]:
    listed = pairs if isinstance(pairs, list) else []
    return [event_of(str(pair[0]), pair[1]) for pair in listed if isinstance(pair, list) and len(pair) == 2]


def _outcome(status: Mapping[str, Any], messages: list[object]) -> Outcome:
    if status.get("status_str") == "success":
        return Outcome.SUCCESS
    if any(isinstance(event, ExecutionInterrupted) for event in messages):
        return Outcome.INTERRUPTED
    return Outcome.ERROR


def _engine_s(messages: list[object]) -> float:
    starts = [event.timestamp_ms for event in messages if isinstance(event, ExecutionStart)]
    ends = [event.timestamp_ms for event in messages if isinstance(event, ExecutionSuccess)]
    return seconds_between(starts[0], ends[-1]) if starts and ends else 0.0


def _queue_ids(items: object) -> tuple[str, ...]:
    if not isinstance(items, list):
        raise ValueError("a queue without its lists")
    rows = [item for item in items if isinstance(item, list) and len(item) >= 2]
    rows.sort(key=lambda item: finite(item[0]) or 0.0)
    return tuple(str(item[1]) for item in rows)


def _mapping(parent: object, key: str) -> Mapping[str, Any]:
    value = parent.get(key) if isinstance(parent, Mapping) else None
    if not isinstance(value, Mapping):
        raise ValueError(f"an answer without {key!r}")
    return value


def _whole(value: object) -> int:
    return int(finite(value) or 0)
