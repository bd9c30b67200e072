"""The kinds of values that settings have: how they are written, read, wished for and described.

Every value is read from text, so a file and an environment variable mean the same by the same words.
"""

from __future__ import annotations

import re
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import annotated_types
from pydantic import AfterValidator, BeforeValidator, ValidationInfo
from pydantic.fields import FieldInfo

from backend.config_lists import LISTS, Command, Headers, read_model_name, write_list
from backend.utils.nearest import nearest
from backend.utils.picture_formats import FORMATS

AUTO = "auto"
MATCHERS = ("clip", "perceptual")
_MATCHER_WISH = ", ".join(MATCHERS) + ", or a class of your own as package.module:Class"

_SIZE = re.compile(r"(\d{1,5}) ?[xX×] ?(\d{1,5})")
_BYTES = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([kMGT]i?B|B)")
_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    "kiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_TOPIC = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
_URL_PATH = re.compile(r"[A-Za-z0-9._~/-]*")
# What people copy from their browser; Dreamloop adds these itself.
_ENDPOINTS = frozenset({"prompt", "queue", "history", "ws", "view", "object_info", "system_stats"})
_MIN_SIZE_PX, _MAX_SIZE_PX = 64, 4096
_MIN_BYTES, _MAX_BYTES = 10 * 10**6, 100 * 10**12
_MIN_CAP, _MAX_CAP = 10**6, 4 * 10**9


