"""What a node is: its inputs and outputs as ``/object_info`` tells them, and the work it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from backend.engine.files import Folders
from backend.engine.messages import PictureType
from backend.engine.painting import Painter

Graph: TypeAlias = dict[str, dict[str, Any]]
"""A graph in API format: node id -> ``{"class_type": ..., "inputs": {...}}``."""

JsonObject: TypeAlias = dict[str, Any]


@dataclass
class Workspace:
    """What nodes work with.

    Attributes:
        folders: Where files are read and written.
        painter: Stands in for every model.
        models: File names by model folder, as ``/models/{folder}`` lists them.
    """

    folders: Folders
    painter: Painter
    models: dict[str, list[str]]


class OnProgress(Protocol):
    """Tells the clients how far a node is; raises Interrupted if somebody asked for it."""

    def __call__(
        self,
        value: int,
        total: int,
        image: bytes | None = None,
        kind: PictureType = PictureType.PNG,
        frame: int | None = None,
    ) -> None: ...


@dataclass(frozen=True)
class NodeCall:
    """One execution of one node.

    Attributes:
        inputs: Values, with links already followed.
        graph: The whole graph, for nodes that write it into their files.
        extra_data: As posted.
        workspace: What the node works with.
        on_progress: To be called between steps.
        check_interrupt: Raises Interrupted; for work that has no steps to report.
    """

    inputs: Mapping[str, Any]
    graph: Graph
    extra_data: Mapping[str, Any]
    workspace: Workspace
    on_progress: OnProgress
    check_interrupt: Callable[[], None]


@dataclass(frozen=True)
class NodeResult:
    """What a node gives: values for its outputs, and what clients are told of it."""

    outputs: tuple[Any, ...] = ()
    ui: JsonObject | None = None


Choices: TypeAlias = Callable[[Workspace], Sequence[str]]


@dataclass(frozen=True)
class Input:
    """One required input.

    Attributes:
        name: As in the graph.
        kind: INT, FLOAT, STRING, COMBO or the type of a link.
        options: Range, default, tooltip; None where ComfyUI tells nothing at all.
        choices: What a COMBO offers.
    """

    name: str
    kind: str
    options: JsonObject | None = None
    choices: Choices | None = None

    def type_for(self, workspace: Workspace) -> str | list[str]:
        return list(self.choices(workspace)) if self.choices else self.kind

    def describe(self, workspace: Workspace) -> list[Any]:
        kind = self.type_for(workspace)
        return [kind] if self.options is None else [kind, self.options]


def tip(text: str) -> JsonObject:
    """The options of an input that has only a tooltip."""
    return {"tooltip": text}


def link(name: str, kind: str, tooltip: str | None = None) -> Input:
    """An input that must be linked."""
    return Input(name, kind, tip(tooltip) if tooltip else None)


@dataclass(frozen=True)
class Output:
    """One output: its type, the name if it differs, and a tooltip."""

    kind: str
    name: str | None = None
    tooltip: str | None = None


@dataclass(frozen=True)
class NodeType:
    """One kind of node.

    Attributes:
        work: Does it.
        check: For each input that has one, what to say of a value that cannot be used (None if it can).
        changed: Of the inputs, something that differs whenever the node must run again though its
            inputs look the same: the hash of a file, the time.
        more_tooltips: Told behind those of the outputs.
    """

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    work: Callable[[NodeCall], NodeResult]
    category: str
    display_name: str = ""
    description: str = ""
    module: str = "nodes"
    is_output: bool = False
    writes_graph: bool = False
    check: Mapping[str, Callable[[Workspace, Any], str | None]] = field(default_factory=dict)
    changed: Callable[[Workspace, Mapping[str, Any]], Any] | None = None
    more_tooltips: tuple[str | None, ...] = ()

    def describe(self, workspace: Workspace) -> JsonObject:
        """The entry of this node in ``/object_info``."""
        hidden = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"} if self.writes_graph else {}
        names = [given.name for given in self.inputs]
        entry: JsonObject = {
            "input": {"required": {given.name: given.describe(workspace) for given in self.inputs}},
            "input_order": {"required": names},
            "output": [output.kind for output in self.outputs],
            "output_is_list": [False for _ in self.outputs],
            "output_name": [output.name or output.kind for output in self.outputs],
            "name": self.name,
            "display_name": self.display_name or self.name,
            "description": self.description,
            "python_module": self.module,
            "category": self.category,
            "output_node": self.is_output,
        }
        if hidden:
            entry["input"]["hidden"] = hidden
            entry["input_order"]["hidden"] = list(hidden)
        if any(output.tooltip for output in self.outputs):
            entry["output_tooltips"] = [*(output.tooltip for output in self.outputs), *self.more_tooltips]
        return entry
