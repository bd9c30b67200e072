"""Runs one prompt: the nodes that its outputs need, in order, except those that the last prompt left."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from backend.engine.graph_check import exception_name
from backend.engine.messages import PictureType
from backend.engine.node_keys import node_keys
from backend.engine.node_type import JsonObject, NodeCall, NodeResult, NodeType, Workspace
from backend.engine.progress import Progress
from backend.engine.prompt_queue import QueueItem

_log = logging.getLogger(__name__)


class Interrupted(Exception):  # noqa: N818 - a wish, not an error
    """Somebody asked the running prompt to stop."""


@dataclass(frozen=True)
class Outcome:
    """How a prompt ended: what ``/history`` tells of it besides the prompt itself."""

    success: bool
    outputs: dict[str, JsonObject]
    messages: list[list[Any]]

    def as_json(self) -> JsonObject:
        return {
            "outputs": self.outputs,
            "status": {
                "status_str": "success" if self.success else "error",
                "completed": self.success,
                "messages": self.messages,
            },
            "meta": {
                node_id: {
                    "node_id": node_id,
                    "display_node": node_id,
                    "parent_node": None,
                    "real_node_id": node_id,
                }
                for node_id in self.outputs
            },
        }


class Executor:
    """Executes prompts one at a time and keeps the results of the last one's nodes, by content.

    What a node was given decides whether its result is still good; its id and whether anything is
    connected to it do not. Results of nodes that the new graph does not contain are dropped.
    """

    def __init__(
        self, nodes: Mapping[str, NodeType], workspace: Workspace, is_interrupted: Callable[[], bool]
    ) -> None:
        self._nodes = nodes
        self._workspace = workspace
        self._is_interrupted = is_interrupted
        self._results: dict[str, NodeResult] = {}

    def forget(self) -> None:
        """Drops all results."""
        self._results.clear()

    def run(self, item: QueueItem, progress: Progress) -> Outcome:
        """Runs a checked prompt to its end, whichever it is; never raises what a node raises."""
        keys = node_keys(item.graph, self._nodes, self._workspace)
        wanted = set(keys.values())
        self._results = {key: result for key, result in self._results.items() if key in wanted}
        progress.start([node_id for node_id in item.graph if keys[node_id] in self._results])
        success = _Run(
            self._nodes, self._workspace, self._is_interrupted, self._results, keys, item, progress
        ).go()
        outputs = {
            node_id: result.ui
            for node_id, key in keys.items()
            if (result := self._results.get(key)) is not None and result.ui is not None
        }
        return Outcome(success, outputs, progress.messages)


@dataclass
class _Run:
    """One prompt on its way."""

    nodes: Mapping[str, NodeType]
    workspace: Workspace
    is_interrupted: Callable[[], bool]
    results: dict[str, NodeResult]
    keys: Mapping[str, str]
    item: QueueItem
    progress: Progress

    def go(self) -> bool:
        executed: list[str] = []
        for node_id in execution_order(self.item.outputs, self._sources, self._is_cached):
            try:
                ran = self._node(node_id)
            except Interrupted:
                self.progress.interrupted(node_id, self._class_type(node_id), executed)
                return False
            except Exception as cause:  # noqa: BLE001 - whatever a node raises is the end of its prompt only
                _log.warning("node %s (%s) failed: %s", node_id, self._class_type(node_id), cause)
                self.progress.error(self._error_facts(node_id, cause, executed))
                return False
            if ran:
                executed.append(node_id)
        self.progress.success()
        return True

    def _node(self, node_id: str) -> bool:
        """Gives a node its result and tells of it; whether it had to run for that."""
        key = self.keys[node_id]
        runs = key not in self.results
        if runs:
            self.check_interrupt()
            self.progress.begin(node_id)
            self.results[key] = self._work(node_id)
        ui = self.results[key].ui
        if ui is not None:
            self.progress.executed(node_id, ui)
        self.progress.finish(node_id)
        return runs

    def _work(self, node_id: str) -> NodeResult:
        call = NodeCall(
            inputs=self._inputs(node_id),
            graph=self.item.graph,
            extra_data=self.item.extra_data,
            workspace=self.workspace,
            on_progress=partial(self._step, node_id),
            check_interrupt=self.check_interrupt,
        )
        return self.nodes[self._class_type(node_id)].work(call)

    def _step(
        self,
        node_id: str,
        value: int,
        total: int,
        image: bytes | None = None,
        kind: PictureType = PictureType.PNG,
        frame: int | None = None,
    ) -> None:
        self.check_interrupt()
        self.progress.step(node_id, value, total, image, kind, frame)

    def check_interrupt(self) -> None:
        if self.is_interrupted():
            raise Interrupted

    def _inputs(self, node_id: str) -> dict[str, Any]:
        values = {}
        for given in self.nodes[self._class_type(node_id)].inputs:
            value = self.item.graph[node_id]["inputs"][given.name]
            if isinstance(value, list):
                source, slot = value
                value = self.results[self.keys[source]].outputs[slot]
            values[given.name] = value
        return values

    def _sources(self, node_id: str) -> Iterator[str]:
        for given in self.nodes[self._class_type(node_id)].inputs:
            value = self.item.graph[node_id]["inputs"][given.name]
            if isinstance(value, list):
                yield value[0]

    def _is_cached(self, node_id: str) -> bool:
        return self.keys[node_id] in self.results

    def _class_type(self, node_id: str) -> str:
        return str(self.item.graph[node_id]["class_type"])

    def _error_facts(self, node_id: str, cause: Exception, executed: list[str]) -> JsonObject:
        return {
            "node_id": node_id,
            "node_type": self._class_type(node_id),
            "executed": executed,
            "exception_message": str(cause),
            "exception_type": exception_name(cause),
            "traceback": traceback.format_tb(cause.__traceback__),
            "current_inputs": self._told_inputs(node_id),
            "current_outputs": list(self.item.graph),
        }

    def _told_inputs(self, node_id: str) -> JsonObject:
        values = self.item.graph[node_id]["inputs"]
        return {name: [_told(value)] for name, value in values.items() if not isinstance(value, list)}


def _told(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def execution_order(
    outputs: Sequence[str], sources: Callable[[str], Iterable[str]], is_cached: Callable[[str], bool]
) -> list[str]:
    """Each output after what it needs, one output after the other; nothing above what is cached.

    Args:
        outputs: What is wanted.
        sources: The nodes that a node's inputs are linked to. Without circles: ``check_graph`` sees to it.
        is_cached: Whether a node's result is there already.
    """
    order: dict[str, None] = {}
    for output in outputs:
        stack = [(output, False)]
        while stack:
            node_id, sources_done = stack.pop()
            if node_id in order:
                continue
            if sources_done or is_cached(node_id):
                order[node_id] = None
                continue
            stack.append((node_id, True))
            stack += [(source, False) for source in reversed(list(sources(node_id)))]
    return [node_id for node_id in order if node_id in outputs or not is_cached(node_id)]