@dataclass(frozen=True)
class Size:
    """Width and height of a picture in pixels, both divisible by 8 (a latent has 1/8 of the size)."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def read_size(value: object) -> object:
    """``768x432`` as a Size; what is no text is left to the type."""
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ValueError("not WIDTHxHEIGHT")
    size = Size(int(found[1]), int(found[2]))
    for side in (size.width, size.height):
        if side % 8 or not _MIN_SIZE_PX <= side <= _MAX_SIZE_PX:
            raise ValueError("a side is out of range or not divisible by 8")
    return size


def read_bytes(value: object) -> object:
    """``1.5 GiB`` as a number of bytes; what is no text is left to the type."""
    return _bytes_between(value, _MIN_BYTES, _MAX_BYTES)


def read_cap(value: object) -> object:
    """The same for the most that an answer may have."""
    return _bytes_between(value, _MIN_CAP, _MAX_CAP)


def _bytes_between(value: object, low: int, high: int) -> object:
    if not isinstance(value, str):
        return value
    found = _BYTES.fullmatch(value.strip())
    count = round(float(found[1]) * _UNITS[found[2]]) if found else 0
    if not low <= count <= high:
        raise ValueError("not a number of bytes in range")
    return count


def write_bytes(count: int) -> str:
    """The shortest exact way to write a number of bytes, e.g. ``2 GB`` or ``1536 MiB``."""
    ways = [f"{count // size} {unit}" for unit, size in _UNITS.items() if count % size == 0]
    return min(ways, key=len)


def _read_url(value: str) -> str:
    url = urlsplit(value)  # raises ValueError on a broken IPv6 address
    extra = url.query or url.fragment or url.username or url.password
    if url.scheme not in ("http", "https") or not url.hostname or extra or url.port == 0:
        raise ValueError("not http(s)://host:port")
    parts = url.path.rstrip("/").split("/")
    if not _URL_PATH.fullmatch(url.path) or ".." in parts or parts[-1] in _ENDPOINTS:
        raise ValueError("not the path of a proxy")
    return f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}"


def _read_broker(value: str) -> str:
    url = urlsplit(value)
    extra = url.path.strip("/") or url.query or url.fragment or "@" in url.netloc
    if url.scheme not in ("mqtt", "mqtts") or not url.hostname or extra or url.port == 0:
        raise ValueError("not mqtt(s)://host:port")
    return f"{url.scheme}://{url.netloc}"


def _read_topic(value: str) -> str:
    if not _TOPIC.fullmatch(value) or len(value) > 100:
        raise ValueError("not the beginning of a topic")
    return value


def _read_name(value: str) -> str:
    if not value.strip() or len(value) > 255 or not value.isprintable():
        raise ValueError("not a name")
    return value.strip()


def _read_matcher(value: str) -> str:
    """clip, perceptual, or a class that is named with its module; the class is made when it is needed."""
    module, colon, cls = value.strip().partition(":")
    if not colon and module in MATCHERS:
        return module
    if all(part.isidentifier() for part in [*module.split("."), cls]):
        return f"{module}:{cls}"
    near = None if colon else nearest(module, (AUTO, *MATCHERS))
    raise ValueError(f"{AUTO}, or {_MATCHER_WISH}" + (f"; did you mean {near}?" if near else ""))


def _read_folder(value: Path, info: ValidationInfo) -> Path:
    """Relative folders stand beside the settings file, wherever the daemon was started from."""
    base: Path = (info.context or {}).get("folder") or Path.cwd()
    if not value.parts:
        raise ValueError("not a folder")
    try:
        return base.absolute() / value.expanduser()
    except RuntimeError as error:  # ~nobody: there is no such home
        raise ValueError(str(error)) from error


def _as_path(value: object) -> object:
    return Path(value) if isinstance(value, str) else value


def _read_file(value: Path, info: ValidationInfo) -> Path:
    """Relative files stand beside the settings file, too, and must be there."""
    path = _read_folder(value, info)
    try:
        there = path.is_file()
    except OSError as error:  # a name that is too long for the disk
        raise ValueError(str(error)) from error
    if not there:
        raise ValueError("not a file that is there")
    return path


def _read_format(value: str) -> str:
    if value not in FORMATS:
        raise ValueError("not a picture format")
    return value


def _read_switch(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lower() not in ("true", "false"):
        raise ValueError("neither true nor false")
    return value.lower() == "true"


Url = Annotated[str, AfterValidator(_read_url)]
Switch = Annotated[bool, BeforeValidator(_read_switch)]
Broker = Annotated[str, AfterValidator(_read_broker)]
Topic = Annotated[str, AfterValidator(_read_topic)]
Name = Annotated[str, AfterValidator(_read_name)]
File = Annotated[Path, BeforeValidator(_as_path), AfterValidator(_read_file)]
Folder = Annotated[Path, AfterValidator(_read_folder)]
Bytes = Annotated[int, BeforeValidator(read_bytes)]
Format = Annotated[str, AfterValidator(_read_format)]
Cap = Annotated[int, BeforeValidator(read_cap)]
ModelName = Annotated[str, AfterValidator(read_model_name)]
PictureSize = Annotated[Size, BeforeValidator(read_size)]

MatcherName = Annotated[str, AfterValidator(_read_matcher)]

# What cannot be told from limits alone: the wish, and a pattern for the JSON Schema.
_SPECIAL: dict[object, tuple[str, dict[str, Any]]] = {
    **LISTS,
    Url: (
        "http://host:port or https://host:port, at most with a proxy's own path behind it",
        {"pattern": "^https?://[^/@?#]+(/[^?#]*)?$"},
    ),
    Broker: (
        "mqtt://host:port or mqtts://host:port; name and password stand elsewhere",
        {"pattern": "^mqtts?://[^/@?#]+/?$"},
    ),
    Topic: ("letters, digits, - and _, with / between", {"pattern": f"^{_TOPIC.pattern}$", "maxLength": 100}),
    ModelName: (
        "a name as ComfyUI lists it, inside its models folder",
        {"minLength": 1, "maxLength": 255},
    ),
    Cap: ('a size from 1 MB to 4 GB, like "8 MB"', {"pattern": f"^{_BYTES.pattern}$"}),
    Name: ("a name", {"minLength": 1, "maxLength": 255}),
    MatcherName: (_MATCHER_WISH, {"pattern": "^(clip|perceptual|[^:\\s]+:[^:\\s]+)$"}),
    Switch: ("true or false", {"type": "boolean"}),
    Format: ("one of " + ", ".join(FORMATS), {"enum": list(FORMATS)}),
    Folder: ("a folder", {"minLength": 1}),
    File: ("a file that is there", {"minLength": 1}),
    Bytes: (
        'a size from 10 MB to 100 TB, like "500 MB", "2 GB" or "1.5 GiB"',
        {"pattern": f"^{_BYTES.pattern}$"},
    ),
    PictureSize: (
        f"WIDTHxHEIGHT in pixels, both divisible by 8, from {_MIN_SIZE_PX} to {_MAX_SIZE_PX}, like 768x432",
        {"pattern": f"^{_SIZE.pattern}$"},
    ),
}


def may_be_auto(field: FieldInfo) -> bool:
    """Whether the word auto (in Python: None) is one of the values."""
    return _kind_of(field)[1]


def wish_of(field: FieldInfo) -> str:
    """What would be right, in words: "a number from 0.05 to 1"."""
    kind, auto = _kind_of(field)
    wish = _plain_wish(kind, field)
    return f"{AUTO}, or {wish}" if auto else wish


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """All the words that may stand there; empty where they are not to be counted."""
    kind, auto = _kind_of(field)
    if kind == Switch:
        return ("true", "false")
    return typing.get_args(kind) if typing.get_origin(kind) is Literal and not auto else ()


def is_list(field: FieldInfo) -> bool:
    """Whether the value is a list or a mapping, whose readers explain what is wrong with it."""
    return _kind_of(field)[0] in LISTS


def explains(field: FieldInfo) -> bool:
    """Whether the value's reader explains what is wrong with it."""
    return is_list(field) or bool(_kind_of(field)[0] == MatcherName)


