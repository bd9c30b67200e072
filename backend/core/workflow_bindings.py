"""The binding map of a workflow: which input of which node takes the words, the seed, the latent, ...

::

    prompt: {node: Positive, input: text}      # a node by its id, its title, or its class if only one has it
    seed:
      - {node: "3", input: seed}               # one thing may go to several places
      - {node: "8", input: seed}
    latent_out: {node: "3", output: 0}
    negative:                                  # nothing: this workflow takes none
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.core.api_graph import Source, source_of
from backend.core.jobs import Graph
from backend.core.workflow_json import names_of, titles
from backend.core.workflow_places import Place, unsaved
from backend.errors import Problem
from backend.utils.nearest import nearest
from backend.utils.yaml_lines import Located, shorten

_TEXT, _WHOLE, _NUMBER, _LINK = "a text", "a whole number", "a number", "a link, or a file's name"
_FITS: Mapping[str, Any] = {_TEXT: str, _WHOLE: int, _NUMBER: int | float, _LINK: str}

INPUTS: Mapping[str, str] = {
    "prompt": _TEXT,
    "negative": _TEXT,
    "seed": _WHOLE,
    "denoise": _NUMBER,
    "width": _WHOLE,
    "height": _WHOLE,
    "latent_in": _LINK,
    "picture_in": _LINK,
}
"""What goes into a workflow, and what stands in its place before."""

OUTPUTS = ("picture_out", "latent_out", "vae")
"""What is taken from a workflow."""

MAX_PLACES = 16

ONE_PLACE = ("latent_in", "picture_in")
_SLOTS: Mapping[tuple[str, str], int] = {
    ("vae", "CheckpointLoaderSimple"): 2,
    ("vae", "CheckpointLoader"): 2,
    ("vae", "ImageOnlyCheckpointLoader"): 2,
    ("vae", "unCLIPCheckpointLoader"): 2,
    ("latent_out", "InpaintModelConditioning"): 2,
}
"""Outputs that are not the first of their node."""


@dataclass
class Bindings:
    """What a map says. A key with nothing behind it is there, and empty.

    Attributes:
        places: By the keys of ``INPUTS``.
        sources: By the keys of ``OUTPUTS``.
        problems: What was wrong.
    """

    places: dict[str, tuple[Place, ...]] = field(default_factory=dict)
    sources: dict[str, Source | None] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_bindings(root: Located, source: str, graph: Graph) -> Bindings:
    """The bindings in a map, each of them held against the graph.

    Args:
        root: The map; an empty document binds nothing.
        source: Its file, for messages.
        graph: Whose nodes are meant.
    """
    return _Reader(source, graph).read(root)


class _Reader:
    def __init__(self, source: str, graph: Graph) -> None:
        self._source = source
        self._graph = graph
        self._found = Bindings()
        self._taken: dict[Place, str] = {}

    def read(self, root: Located) -> Bindings:
        if root.mapping is None:
            if root.value is not None:
                self._complain("file", root, f"a mapping with the keys {', '.join((*INPUTS, *OUTPUTS))}")
            return self._found
        for key, node in root.mapping.items():
            if key in INPUTS:
                self._found.places[key] = self._places(key, node)
            elif key in OUTPUTS:
                self._found.sources[key] = self._output(key, node)
            else:
                self._complain_of_key(key, node, (*INPUTS, *OUTPUTS))
        return self._found

    def _places(self, key: str, node: Located) -> tuple[Place, ...]:
        if node.sequence is None:
            items = [] if node.value is None else [(key, node)]
        else:
            items = [(f"{key}[{index}]", item) for index, item in enumerate(node.sequence)]
        if len(items) > (1 if key in ONE_PLACE else MAX_PLACES):
            most = "one place" if key in ONE_PLACE else f"at most {MAX_PLACES} places"
            self._complain(key, node, f"{most}, not {len(items)}")
            return ()
        places = [self._place(where, item, INPUTS[key]) for where, item in items]
        return tuple(place for place in places if place)

    def _place(self, where: str, item: Located, kind: str) -> Place | None:
        entries = self._entries(where, item, ("node", "input"))
        node_id = self._node(where, entries)
        if node_id is None:
            return None
        node, wanted = self._graph[node_id], entries.get("input")
        names = ", ".join(map(shorten, list(node["inputs"])[:12])) or "none at all"
        if wanted is None:
            self._complain(f"{where}.input", item, f"the input of node {node_id}; it has {names}")
        elif wanted.written not in node["inputs"]:
            near = nearest(wanted.written, node["inputs"])
            hint = f"did you mean {near!r}? " if near else ""
            wish = f"an input of node {node_id} ({node['class_type']}); {hint}It has {names}"
            self._complain(f"{where}.input", wanted, wish if near else wish.replace("; It", "; it"))
        elif not _fits(node["inputs"][wanted.written], kind):
            stands = shorten(repr(node["inputs"][wanted.written]))
            self._complain(f"{where}.input", wanted, f"an input where {kind} stands, not {stands}")
        else:
            return self._once(where, wanted, Place(node_id, wanted.written))
        return None

    def _once(self, where: str, wanted: Located, place: Place) -> Place:
        first = self._taken.setdefault(place, where)
        if first != where:
            self._complain(where, wanted, f"a place of its own; {first} goes there too")
        return place

    def _output(self, key: str, item: Located) -> Source | None:
        if item.value is None:
            return None
        entries = self._entries(key, item, ("node", "output"))
        node_id = self._node(key, entries)
        if node_id is None:
            return None
        class_type = self._graph[node_id]["class_type"]
        given = entries.get("output")
        slot = _SLOTS.get((key, class_type), 0) if given is None else given.value
        if not isinstance(slot, int) or isinstance(slot, bool) or not 0 <= slot < 100:
            self._complain(f"{key}.output", given or item, "the number of an output, counted from 0")
            return None
        source = unsaved(self._graph, Source(node_id, slot))
        if source is None:
            self._complain(
                f"{key}.node", item, f"a node that is given something; {node_id} is linked to nothing"
            )
        return source

    def _entries(self, where: str, item: Located, allowed: tuple[str, ...]) -> Mapping[str, Located]:
        if item.mapping is None:
            self._complain(where, item, f"{{node: ..., {allowed[1]}: ...}}")
            return {}
        for key, value in item.mapping.items():
            if key not in allowed:
                self._complain_of_key(f"{where}.{key}", value, allowed)
        if "node" not in item.mapping:
            self._complain(f"{where}.node", item, "the id, the title or the class of a node")
        return item.mapping

    def _node(self, where: str, entries: Mapping[str, Located]) -> str | None:
        """The one node that is meant."""
        wanted = entries.get("node")
        if wanted is None:
            return None
        name = wanted.written
        if name in self._graph:
            return name
        classes = [node_id for node_id, node in self._graph.items() if node["class_type"] == name]
        found = titles(self._graph, name) or classes
        if name and len(found) == 1:
            return found[0]
        if name and found:
            told = ", ".join(found[:12])
            self._complain(
                f"{where}.node", wanted, f"one node; nodes {told} are called so: write the id of one"
            )
            return None
        near = nearest(name, names_of(self._graph)) if name else None
        hint = f"; did you mean {near!r}?" if near else ""
        self._complain(f"{where}.node", wanted, f"the id, the title or the class of a node{hint}")
        return None

    def _complain_of_key(self, key: str, node: Located, allowed: tuple[str, ...]) -> None:
        near = nearest(key.rpartition(".")[2], allowed)
        hint = f"did you mean {near}?" if near else f"known keys: {', '.join(allowed)}"
        self._found.problems.append(
            Problem(
                self._source,
                node.key_line or node.line,
                shorten(key),
                "",
                f"not a key of a binding map; {hint}",
            )
        )

    def _complain(self, key: str, node: Located, wish: str) -> None:
        self._found.problems.append(Problem(self._source, node.line, key, shorten(node.written), wish))


def _fits(value: object, kind: str) -> bool:
    """Whether what stands in the file is of this kind; a link may stand for anything."""
    if source_of(value):
        return True
    return isinstance(value, _FITS[kind]) and not isinstance(value, bool)
