"""What the routes share: queue, worker, nodes, folders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backend.engine.dialect import Dialect
from backend.engine.node_type import NodeType, Workspace
from backend.engine.prompt_queue import PromptQueue
from backend.engine.sockets import SocketHub
from backend.engine.worker import Worker


@dataclass
class EngineCore:
    """The running parts of one engine.

    Attributes:
        version: Told as ``comfyui_version``.
        wall_ms: Wall-clock time in milliseconds since 1970.
    """

    dialect: Dialect
    version: str
    nodes: dict[str, NodeType]
    workspace: Workspace
    queue: PromptQueue
    hub: SocketHub
    worker: Worker
    wall_ms: Callable[[], int]
    _number: int = 0

    def next_number(self, body: Any) -> float:
        """The number for a posted prompt: as asked, or counted; prompts that are refused count too."""
        if "number" in body:
            return float(body["number"])
        in_front = isinstance(body, dict) and body.get("front")
        number = -self._number if in_front else self._number
        self._number += 1
        return number