def is_path(field: FieldInfo) -> bool:
    """Whether the value is a place where something is, or will be, written."""
    return bool(_kind_of(field)[0] == Folder)


def is_secret(field: FieldInfo) -> bool:
    """Whether the value must not be repeated to anybody."""
    return bool(_kind_of(field)[0] == Headers)


def is_private(field: FieldInfo) -> bool:
    """Whether the value is better not shown to whoever watches: a command may hold a password."""
    return is_secret(field) or bool(_kind_of(field)[0] == Command)


def schema_of(field: FieldInfo) -> dict[str, Any]:
    """The field as JSON Schema."""
    kind, auto = _kind_of(field)
    schema = _plain_schema(kind, field)
    said = {"description": f"{field.description} ({wish_of(field)})", "default": _as_number(field.default)}
    return {**said, "anyOf": [{"const": AUTO}, schema]} if auto else {**said, **schema}


def write_value(field: FieldInfo, value: object) -> str:
    """A typed value as a person would write it."""
    if value is None:
        return AUTO
    kind = _kind_of(field)[0]
    if kind in LISTS:
        return write_list(value)
    if isinstance(value, int) and kind in (Bytes, Cap):
        return write_bytes(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _kind_of(field: FieldInfo) -> tuple[Any, bool]:
    """The annotation without None, and whether None was there (which is how auto is kept)."""
    annotation = field.annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        return kinds[0], True
    for special in _SPECIAL:  # pydantic takes a bare Annotated apart into annotation and metadata
        if typing.get_args(special)[1] in field.metadata:
            return special, False
    return annotation, False


def _limits(field: FieldInfo) -> tuple[Any, Any]:
    low = next(limit.ge for limit in field.metadata if isinstance(limit, annotated_types.Ge))
    high = next(limit.le for limit in field.metadata if isinstance(limit, annotated_types.Le))
    return low, high


def _plain_wish(kind: Any, field: FieldInfo) -> str:
    if kind in _SPECIAL:
        return _SPECIAL[kind][0]
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(typing.get_args(kind))
    low, high = _limits(field)
    return f"a {'whole number' if kind is int else 'number'} from {low} to {high}"


def _plain_schema(kind: Any, field: FieldInfo) -> dict[str, Any]:
    if kind in _SPECIAL:
        return {"type": "string", **_SPECIAL[kind][1]}
    if typing.get_origin(kind) is Literal:
        return {"enum": list(typing.get_args(kind))}
    low, high = _limits(field)
    return {"type": "integer" if kind is int else "number", "minimum": low, "maximum": high}


def _as_number(written: str) -> object:
    if written in ("[]", "{}"):
        return [] if written == "[]" else {}
    if written in ("true", "false"):
        return written == "true"
    try:
        return float(written) if "." in written else int(written)
    except ValueError:
        return written
