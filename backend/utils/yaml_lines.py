"""YAML that remembers its lines.

Plain PyYAML takes duplicate keys silently, reads ``1:00`` as 60 and ``no`` as false, and forgets where a
value stood. This reader takes only PyYAML's events and builds its own tree: scalars by the YAML 1.2 core
schema (https://yaml.org/spec/1.2.2/#103-core-schema), every value with its line, every mistake as a
:class:`~backend.errors.Problem` instead of an exception. Nothing in a file can make it run code, recurse,
or grow: text, depth and the number of values (aliases counted at their full weight) are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import yaml

from backend.errors import Problem

MAX_CHARS = 1_000_000
MAX_DEPTH = 32
MAX_VALUES = 100_000
MAX_PROBLEMS = 50

_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_STRING_TAGS = ("!", "tag:yaml.org,2002:str")

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Located:
    """A value and where it stands.

    Attributes:
        value: A scalar, a tuple of Located (a sequence) or a dict from key to Located (a mapping).
        line: 1-based line of the value.
        written: The scalar's text as a person wrote it, "" for sequences and mappings.
        key_line: 1-based line of the key that holds this value; ``line`` where there is no key.
        column: 1-based column of the value.
        key_column: 1-based column of the key that holds it; 0 where there is no key.
    """

    value: Scalar | tuple[Located, ...] | dict[str, Located]
    line: int
    written: str = ""
    key_line: int = 0
    column: int = field(default=1, compare=False)
    key_column: int = field(default=0, compare=False)

    @property
    def mapping(self) -> dict[str, Located] | None:
        """The entries if this is a mapping, else None."""
        return self.value if isinstance(self.value, dict) else None

    @property
    def sequence(self) -> tuple[Located, ...] | None:
        """The items if this is a sequence, else None."""
        return self.value if isinstance(self.value, tuple) else None


def load(text: str, source: str) -> tuple[Located, list[Problem]]:
    """Reads one YAML document.

    Args:
        text: The whole file.
        source: How the file is called in problems, e.g. ``config.yaml``.

    Returns:
        The tree and everything wrong with it. After a problem the tree holds what could still be
        understood (the first of two duplicates; nothing at all after a syntax error). An empty file is
        an empty scalar, ``Located(None, 1)``.
    """
    builder = _Builder(source)
    if len(text) > MAX_CHARS:
        builder.complain(1, "size", f"{len(text)} characters", f"at most {MAX_CHARS} characters")
        return Located(None, 1), builder.problems
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            builder.take(event)
    except _Stop:
        return Located(None, 1), builder.problems
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        builder.complain(line, "syntax", f"character U+{_code(error.character):04X}", "printable text only")
        return Located(None, 1), builder.problems
    except yaml.MarkedYAMLError as error:
        builder.complain_syntax(error)
        return Located(None, 1), builder.problems
    return builder.root or Located(None, 1), builder.problems


def plain(node: Located) -> Any:
    """The same tree as plain dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, tuple):
        return [plain(child) for child in node.value]
    return node.value


def find(node: Located, path: Sequence[str | int]) -> Located | None:
    """The value at a path of keys and indices, or None where the tree ends before."""
    here: Located | None = node
    for step in path:
        if here is None:
            return None
        if isinstance(step, str):
            here = (here.mapping or {}).get(step)
        else:
            items = here.sequence or ()
            here = items[step] if 0 <= step < len(items) else None
    return here


def line_of(node: Located, path: Sequence[str | int]) -> int | None:
    """The 1-based line of the key (or item) at a path, or None where the file says nothing of it."""
    found = find(node, path)
    return None if found is None else found.key_line or found.line


class _Stop(Exception):  # noqa: N818 - a way out, not an error of its own
    """Reading on would cost more than it could tell."""


@dataclass
class _Open:
    """A sequence or mapping whose end has not come yet."""

    line: int
    column: int
    anchor: str | None
    items: list[Located] | None = None
    entries: dict[str, Located] | None = None
    key: Located | None = None
    weight: int = 1


