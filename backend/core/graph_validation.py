"""Whether a server would take a graph, and what to say if not, before anything is submitted.

Judges as the server does (ComfyUI's ``validate_prompt``): classes everywhere, inputs only where an output
node needs them. Two things are refused here that the server lets pass, since they fail later for sure:
numbers that are not finite, and a plain value where only a link can stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from backend.core.graph_values import MOST_TOLD, told_of, value_problem, wish_of
from backend.core.jobs import Graph
from backend.core.node_catalog import ANYTHING, InputSpec, NodeCatalog, NodeSpec
from backend.utils.nearest import nearest
from backend.utils.yaml_lines import shorten

MAX_PROBLEMS = 30
"""Looking for more would tell nobody more, and the nearest name costs time."""

Links: TypeAlias = Iterator[tuple[str, str]]
"""Input and the node that it is linked to."""


@dataclass(frozen=True)
class GraphProblem:
    """One thing in a graph that the server would refuse.

    Attributes:
        node_id: The node, "" where the graph as a whole is meant.
        class_type: Its class, as written.
        input: The input, None where the node as a whole is meant.
        value: What was found, shortened; "" where nothing was.
        wish: What is wrong, and what the server offers.
    """

    node_id: str
    class_type: str
    input: str | None
    value: str
    wish: str

    def __str__(self) -> str:
        if not self.node_id:
            return f"the graph: {self.wish}"
        place = f"node {self.node_id} ({self.class_type})" if self.class_type else f"node {self.node_id}"
        named = f" {self.input}" if self.input else ""
        found = f" = {self.value}" if self.value else ""
        return f"{place}{named}{found}: {self.wish}"


def graph_problems(graph: Graph, catalog: NodeCatalog) -> tuple[GraphProblem, ...]:
    """Everything that the server would refuse in a graph; empty if it would take it.

    Never raises, whatever the graph holds. Unknown extra inputs are no problem: the server ignores them.

    Args:
        graph: In API format.
        catalog: What the server has.
    """
    check = _Check(graph, catalog)
    for node_id in graph:
        check.look_at_class(node_id)
    outputs = [node_id for node_id in graph if (spec := check.spec(node_id)) and spec.is_output]
    if not outputs and not check.problems:
        wish = "no output node, and the server runs only what one needs (SaveImageWebsocket, SaveLatent, ...)"
        return (GraphProblem("", "", None, "", wish),)
    for node_id in outputs:
        check.walk(node_id)
    return tuple(check.problems)


@dataclass
class _Check:
    """Walks upward from output nodes, and looks at the inputs of each node once."""

    graph: Graph
    catalog: NodeCatalog
    problems: list[GraphProblem] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def spec(self, node_id: str) -> NodeSpec | None:
        """What the catalog says of a node's class, None if its class is not known."""
        node = self.graph[node_id]
        name = node.get("class_type") if isinstance(node, Mapping) else None
        return self.catalog.get(name) if isinstance(name, str) else None

    def look_at_class(self, node_id: str) -> None:
        if self.full or self.spec(node_id) is not None:
            return
        node = self.graph[node_id]
        name = node.get("class_type") if isinstance(node, Mapping) else None
        if not isinstance(name, str):
            found = "" if name is None else told_of(name)
            self.problems.append(GraphProblem(node_id, "", "class_type", found, "every node names its class"))
            return
        near = nearest(name, self.catalog.names)
        hint = f"did you mean {near!r}?" if near else "a custom node pack may be missing there, or too old"
        wish = f"the server has no such node; {hint}"
        self.problems.append(GraphProblem(node_id, shorten(name), None, "", wish))

    @property
    def full(self) -> bool:
        """Whether there are problems enough."""
        return len(self.problems) >= MAX_PROBLEMS

    def walk(self, output: str) -> None:
        """Depth first with a stack of its own: a hostile graph may be deeper than Python's."""
        if output in self._seen:
            return
        self._seen.add(output)
        above = {output: None}  # the way down to here, in order
        stack = [(output, iter(self._sources(output)))]
        while stack and not self.full:
            node_id, sources = stack[-1]
            for name, source in sources:
                if source in above:
                    self._complain_of_circle(node_id, name, source, list(above))
                elif source not in self._seen:
                    self._seen.add(source)
                    above[source] = None
                    stack.append((source, iter(self._sources(source))))
                    break
            else:
                stack.pop()
                del above[node_id]

    def _complain_of_circle(self, node_id: str, name: str, source: str, above: list[str]) -> None:
        circle = [*above[above.index(source) :], source]
        way = " -> ".join(circle if len(circle) <= MOST_TOLD else [*circle[: MOST_TOLD - 1], "...", source])
        value = self.graph[node_id]["inputs"][name]
        self._complain(node_id, name, value, f"the graph runs in a circle: {way}")

    def _complain(self, node_id: str, name: str | None, value: object, wish: str) -> None:
        if self.full:
            return
        found = "" if value is _NOTHING else told_of(value)
        class_type = str(self.graph[node_id].get("class_type", ""))
        self.problems.append(GraphProblem(node_id, shorten(class_type), name, found, wish))

    def _sources(self, node_id: str) -> list[tuple[str, str]]:
        """Judges the inputs of a node; gives those that are linked, with the node that each is linked to."""
        spec = self.spec(node_id)
        if spec is None:  # told already, as an unknown class
            return []
        inputs = self.graph[node_id].get("inputs")
        if not isinstance(inputs, Mapping):
            self._complain(node_id, "inputs", _NOTHING, "every node has an object of inputs")
            return []
        found: list[tuple[str, str]] = []
        for given in spec.inputs.values():
            value = inputs.get(given.name, _NOTHING)
            if value is _NOTHING:
                if given.required:
                    wish = f"required input is missing ({wish_of(given)})"
                    self._complain(node_id, given.name, _NOTHING, wish)
            elif isinstance(value, list | tuple):
                if wrong := self._link_problem(given.kind, value):
                    self._complain(node_id, given.name, value, wrong)
                else:
                    found.append((given.name, value[0]))
            elif wrong := value_problem(given, value):
                self._complain(node_id, given.name, value, wrong)
            if given.parts:
                found += self._part_sources(node_id, given, inputs)
        return found

    def _part_sources(self, node_id: str, given: InputSpec, inputs: Mapping[str, Any]) -> Links:
        for name, value in inputs.items():
            if isinstance(value, list | tuple) and str(name).startswith(f"{given.name}."):
                if wrong := self._link_problem(ANYTHING, value):
                    self._complain(node_id, name, value, wrong)
                else:
                    yield name, value[0]

    def _link_problem(self, kind: str, link: list[Any] | tuple[Any, ...]) -> str | None:
        if len(link) != 2:
            return "a link is [node id, output number]"
        source, slot = link
        if not isinstance(source, str) or source not in self.graph:
            return f"there is no node {shorten(repr(source))} in the graph"
        spec = self.spec(source)
        if spec is None:  # told already, as an unknown class
            return None
        if not isinstance(slot, int) or not -len(spec.outputs) <= slot < len(spec.outputs):
            offered = ", ".join(
                f"{number} {output}" for number, output in enumerate(spec.outputs[:MOST_TOLD])
            )
            return f"node {source} ({spec.class_type}) has no such output; it has {offered or 'none'}"
        received = spec.outputs[slot]
        if received == kind or _overlap(received, kind):
            return None
        return f"it wants {kind}, and output {slot} of node {source} ({spec.class_type}) gives {received}"


_NOTHING = object()


def _overlap(received: str, wanted: str) -> bool:
    """Whether two types, each maybe a union like ``FLOAT,INT``, have one in common."""
    ours = {one.strip() for one in received.split(",")}
    theirs = {one.strip() for one in wanted.split(",")}
    return ANYTHING in ours or ANYTHING in theirs or not ours.isdisjoint(theirs)
