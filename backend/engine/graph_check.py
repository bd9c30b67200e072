"""Whether a posted graph can run, told in the words of ComfyUI's ``error`` and ``node_errors``."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.engine.dialect import Dialect
from backend.engine.node_type import Graph, Input, JsonObject, NodeType, Workspace

_LONGEST_LIST_TOLD = 20

_CONVERSIONS: Mapping[str, type] = {"INT": int, "FLOAT": float, "STRING": str}


@dataclass(frozen=True)
class GraphCheck:
    """What came of looking at a graph.

    Attributes:
        error: Why nothing of it can run; None if something can.
        node_errors: By node id; may be filled though ``error`` is None, when one of several outputs is bad.
        outputs: The output nodes that can run, in the order of the graph.
    """

    error: JsonObject | None
    node_errors: JsonObject = field(default_factory=dict)
    outputs: tuple[str, ...] = ()


def describe_error(kind: str, message: str, details: str = "", **extra_info: Any) -> JsonObject:
    """The shape that all of ComfyUI's errors share."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info}


def check_graph(
    graph: Graph,
    nodes: Mapping[str, NodeType],
    workspace: Workspace,
    dialect: Dialect,
    targets: Collection[str] | None = None,
) -> GraphCheck:
    """Checks classes everywhere, and inputs of whatever an output needs.

    Numbers and texts in ``graph`` are converted in place to the types that the nodes ask for.

    Args:
        graph: As posted.
        nodes: Known node types by class name.
        workspace: For choices and files.
        dialect: In whose words to complain.
        targets: Only these output nodes are to run; None for all.
    """
    for node_id, node in graph.items():
        if error := _class_error(node_id, node, nodes, dialect):
            return GraphCheck(error)
    outputs = [
        node_id
        for node_id, node in graph.items()
        if nodes[node["class_type"]].is_output and (targets is None or node_id in targets)
    ]
    if not outputs:
        return GraphCheck(describe_error("prompt_no_outputs", "Prompt has no outputs"))
    return _InputCheck(graph, nodes, workspace).run(outputs)


def _class_error(
    node_id: str, node: JsonObject, nodes: Mapping[str, NodeType], dialect: Dialect
) -> JsonObject | None:
    name = node.get("class_type")
    if isinstance(name, str) and name in nodes:
        return None
    details = f"Node ID '#{node_id}'"
    if dialect is Dialect.A:
        message = (
            "Cannot execute because a node is missing the class_type property."
            if name is None
            else f"Cannot execute because node {name} does not exist."
        )
        return describe_error("invalid_prompt", message, details)
    message = (
        f"Node 'ID #{node_id}' has no class_type. The workflow may be corrupted or a custom node is missing."
        if name is None
        else f"Node '{name}' not found. The custom node may not be installed."
    )
    title = node.get("_meta", {}).get("title", name)
    return describe_error(
        "missing_node_type", message, details, node_id=node_id, class_type=name, node_title=title
    )


