"""What clients hear while one prompt runs, in ComfyUI's order, and what the history keeps of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from backend.engine.messages import PictureType
from backend.engine.node_type import JsonObject
from backend.engine.prompt_queue import QueueItem


class Audience(Protocol):
    """Whoever listens; called from the worker thread."""

    def tell(self, kind: str, data: Mapping[str, Any], client_id: str | None) -> None:
        """A text message to one client, or to all if None."""
        ...

    def show_with_origin(
        self,
        kind: PictureType,
        image: bytes,
        *,
        client_id: str | None,
        prompt_id: str,
        node_id: str,
        frame: int | None = None,
    ) -> bool:
        """A picture for a client that asked for its origin; False if this one did not (or is None)."""
        ...

    def show(self, kind: PictureType, image: bytes, client_id: str | None) -> None:
        """A picture without its origin, to one client, or to all if None."""
        ...


class Progress:
    """Tells of one prompt.

    A prompt posted without a client id is told to everybody, but only its progress and its pictures.

    Attributes:
        messages: ``[kind, data]`` of start, cached and end, as ``/history`` has them.
        executing: The node that runs, None between prompts.
    """

    def __init__(self, item: QueueItem, audience: Audience, wall_ms: Callable[[], int]) -> None:
        self._item = item
        self._audience = audience
        self._wall_ms = wall_ms
        self._nodes: dict[str, JsonObject] = {}
        self.messages: list[list[Any]] = []
        self.executing: str | None = None

    def start(self, cached: list[str]) -> None:
        self._tell_and_keep("execution_start", {})
        self._tell_and_keep("execution_cached", {"nodes": cached})

    def begin(self, node_id: str) -> None:
        """A node starts to run."""
        self.executing = node_id
        self._set(node_id, 0.0, 1.0, "running")
        self._tell_client("executing", {"node": node_id, "display_node": node_id})

    def step(
        self,
        node_id: str,
        value: int,
        total: int,
        image: bytes | None = None,
        kind: PictureType = PictureType.PNG,
        frame: int | None = None,
    ) -> None:
        """A node got so far, and has perhaps something to show."""
        self._set(node_id, value, total, "running")
        shown = image is None or self._audience.show_with_origin(
            kind,
            image,
            client_id=self._item.client_id,
            prompt_id=self._item.prompt_id,
            node_id=node_id,
            frame=frame,
        )
        data = {"value": value, "max": total, "prompt_id": self._item.prompt_id, "node": node_id}
        self._audience.tell("progress", data, self._item.client_id)
        if not shown and image is not None:
            self._audience.show(kind, image, self._item.client_id)

    def executed(self, node_id: str, ui: JsonObject) -> None:
        """An output node has something to tell."""
        self._tell_client("executed", {"node": node_id, "display_node": node_id, "output": ui})

    def finish(self, node_id: str) -> None:
        """A node ended well, or was taken from the cache."""
        total = self._nodes[node_id]["max"] if node_id in self._nodes else 1
        self._set(node_id, total, total, "finished")

    def success(self) -> None:
        self._tell_and_keep("execution_success", {})

    def interrupted(self, node_id: str, node_type: str, executed: list[str]) -> None:
        facts = {"node_id": node_id, "node_type": node_type, "executed": executed}
        self._tell_and_keep("execution_interrupted", facts, to_all=True)

    def error(self, facts: JsonObject) -> None:
        self._tell_and_keep("execution_error", facts)

    def end(self) -> None:
        """The real end: the history is written."""
        self.executing = None
        self._tell_client("executing", {"node": None})

    def _set(self, node_id: str, value: float, total: float, state: str) -> None:
        self._nodes[node_id] = {
            "value": value,
            "max": total,
            "state": state,
            "node_id": node_id,
            "prompt_id": self._item.prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }
        data = {"prompt_id": self._item.prompt_id, "nodes": self._nodes}
        self._audience.tell("progress_state", data, self._item.client_id)

    def _tell_client(self, kind: str, data: JsonObject) -> None:
        if self._item.client_id is not None:
            data = {**data, "prompt_id": self._item.prompt_id}
            self._audience.tell(kind, data, self._item.client_id)

    def _tell_and_keep(self, kind: str, data: JsonObject, *, to_all: bool = False) -> None:
        data = {"prompt_id": self._item.prompt_id, **data, "timestamp": self._wall_ms()}
        self.messages.append([kind, data])
        if to_all or self._item.client_id is not None:
            self._audience.tell(kind, data, self._item.client_id)
