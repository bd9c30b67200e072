"""What nodes a server has, what they take and what they give: ``/object_info`` as a typed catalog.

ComfyUI tells the choices of an input in two ways, and old and new nodes stand side by side in one answer:
``[["a", "b"], {options}]`` (also bare, without options), and ``["COMBO", {"options": ["a", "b"]}]``. Custom
nodes add whatever they like, so an odd entry is passed over instead of ending the reading.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

Choice: TypeAlias = str | int | float | bool

COMBO = "COMBO"
ANYTHING = "*"

_UPLOAD_FLAGS = (
    "image_upload",
    "audio_upload",
    "video_upload",
    "file_upload",
    "upload",
    "image_folder",
    "remote",
)
_UNFLAGGED_FILES = frozenset({("LoadLatent", "latent")})
"""Inputs whose files the server looks up itself (its VALIDATE_INPUTS), though its answer does not say so."""

_DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
_GROWING = "COMFY_AUTOGROW_V3"
_ADAPTING = "COMFY_MATCHTYPE_V3"


@dataclass(frozen=True)
class InputSpec:
    """One input of a node class.

    Attributes:
        name: As in a graph.
        kind: INT, FLOAT, STRING, BOOLEAN, COMBO, or a link's type: ``LATENT``, ``FLOAT,INT`` (either), ``*``.
        required: Whether the server refuses a node without it.
        choices: What a COMBO offers; None where the server does not tell (or there is nothing to choose).
        minimum: Smallest number allowed, None for no limit.
        maximum: Largest number allowed, None for no limit.
        multiselect: Several choices may be made at once.
        uploads: The choices are files that may be newer than the list; the server looks for the file itself.
        parts: It stands in a graph as ``name.part``, one entry for each of its parts.
    """

    name: str
    kind: str
    required: bool = True
    choices: tuple[Choice, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    multiselect: bool = False
    uploads: bool = False
    parts: bool = False


@dataclass(frozen=True)
class NodeSpec:
    """One node class: inputs by name, the types of its outputs in order, and whether it is an output node."""

    class_type: str
    inputs: Mapping[str, InputSpec]
    outputs: tuple[str, ...]
    is_output: bool


@dataclass(frozen=True)
class NodeCatalog:
    """All node classes of a server, by name."""

    nodes: Mapping[str, NodeSpec] = field(repr=False)

    @classmethod
    def parse(cls, object_info: object) -> NodeCatalog:
        """Reads the answer to ``GET /object_info``.

        Raises:
            ValueError: It is no JSON object. Odd entries in it are passed over.
        """
        if not isinstance(object_info, Mapping):
            raise ValueError(f"/object_info is not a JSON object but {type(object_info).__name__}")
        return cls(
            {
                name: _node(name, entry)
                for name, entry in object_info.items()
                if isinstance(name, str) and isinstance(entry, Mapping)
            }
        )

    def get(self, class_type: str) -> NodeSpec | None:
        """The class of this name, None if the server has none."""
        return self.nodes.get(class_type)

    def __contains__(self, class_type: object) -> bool:
        return class_type in self.nodes

    @property
    def names(self) -> tuple[str, ...]:
        """All class names, in the server's order."""
        return tuple(self.nodes)

    def choices(self, class_type: str, input_name: str) -> tuple[Choice, ...]:
        """What an input offers; empty where the class, the input or the list is not there."""
        spec = self.nodes.get(class_type)
        given = spec.inputs.get(input_name) if spec else None
        return (given.choices or ()) if given else ()

    def with_choices(self, class_type: str, input_name: str, names: Iterable[Choice]) -> NodeCatalog:
        """The same catalog with another list of choices at one input.

        Raises:
            KeyError: There is no such class, or no such input.
        """
        spec = self.nodes[class_type]
        given = replace(spec.inputs[input_name], choices=tuple(names))
        changed = replace(spec, inputs={**spec.inputs, input_name: given})
        return NodeCatalog({**self.nodes, class_type: changed})


def _node(name: str, entry: Mapping[str, Any]) -> NodeSpec:
    outputs = entry.get("output")
    return NodeSpec(
        name,
        {given.name: given for given in _inputs(name, entry.get("input"))},
        tuple(map(_link_type, outputs)) if isinstance(outputs, list | tuple) else (),
        entry.get("output_node") is True,
    )


def _inputs(class_type: str, sections: object) -> Iterator[InputSpec]:
    if not isinstance(sections, Mapping):
        return
    for section in ("optional", "required"):  # where a name stands in both, required counts
        given = sections.get(section)
        for name, told in given.items() if isinstance(given, Mapping) else ():
            if isinstance(name, str) and isinstance(told, list | tuple) and told:
                options = told[1] if len(told) > 1 and isinstance(told[1], Mapping) else {}
                if spec := _input(class_type, name, told[0], options):
                    yield replace(spec, required=spec.required and section == "required")


def _input(class_type: str, name: str, kind: object, options: Mapping[str, Any]) -> InputSpec | None:
    if kind == _DYNAMIC:
        return InputSpec(name, COMBO, choices=_keys(options.get("options")), parts=True)
    if kind == _GROWING:
        return InputSpec(name, ANYTHING, required=False, parts=True)
    if isinstance(kind, list | tuple) or kind == COMBO:
        told = options.get("options") if kind == COMBO else kind
        uploads = any(options.get(flag) for flag in _UPLOAD_FLAGS) or (class_type, name) in _UNFLAGGED_FILES
        many = options.get("multiselect") is True
        return InputSpec(name, COMBO, choices=_choices(told), multiselect=many, uploads=uploads)
    if not isinstance(kind, str):
        return None
    minimum, maximum = _number(options.get("min")), _number(options.get("max"))
    return InputSpec(name, _link_type(kind), minimum=minimum, maximum=maximum)


def _link_type(kind: object) -> str:
    """The type in one word. Old custom nodes give a list of choices as a type; new ones one that adapts."""
    if isinstance(kind, list | tuple):
        return COMBO
    return kind if isinstance(kind, str) and kind != _ADAPTING else ANYTHING


def _choices(told: object) -> tuple[Choice, ...] | None:
    if not isinstance(told, list | tuple):
        return None
    return tuple(choice for choice in told if isinstance(choice, str | int | float))


def _keys(options: object) -> tuple[Choice, ...] | None:
    """The choices of an input whose other parts depend on the choice."""
    if not isinstance(options, list | tuple):
        return None
    return _choices([option.get("key") for option in options if isinstance(option, Mapping)])


def _number(value: object) -> float | None:
    """The limit as told: whole numbers stay whole, since 2^64 - 1 does not fit into a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None