class _InputCheck:
    """Walks from the outputs upward; remembers the errors of each node."""

    def __init__(self, graph: Graph, nodes: Mapping[str, NodeType], workspace: Workspace) -> None:
        self._graph = graph
        self._nodes = nodes
        self._workspace = workspace
        self._errors: dict[str, list[JsonObject]] = {}
        self._good: dict[str, bool] = {}
        self._walking: set[str] = set()

    def run(self, outputs: list[str]) -> GraphCheck:
        good: list[str] = []
        told: list[JsonObject] = []
        node_errors: JsonObject = {}
        for output in outputs:
            if self._output_is_good(output):
                good.append(output)
                continue
            told += self._errors.get(output, [])
            for node_id, errors in self._errors.items():
                self._tell(node_errors, node_id, errors, output)
        if good:
            return GraphCheck(None, node_errors, tuple(good))
        details = "\n".join(f"{error['message']}: {error['details']}" for error in told)
        kind = "prompt_outputs_failed_validation"
        return GraphCheck(describe_error(kind, "Prompt outputs failed validation", details), node_errors)

    def _tell(self, node_errors: JsonObject, node_id: str, errors: list[JsonObject], output: str) -> None:
        if not errors:
            return
        class_type = self._graph[node_id]["class_type"]
        entry = {"errors": errors, "dependent_outputs": [], "class_type": class_type}
        node_errors.setdefault(node_id, entry)["dependent_outputs"].append(output)

    def _output_is_good(self, node_id: str) -> bool:
        try:
            return self._node_is_good(node_id)
        except Exception as cause:  # noqa: BLE001 - a graph from outside may be wrong in any way
            self._walking.clear()
            error = describe_error(
                "exception_during_validation",
                "Exception when validating node",
                str(cause),
                exception_type=exception_name(cause),
                traceback=traceback.format_tb(cause.__traceback__),
            )
            self._errors[node_id] = [error]
            self._good[node_id] = False
            return False

    def _node_is_good(self, node_id: str) -> bool:
        if node_id in self._good:
            return self._good[node_id]
        if node_id in self._walking:
            raise RecursionError(f"the graph runs in a circle at node {node_id}")
        self._walking.add(node_id)
        node = self._graph[node_id]
        values = node["inputs"]
        node_type = self._nodes[node["class_type"]]
        errors: list[JsonObject] = []
        good = True
        for given in node_type.inputs:
            error, upstream_good = self._input_error(node_type, given, values)
            good = good and upstream_good
            if error:
                errors.append(error)
        self._walking.discard(node_id)
        self._errors[node_id] = errors
        self._good[node_id] = good and not errors
        return self._good[node_id]

    def _input_error(
        self, node_type: NodeType, given: Input, values: JsonObject
    ) -> tuple[JsonObject | None, bool]:
        """What is wrong with this input itself, and whether what it is linked to is good."""
        if given.name not in values:
            error = describe_error(
                "required_input_missing", "Required input is missing", given.name, input_name=given.name
            )
            return error, True
        if isinstance(values[given.name], list):
            return self._link_error(given, values[given.name])
        check = node_type.check.get(given.name)
        if check is None:
            return self._value_error(given, values), True
        wrong = check(self._workspace, values[given.name])
        if wrong is None:
            return None, True
        message, details = "Custom validation failed for node", f"{given.name} - {wrong}"
        return describe_error("custom_validation_failed", message, details, input_name=given.name), True

    def _link_error(self, given: Input, link: list[Any]) -> tuple[JsonObject | None, bool]:
        facts = {"input_name": given.name, "input_config": self._config(given)}
        if len(link) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return describe_error("bad_linked_input", message, given.name, **facts, received_value=link), True
        source, slot = link
        received = tuple(output.kind for output in self._source_type(source).outputs)[slot]
        if received != given.kind:
            error = describe_error(
                "return_type_mismatch",
                "Return type mismatch between linked nodes",
                f"{given.name}, received_type({received}) mismatch input_type({given.kind})",
                **facts,
                received_type=received,
                linked_node=link,
            )
            return error, True
        return None, self._source_is_good(source, link, facts)

    def _source_type(self, node_id: str) -> NodeType:
        return self._nodes[self._graph[node_id]["class_type"]]

    def _source_is_good(self, node_id: str, link: list[Any], facts: JsonObject) -> bool:
        try:
            return self._node_is_good(node_id)
        except Exception as cause:  # noqa: BLE001 - a graph from outside may be wrong in any way
            error = describe_error(
                "exception_during_inner_validation",
                "Exception when validating inner node",
                str(cause),
                **facts,
                exception_message=str(cause),
                exception_type=exception_name(cause),
                traceback=traceback.format_tb(cause.__traceback__),
                linked_node=link,
            )
            self._errors[node_id] = [error]
            self._good[node_id] = False
            return False

    def _value_error(self, given: Input, values: JsonObject) -> JsonObject | None:
        facts = {"input_name": given.name, "input_config": self._config(given)}
        value = values[given.name]
        try:
            value = values[given.name] = _CONVERSIONS.get(given.kind, lambda same: same)(value)
        except (TypeError, ValueError, OverflowError) as cause:
            return describe_error(
                "invalid_input_type",
                f"Failed to convert an input value to a {given.kind} value",
                f"{given.name}, {value}, {cause}",
                **facts,
                received_value=value,
                exception_message=str(cause),
            )
        return self._range_error(given, value, facts) or self._choice_error(given, value, facts)

    @staticmethod
    def _range_error(given: Input, value: Any, facts: JsonObject) -> JsonObject | None:
        options = given.options or {}
        if "min" in options and value < options["min"]:
            kind, message = "value_smaller_than_min", f"Value {value} smaller than min of {options['min']}"
        elif "max" in options and value > options["max"]:
            kind, message = "value_bigger_than_max", f"Value {value} bigger than max of {options['max']}"
        else:
            return None
        return describe_error(kind, message, given.name, **facts, received_value=value)

    def _choice_error(self, given: Input, value: Any, facts: JsonObject) -> JsonObject | None:
        choices = given.type_for(self._workspace)
        if not isinstance(choices, list) or value in choices:
            return None
        told = str(choices)
        if len(choices) > _LONGEST_LIST_TOLD:
            told = f"(list of length {len(choices)})"
            facts = facts | {"input_config": None}
        details = f"{given.name}: '{value}' not in {told}"
        return describe_error(
            "value_not_in_list", "Value not in list", details, **facts, received_value=value
        )

    def _config(self, given: Input) -> list[Any]:
        return [given.type_for(self._workspace), given.options or {}]


def exception_name(cause: BaseException) -> str:
    """The full name of an exception's class, bare for Python's own."""
    kind = type(cause)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
