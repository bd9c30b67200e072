"""Cache keys: for each node of a graph a hash of all that its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from backend.engine.node_type import Graph, JsonObject, NodeType, Workspace


def node_keys(graph: Graph, nodes: Mapping[str, NodeType], workspace: Workspace) -> dict[str, str]:
    """For each node a hash of all that its result depends on, whether it is to run or not."""
    keys: dict[str, str] = {}
    for node_id in graph:
        _key_into(keys, node_id, graph, nodes, workspace)
    return keys


def _key_into(
    keys: dict[str, str], start: str, graph: Graph, nodes: Mapping[str, NodeType], workspace: Workspace
) -> None:
    walking: set[str] = set()
    stack = [start]
    while stack:
        node_id = stack[-1]
        inputs = _inputs_of(graph, node_id)
        sources = [
            source for source in map(_source, inputs.values()) if source is not None and source in graph
        ]
        missing = [source for source in sources if source not in keys and source not in walking]
        if missing and node_id not in keys:
            walking.add(node_id)
            stack += missing
            continue
        stack.pop()
        if node_id not in keys:
            keys[node_id] = _key(node_id, keys, graph, nodes, workspace)


def _inputs_of(graph: Graph, node_id: str) -> JsonObject:
    """A node's inputs; nodes that no output needs are not checked and may have anything there."""
    inputs = graph[node_id].get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _source(value: Any) -> str | None:
    return value[0] if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) else None


def _key(
    node_id: str, keys: Mapping[str, str], graph: Graph, nodes: Mapping[str, NodeType], workspace: Workspace
) -> str:
    class_type, inputs = graph[node_id]["class_type"], _inputs_of(graph, node_id)
    changed = nodes[class_type].changed
    told = [
        class_type,
        changed(workspace, inputs) if changed else None,
        {name: _keyed(value, keys) for name, value in sorted(inputs.items())},
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _keyed(value: Any, keys: Mapping[str, str]) -> Any:
    source = _source(value)
    return value if source is None else ["link", keys.get(source, source), value[1]]
