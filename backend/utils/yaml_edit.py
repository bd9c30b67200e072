"""Changes one value of a YAML file of sections with keys, and not a character besides.

Comments, order, quotes and indentation are a person's own; so the text is cut open at the places that
PyYAML's events name, and nowhere else. Only such files are edited as ours are: a mapping of mappings.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from backend.utils.yaml_lines import load


class NotEditable(Exception):  # noqa: N818 - it says what the text is
    """The text is built in a way that is better left to people."""


@dataclass
class _Node:
    """A value and the piece of text that it takes, without comments and line ends behind it.

    Attributes:
        in_brackets: For a collection: whether it is written ``{a: 1}``.
        entries: For a mapping: key -> the key's own node and its value's.
    """

    start: int
    end: int
    in_brackets: bool = False
    entries: dict[str, tuple[_Node, _Node]] | None = None
    _keys: list[_Node] = field(default_factory=list)


def set_value(text: str, section: str, key: str, value: str) -> str:
    """The text with ``section.key`` at ``value``.

    Args:
        text: A whole file.
        section: Name at the outermost level; made where it is missing.
        key: Name within it; made where it is missing.
        value: As a person writes it: a word, a number, or a list or mapping in brackets.

    Raises:
        NotEditable: It cannot be done without touching anything else.
    """
    root, end = _root(text), _line_end(text)
    if root is None:
        return _appended(text, f"{section}:{end}  {key}: {written(value)}{end}", end)
    entries = _entries(root)
    if section not in entries:
        if root.in_brackets:
            return _into_brackets(text, root, f"{section}: {{{key}: {written(value, in_brackets=True)}}}")
        return _appended(text, f"{section}:{end}  {key}: {written(value)}{end}", end)
    name, body = entries[section]
    if body.entries is None:
        return _into_nothing(text, root, name, body, f"{key}: ", value, end)
    if key in body.entries:
        return _replaced(text, *body.entries[key], written(value, in_brackets=body.in_brackets))
    if body.in_brackets:
        return _into_brackets(text, body, f"{key}: {written(value, in_brackets=True)}")
    return _after_last(text, body, f"{key}: {written(value)}", end)


def unset(text: str, section: str, key: str) -> str:
    """The text without ``section.key``; as it is where it says nothing of it. A comment behind it stays.

    Raises:
        NotEditable: As for :func:`set_value`.
    """
    root = _root(text)
    if root is None or section not in _entries(root):
        return text
    body = _entries(root)[section][1]
    if body.entries is None or key not in body.entries:
        return text
    name, value = body.entries[key]
    if body.in_brackets:
        return _out_of_brackets(text, body, name, value)
    start = text.rfind("\n", 0, name.start) + 1
    if text[start : name.start].strip():
        raise NotEditable("the key does not stand on a line of its own")
    rest = text[value.end : _end_of_line(text, value.end)]
    if rest.strip():
        return text[: name.start] + rest.lstrip() + text[value.end + len(rest) :]
    return text[:start] + text[_next_line(text, value.end) :]


def written(value: str, *, in_brackets: bool = False) -> str:
    """A value so that YAML reads the very same words: bare where that can be, else quoted.

    Lists and mappings in brackets stay as they are.
    """
    around = "{{x: {}}}" if in_brackets else "x: {}"
    tree, problems = load(around.format(value), "value")
    found = (tree.mapping or {}).get("x") if not problems and len(tree.mapping or {}) == 1 else None
    if found is not None and "\n" not in value:
        if found.mapping is not None or found.sequence is not None:
            return value.strip()
        if found.value is not None and found.written == value:
            return value
    return json.dumps(value, ensure_ascii=False)


def _root(text: str) -> _Node | None:
    """The outermost value; None for a text without any."""
    try:
        return _built(text)
    except yaml.YAMLError as error:
        raise NotEditable(str(error)) from error


def _built(text: str) -> _Node | None:
    stack: list[_Node] = []
    root: _Node | None = None
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            node = _Node(_at(event.start_mark), _at(event.start_mark), bool(event.flow_style))
            node.entries = {} if isinstance(event, yaml.MappingStartEvent) else None
            stack.append(node)
            continue
        if isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
            start = _at(event.start_mark)
            node = _Node(start, _trimmed(text, start, _at(event.end_mark)))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            node = stack.pop()
            if node.in_brackets:
                node.end = _at(event.end_mark)
        else:
            continue
        if not stack:
            root = node
            continue
        _take(stack[-1], node, text)
    return root


def _at(mark: Any) -> int:
    """Events of a text that was parsed from its beginning all have their marks."""
    return int(mark.index)


def _take(parent: _Node, node: _Node, text: str) -> None:
    parent.end = max(parent.end, node.end)
    if parent.entries is None:
        return
    if not parent._keys:
        parent._keys.append(node)
        return
    name = parent._keys.pop()
    word = load(text[name.start : name.end], "key")[0].written
    if word in parent.entries:
        raise NotEditable(f"{word} stands there twice")
    parent.entries[word] = (name, node)


def _trimmed(text: str, start: int, end: int) -> int:
    """A block scalar's end mark stands behind its line ends."""
    return start + len(text[start:end].rstrip("\r\n"))


