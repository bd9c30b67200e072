"""Ways through an API-format graph: its links, what lies above a node, circles, other sources for a link."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from backend.core.jobs import Graph

Nodes: TypeAlias = dict[str, dict[str, Any]]
"""A graph in the making: every node and its inputs may be changed."""


@dataclass(frozen=True)
class Source:
    """One output of a node."""

    node: str
    slot: int

    @property
    def link(self) -> list[str | int]:
        """As it stands in a graph."""
        return [self.node, self.slot]


def source_of(value: object) -> Source | None:
    """The output that a value in a graph is linked to; None if it is no link."""
    match value:
        case [str(node), int(slot)] if not isinstance(slot, bool):
            return Source(node, slot)
    return None


def links_of(node: Mapping[str, Any]) -> Iterator[tuple[str, Source]]:
    """The linked inputs of a node."""
    for name, value in node["inputs"].items():
        if source := source_of(value):
            yield name, source


def link_at(node: Mapping[str, Any], name: str) -> Source | None:
    """What an input is linked to; None if it is not."""
    return source_of(node["inputs"].get(name))


def changeable(graph: Graph) -> Nodes:
    """A copy whose nodes and inputs may be changed. Values are shared: they are replaced, never changed."""
    return {node_id: {**node, "inputs": dict(node["inputs"])} for node_id, node in graph.items()}


def needed_by(graph: Graph, node_ids: Iterable[str]) -> set[str]:
    """These nodes and everything above them."""
    found: set[str] = set()
    ahead = [node_id for node_id in node_ids if node_id in graph]
    while ahead:
        node_id = ahead.pop()
        if node_id not in found:
            found.add(node_id)
            ahead += [source.node for _, source in links_of(graph[node_id]) if source.node in graph]
    return found


def repoint(nodes: Nodes, old: Source, new: Source) -> None:
    """Links to ``new`` whatever was linked to ``old``, but for ``new``'s own node."""
    for node_id, node in nodes.items():
        for name, source in list(links_of(node)):
            if source == old and node_id != new.node:
                node["inputs"][name] = new.link


def loose_ends(graph: Graph) -> set[str]:
    """The nodes that nothing is linked to."""
    return set(graph) - {source.node for node in graph.values() for _, source in links_of(node)}


def find_circle(graph: Graph) -> tuple[str, ...]:
    """The nodes of one circle in the order of the links, the first again at the end; empty without one."""
    above = {node_id: {source.node for _, source in links_of(node)} for node_id, node in graph.items()}
    below: dict[str, list[str]] = {node_id: [] for node_id in graph}
    for node_id, sources in above.items():
        for source in sources & below.keys():
            below[source].append(node_id)
    waiting = {node_id: len(sources & below.keys()) for node_id, sources in above.items()}
    free = [node_id for node_id, count in waiting.items() if not count]
    while free:
        for node_id in below[free.pop()]:
            waiting[node_id] -= 1
            if not waiting[node_id]:
                free.append(node_id)
    here = next((node_id for node_id, count in waiting.items() if count), None)
    way: dict[str, None] = {}
    while here is not None and here not in way:  # every node left has one above it that is left too
        way[here] = None
        here = next(source for source in sorted(above[here]) if waiting.get(source))
    if here is None:
        return ()
    nodes = list(way)
    return (*nodes[nodes.index(here) :], here)
