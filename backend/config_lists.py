"""Settings that are lists or mappings: commands, names, headers and adapters.

Like every other value they are read from text: a file's list arrives here as JSON with every scalar as it
was written, and an environment variable may hold the same, or YAML's ``[a, b]``.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

from backend.utils.hours import Span
from backend.utils.http_headers import is_sendable, is_settable
from backend.utils.yaml_lines import Located, load, shorten

_MAX_WORDS = 64
_MAX_WORD_CHARS = 4096


@dataclass(frozen=True)
class HeaderSet:
    """HTTP headers; their values are secrets and show up nowhere."""

    pairs: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def as_dict(self) -> dict[str, str]:
        """Name -> value, for whoever sends them."""
        return dict(self.pairs)


@dataclass(frozen=True)
class AdapterWish:
    """One entry of ``dream.adapters``: what kind, its main value, and its options that were given."""

    kind: str
    value: str | float | Path
    options: tuple[tuple[str, str | float | Path], ...] = ()

    def option(self, name: str) -> str | float | Path | None:
        """The value of an option; None where it was not given."""
        return dict(self.options).get(name)


@dataclass(frozen=True)
class _Text:
    """A name, or one of a few words."""

    words: tuple[str, ...] = ()

    def read(self, text: str, _folder: Path) -> str:
        if self.words and text not in self.words:
            raise ValueError(f"one of {', '.join(self.words)}")
        return read_model_name(text)


@dataclass(frozen=True)
class _Number:
    low: float
    high: float
    whole: bool = False

    def read(self, text: str, _folder: Path) -> float:
        wish = f"a {'whole ' if self.whole else ''}number from {self.low:g} to {self.high:g}"
        try:
            number: float = int(text) if self.whole else float(text)
        except ValueError:
            raise ValueError(wish) from None
        if not self.low <= number <= self.high:
            raise ValueError(wish)
        return number


@dataclass(frozen=True)
class _File:
    def read(self, text: str, folder: Path) -> Path:
        path = folder.absolute() / Path(text).expanduser()
        if not path.is_file():
            raise ValueError("a picture file that is there")
        return path


@dataclass(frozen=True)
class _Kind:
    value: _Text | _Number | _File
    options: Mapping[str, _Text | _Number | _File] = field(default_factory=dict)


ADAPTERS: Mapping[str, _Kind] = {
    "lora": _Kind(_Text(), {"strength": _Number(-10, 10), "clip_strength": _Number(-10, 10)}),
    "clip_skip": _Kind(_Number(1, 24, whole=True)),
    "vae": _Kind(_Text()),
    "tiled_vae": _Kind(_Number(64, 4096, whole=True), {"overlap": _Number(0, 4096, whole=True)}),
    "shift": _Kind(_Number(0, 100)),
    "speed_up": _Kind(_Text()),
    "controlnet": _Kind(
        _Text(),
        {"image": _File(), "strength": _Number(0, 10), "start": _Number(0, 1), "end": _Number(0, 1)},
    ),
    "inpaint": _Kind(_File(), {"method": _Text(("noise_mask", "conditioning"))}),
    "outpaint": _Kind(_Number(8, 1024, whole=True), {"feather": _Number(0, 1024, whole=True)}),
    "upscale": _Kind(_Text()),
    "detail": _Kind(_Number(1, 4), {"denoise": _Number(0.01, 1), "steps": _Number(1, 150, whole=True)}),
}
"""What may stand in ``dream.adapters``: kind -> its value and its options."""

_NEEDED = {"controlnet": ("image",)}


def read_model_name(text: str) -> str:
    """A model's name as ComfyUI lists it, sub-folders included; nothing that leaves the folder.

    Raises:
        ValueError: With what would be right.
    """
    name = text.strip()
    parts = name.replace("\\", "/").split("/")
    climbs = ".." in parts or name.startswith(("/", "\\", "~")) or re.match(r"[A-Za-z]:", name)
    if not name or len(name) > 255 or not name.isprintable() or climbs:
        raise ValueError("a name as ComfyUI lists it, inside its models folder")
    return name


def read_command(value: object) -> object:
    """``[python, main.py]`` or ``python main.py`` as a tuple of words."""
    if not isinstance(value, str):
        return value
    words = _list_of_text(value) if _is_structure(value) else _split(value)
    if len(words) > _MAX_WORDS or any(not 0 < len(w) <= _MAX_WORD_CHARS or "\0" in w for w in words):
        raise ValueError(f"a command of at most {_MAX_WORDS} words")
    return words


def read_names(value: object) -> object:
    """``[a.safetensors, b.safetensors]``, or one name, as a tuple."""
    if not isinstance(value, str):
        return value
    names = _list_of_text(value) if _is_structure(value) else (value,)
    if len(names) > _MAX_WORDS:
        raise ValueError(f"at most {_MAX_WORDS} names")
    return tuple(read_model_name(name) for name in names)


def read_spans(value: object) -> object:
    """``[mon-fri 08:00-20:00, 22:00-02:00]``, or one of them, as a tuple of what stands there."""
    if not isinstance(value, str):
        return value
    spans = _list_of_text(value) if _is_structure(value) else (value,)
    if len(spans) > _MAX_WORDS:
        raise ValueError(f"at most {_MAX_WORDS} spans of hours")
    for span in spans:
        Span.read(span)
    return tuple(span.strip() for span in spans)


def read_headers(value: object) -> object:
    """``{Authorization: Bearer ...}`` as a HeaderSet; no message repeats a value."""
    if not isinstance(value, str):
        return value
    tree = _parsed(value).mapping
    if tree is None:
        raise ValueError("headers like {Authorization: Bearer abc}")
    for name, node in tree.items():
        if not is_settable(name):
            raise ValueError(f"a header that may be set; {shorten(name)!r} may not")
        if node.mapping is not None or node.sequence is not None or not is_sendable(node.written):
            raise ValueError(f"one line of text as the value of {name}")
    return HeaderSet(tuple((name, node.written) for name, node in tree.items()))


def read_adapters(value: object, info: ValidationInfo) -> object:
    """A list of ``{lora: name, strength: 0.8}`` and the like as AdapterWishes."""
    if not isinstance(value, str):
        return value
    folder: Path = (info.context or {}).get("folder") or Path.cwd()
    items = _parsed(value).sequence
    if items is None:
        raise ValueError("a list of adapters, like [{lora: name.safetensors, strength: 0.8}]")
    if len(items) > _MAX_WORDS:
        raise ValueError(f"at most {_MAX_WORDS} adapters")
    return tuple(_adapter(number, item, folder) for number, item in enumerate(items, 1))


def _adapter(number: int, item: Located, folder: Path) -> AdapterWish:
    entries = item.mapping
    kind = next(iter(entries), "") if entries else ""
    if entries is None or kind not in ADAPTERS:
        named = f"{kind!r} is none" if kind else "there is none"
        raise ValueError(f"item {number} begins with a kind of adapter ({named}): {', '.join(ADAPTERS)}")
    found = {name: _entry(number, kind, name, node, folder) for name, node in entries.items()}
    for name in _NEEDED.get(kind, ()):
        if name not in found:
            raise ValueError(f"item {number} ({kind}) needs {name}")
    value = found.pop(kind)
    return AdapterWish(kind, value, tuple(found.items()))


def _entry(number: int, kind: str, name: str, node: Located, folder: Path) -> str | float | Path:
    known = ADAPTERS[kind]
    reader = known.value if name == kind else known.options.get(name)
    if reader is None:
        options = ", ".join(known.options) or "nothing more"
        raise ValueError(f"item {number} ({kind}) has no {shorten(name)!r}; it takes {options}")
    try:
        if node.mapping is not None or node.sequence is not None:
            raise ValueError("one value, no list")
        return reader.read(node.written, folder)
    except ValueError as wish:
        raise ValueError(f"item {number} ({kind}), {name} = {shorten(node.written)!r}: {wish}") from None


def as_text(node: Located) -> str:
    """A file's list or mapping as the text that the readers here take, every scalar as it was written."""

    def plain(here: Located) -> Any:
        if here.mapping is not None:
            return {key: plain(child) for key, child in here.mapping.items()}
        if here.sequence is not None:
            return [plain(child) for child in here.sequence]
        return here.written

    return json.dumps(plain(node))