def _entries(node: _Node) -> dict[str, tuple[_Node, _Node]]:
    if node.entries is None:
        raise NotEditable("it holds no sections")
    return node.entries


def _replaced(text: str, name: _Node, value: _Node, new: str) -> str:
    between = text[name.end : value.start]
    if "\n" in between:  # the value begins on a line of its own
        if ":" not in between or "#" in between:
            raise NotEditable("a comment stands between the key and its value")
        return f"{text[: name.end]}: {new}{text[value.end :]}"
    if ":" not in between:  # {key}
        return f"{text[: name.end]}: {new}{text[max(value.end, name.end) :]}"
    space = "" if between.endswith((" ", "\t")) else " "
    rest = text[value.end :]
    if value.start == value.end and re.match(r" +[,}]", rest):  # {key: }
        rest = rest.lstrip(" ")
    return f"{text[: value.start]}{space}{new}{rest}"


def _into_nothing(text: str, root: _Node, name: _Node, body: _Node, key: str, value: str, end: str) -> str:
    """A section that is there and holds nothing, or something that is no mapping."""
    if text[body.start : body.end] not in ("", "~", "null"):
        raise NotEditable("the section holds no keys")
    if root.in_brackets or body.start != body.end:
        return _replaced(text, name, body, f"{{{key}{written(value, in_brackets=True)}}}")
    at = _end_of_line(text, name.end)
    return f"{text[:at]}{end}  {key}{written(value)}{text[at:]}"


def _into_brackets(text: str, node: _Node, entry: str) -> str:
    at = node.start + text[node.start : node.end].index("{") + 1  # an anchor may stand before
    return f"{text[:at]}{entry}{', ' if node.entries else ''}{text[at:]}"


def _out_of_brackets(text: str, body: _Node, name: _Node, value: _Node) -> str:
    stop = max(value.end, name.end)
    behind = re.match(r"\s*,\s*", text[stop : body.end])
    if behind:
        return text[: name.start] + text[stop + behind.end() :]
    before = re.search(r",\s*$", text[body.start : name.start])
    return text[: body.start + before.start() if before else name.start] + text[stop:]


def _after_last(text: str, body: _Node, entry: str, end: str) -> str:
    """Below the last key of a section, as far in as the first."""
    first = min(name.start for name, _ in _entries(body).values())
    indent = text[text.rfind("\n", 0, first) + 1 : first]
    if indent.strip():
        raise NotEditable("the section begins in the middle of a line")
    at = _end_of_line(text, body.end)
    return f"{text[:at]}{end}{indent}{entry}{text[at:]}"


def _appended(text: str, lines: str, end: str) -> str:
    gap = "" if not text or text.endswith("\n") else end
    return f"{text}{gap}{end if text.strip() else ''}{lines}"


def _end_of_line(text: str, index: int) -> int:
    """Before the line end, whichever it is."""
    at = text.find("\n", index)
    at = len(text) if at < 0 else at
    return at - 1 if at > index and text[at - 1] == "\r" else at


def _next_line(text: str, index: int) -> int:
    at = text.find("\n", index)
    return len(text) if at < 0 else at + 1


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