class _Builder:
    """Events in, tree and problems out; an explicit stack instead of recursion."""

    def __init__(self, source: str) -> None:
        self.problems: list[Problem] = []
        self.root: Located | None = None
        self._source = source
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Located, int]] = {}
        self._values = 0
        self._documents = 0

    def complain(self, line: int, key: str, value: str, wish: str, column: int | None = None) -> None:
        self.problems.append(Problem(self._source, line, key, shorten(value), wish, column))

    def complain_syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        context = f" ({error.context})" if error.context else ""
        wish = f"{error.problem or 'valid YAML'}{context}"
        if "\\t" in wish:
            wish = f"{wish}; indent with spaces, not with tabs"
        self.complain(line, "syntax", f"column {column}", wish, column)

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self.complain(line, "syntax", "---", "one document in a file")
                    raise _Stop
            case yaml.ScalarEvent():
                self._close(self._scalar(event, line), 1, event.anchor)
            case yaml.AliasEvent():
                self._alias(event, line)
            case yaml.MappingStartEvent():
                self._open(_Open(line, _column(event), event.anchor, entries={}))
            case yaml.SequenceStartEvent():
                self._open(_Open(line, _column(event), event.anchor, items=[]))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end()
        if len(self.problems) >= MAX_PROBLEMS:
            raise _Stop

    def _open(self, opened: _Open) -> None:
        if len(self._stack) >= MAX_DEPTH:
            self.complain(opened.line, "depth", f"more than {MAX_DEPTH}", "fewer levels inside each other")
            raise _Stop
        self._stack.append(opened)

    def _end(self) -> None:
        done = self._stack.pop()
        value = done.entries if done.entries is not None else tuple(done.items or ())
        self._close(Located(value, done.line, column=done.column), done.weight, done.anchor)

    def _close(self, node: Located, weight: int, anchor: str | None) -> None:
        """Hands a finished value to what it stands in."""
        self._values += 1
        if anchor:
            self._anchors[anchor] = (node, weight)
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1]
        parent.weight += weight
        if max(parent.weight, self._values) > MAX_VALUES:
            self.complain(node.line, "size", f"more than {MAX_VALUES} values", "fewer values (or aliases)")
            raise _Stop
        if parent.items is not None:
            parent.items.append(node)
        elif parent.key is None:
            parent.key = node
        else:
            key, parent.key = parent.key, None
            self._enter(parent, key, node)

    def _enter(self, parent: _Open, key: Located, node: Located) -> None:
        assert parent.entries is not None  # noqa: S101 - _close looked before it called
        if isinstance(key.value, dict | tuple) or not key.written:
            self.complain(key.line, "syntax", key.written, "a plain word as key")
            return
        name = key.written
        if name in parent.entries:
            first = parent.entries[name].key_line
            self.complain(
                key.line,
                self._dotted(name),
                node.written,
                f"only once; it stands in line {first} too",
                key.column,
            )
            return
        parent.entries[name] = replace(node, key_line=key.line, key_column=key.column)

    def _dotted(self, name: str) -> str:
        """The dotted key of ``name`` in the innermost open mapping."""
        above = (level.key.written for level in self._stack[:-1] if level.key is not None)
        return ".".join([*above, name])

    def _alias(self, event: yaml.AliasEvent, line: int) -> None:
        known = self._anchors.get(event.anchor or "")
        if known is None:
            self.complain(line, "syntax", f"*{event.anchor}", "an anchor that stands, whole, above its alias")
            raise _Stop
        node, weight = known
        self._close(Located(node.value, line, node.written, column=_column(event)), weight, None)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Located:
        text: str = event.value
        if _UNFIT.search(text):
            self.complain(line, "syntax", ascii(text), "text without NUL and without lone surrogates")
            return Located(_UNFIT.sub("", text), line, _UNFIT.sub("", text))
        if event.tag and event.tag not in _STRING_TAGS:
            self.complain(line, "syntax", event.tag, "no tags; quote a value to make it text")
        is_plain = event.style is None and not event.tag
        return Located(_core_scalar(text) if is_plain else text, line, text, column=_column(event))


def _column(event: yaml.Event) -> int:
    return event.start_mark.column + 1 if event.start_mark else 1


def _core_scalar(text: str) -> Scalar:
    """A plain scalar's value by the YAML 1.2 core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > 64:  # no number is that long, and int() refuses thousands of digits
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL_OR_HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text):
        return float("-inf" if text.startswith("-") else "inf")
    return float("nan") if _NAN.fullmatch(text) else text


def shorten(value: str, limit: int = 60) -> str:
    """The value on one line, cut where it would drown the message."""
    line = " ".join(value.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _code(character: object) -> int:
    """PyYAML gives the offending character as text or as a number, depending on where it met it."""
    return ord(character) if isinstance(character, str) else int(str(character))
