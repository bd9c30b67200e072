"""The JSON of a workflow, read with distrust: a graph in API format, or everything that is wrong with it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.core.api_graph import find_circle, source_of
from backend.core.jobs import Graph
from backend.errors import Problem
from backend.utils.yaml_lines import shorten

MAX_BYTES = 4 * 1024 * 1024
MAX_PROBLEMS = 30

_UNFIT = re.compile(r"[\ud800-\udfff]|(?<!\\)(?:\\\\)*\\u0000")
"""A lone surrogate, or the NUL that JSON writes as an escape."""

HOW_TO_EXPORT = (
    "a workflow in API format; this one was saved for ComfyUI's own editor. In ComfyUI: Settings, enable Dev "
    'mode options, then "Save (API Format)"; in newer versions: menu Workflow, Export (API)'
)


@dataclass
class WorkflowJson:
    """One file on its way from bytes to a graph.

    Attributes:
        source: The file, for messages.
        problems: What was found wrong so far.
    """

    source: str
    problems: list[Problem] = field(default_factory=list)
    _text: str = ""

    def read(self, data: bytes) -> Graph:
        """The graph; not to be used if ``problems`` holds any afterwards."""
        if len(data) > MAX_BYTES:
            self.complain(None, "file", "a larger one", f"a file of at most {MAX_BYTES // 2**20} MB")
            return {}
        try:
            self._text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            self.complain(line, "file", f"byte 0x{data[error.start]:02x}", "text in UTF-8")
            return {}
        graph = self._checked(self._parsed())
        return {} if self.problems else graph

    def complain(self, line: int | None, key: str, value: str, wish: str) -> None:
        """One more problem, unless there are enough."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(self.source, line, shorten(key), shorten(value), wish))

    def line_of(self, node_id: str, input_name: str | None = None) -> int | None:
        """The line of a node, or of one of its inputs; None where it cannot be told."""
        found = re.compile(re.escape(json.dumps(node_id)) + r"\s*:\s*\{").search(self._text)
        if found and input_name is not None:
            found = re.compile(re.escape(json.dumps(input_name)) + r"\s*:").search(self._text, found.end())
        return self._text.count("\n", 0, found.start()) + 1 if found else None

    def _parsed(self) -> Any:
        try:
            return json.loads(
                self._text, object_pairs_hook=self._object, parse_constant=self._complain_of_constant
            )
        except json.JSONDecodeError as error:
            self.complain(error.lineno, "syntax", f"column {error.colno}", f"valid JSON ({error.msg})")
        except RecursionError:
            self.complain(None, "depth", "too deep", "fewer levels inside each other")
        except ValueError as error:  # a number of thousands of digits
            self.complain(None, "syntax", "", f"valid JSON ({shorten(str(error))})")
        return None

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            for name in [name for name, count in counts.items() if count > 1][:MAX_PROBLEMS]:
                self.complain(self._second_line(name), name, "", "only once; it stands here more than once")
        return entries

    def _second_line(self, name: str) -> int | None:
        found = list(re.finditer(re.escape(json.dumps(name)) + r"\s*:", self._text))
        return self._text.count("\n", 0, found[1].start()) + 1 if len(found) == 2 else None

    def _complain_of_constant(self, name: str) -> None:
        self.complain(None, "syntax", name, "a number; NaN and Infinity are no JSON")

    def _checked(self, graph: Any) -> Graph:
        if self.problems:
            return {}
        if not isinstance(graph, Mapping):
            self.complain(
                1, "file", type(graph).__name__, "an object: node id to node, as ComfyUI exports it"
            )
        elif isinstance(graph.get("nodes"), list) or "last_node_id" in graph:
            self.complain(None, "file", "nodes", HOW_TO_EXPORT)
        elif not graph:
            self.complain(1, "file", "{}", "at least one node")
        elif not self._is_text(graph):
            self.complain(None, "file", "", "text without NUL and without lone surrogates")
        else:
            for node_id, node in graph.items():
                self._check_node(node_id, node, graph)
            return self._without_circle(graph)
        return {}

    def _check_node(self, node_id: str, node: Any, graph: Mapping[str, Any]) -> None:
        if not isinstance(node, Mapping) or not isinstance(node.get("class_type"), str):
            self.complain(self.line_of(node_id), node_id, "", 'a node with its "class_type" and "inputs"')
            return
        if not isinstance(node.get("inputs"), Mapping):
            self.complain(self.line_of(node_id), f"{node_id}.inputs", "", "an object of inputs")
            return
        for name, value in node["inputs"].items():
            if (source := source_of(value)) and source.node not in graph:
                key = f"{node_id}.inputs.{name}"
                wish = f"a link to a node of this file; it has no node {source.node}"
                self.complain(self.line_of(node_id, name), key, repr(value), wish)

    def _without_circle(self, graph: Graph) -> Graph:
        if self.problems or not (circle := find_circle(graph)):
            return graph
        told = [*circle[:8], "...", circle[-1]] if len(circle) > 10 else [*circle]
        self.complain(self.line_of(circle[0]), circle[0], "", f"no circle of links: {' -> '.join(told)}")
        return {}

    @staticmethod
    def _is_text(graph: Any) -> bool:
        try:
            text = json.dumps(graph, ensure_ascii=False)
        except RecursionError:
            return False
        return not _UNFIT.search(text)


def titles(graph: Graph, of: str) -> list[str]:
    """The ids of the nodes with this title (``_meta.title``)."""
    return [node_id for node_id, node in graph.items() if title_of(node) == of]


def title_of(node: Mapping[str, Any]) -> str:
    """What the editor calls a node; empty where the file does not say."""
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, Mapping) else None
    return title if isinstance(title, str) else ""


def names_of(graph: Graph) -> Iterable[str]:
    """Everything a node may be called by: titles, classes, ids."""
    yield from filter(None, map(title_of, graph.values()))
    yield from (node["class_type"] for node in graph.values())
    yield from graph