def write_list(value: object) -> str:
    """The value as a person would write it; the values of headers are kept back."""
    if isinstance(value, HeaderSet):
        return json.dumps({name: "***" for name, _ in value.pairs})
    assert isinstance(value, tuple)  # noqa: S101 - nothing else is a list here
    return json.dumps([_written(item) for item in value])


def _written(item: object) -> object:
    if isinstance(item, AdapterWish):
        return {item.kind: _simple(item.value)} | {name: _simple(v) for name, v in item.options}
    return item


def _simple(value: str | float | Path) -> str | float:
    return str(value) if isinstance(value, Path) else value


def _is_structure(text: str) -> bool:
    return text.lstrip().startswith(("[", "{"))


def _parsed(text: str) -> Located:
    tree, problems = load(text, "value")
    if problems:
        raise ValueError(f"YAML that can be read: {problems[0].wish}")
    return tree


def _list_of_text(text: str) -> tuple[str, ...]:
    items = _parsed(text).sequence
    if items is None or any(item.mapping is not None or item.sequence is not None for item in items):
        raise ValueError("a list of words, like [a, b]")
    return tuple(item.written for item in items)


def _split(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"a command that a shell would understand: {error}") from None


Command = Annotated[tuple[str, ...], BeforeValidator(read_command)]
Names = Annotated[tuple[str, ...], BeforeValidator(read_names)]
Hours = Annotated[tuple[str, ...], BeforeValidator(read_spans)]
Headers = Annotated[HeaderSet, BeforeValidator(read_headers)]
Adapters = Annotated[tuple[AdapterWish, ...], BeforeValidator(read_adapters)]

LISTS: Mapping[object, tuple[str, dict[str, Any]]] = {
    Command: ("a command, like [python, main.py] or python main.py", {"type": ["array", "string"]}),
    Names: ("a list of names", {"type": ["array", "string"]}),
    Hours: ("hours like [mon-fri 08:00-20:00, sat 10:00-16:00]", {"type": ["array", "string"]}),
    Headers: ("headers like {Authorization: Bearer abc}", {"type": "object"}),
    Adapters: (
        f"a list of adapters, each beginning with one of {', '.join(ADAPTERS)}",
        {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    name: {}
                    for name in sorted({*ADAPTERS, *(o for k in ADAPTERS.values() for o in k.options)})
                },
                "additionalProperties": False,
            },
        },
    ),
}
"""Wish in words and JSON Schema of each kind; their readers explain what is wrong."""
