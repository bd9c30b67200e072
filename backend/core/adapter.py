"""What all adapters share: when they have their turn, and how they refuse wrong values.

Each complaint names adapter, key, value and wish.
"""

from __future__ import annotations

import math
from enum import IntEnum

from backend.core.jobs import FileRef


class Stage(IntEnum):
    """When an adapter has its turn."""

    MODEL = 0
    """After loading, before the texts are encoded."""
    TEXT = 1
    """On the conditioning."""
    LATENT = 2
    """On what the sampling starts from."""
    SAMPLED = 3
    """On its result, before decoding."""
    IMAGE = 4
    """On the decoded pictures, keyframes and in-betweens alike."""


def check_name(adapter: object, key: str, name: str) -> None:
    """A model file, as a server lists it.

    Raises:
        ValueError: An empty name, or one that leads out of the folder.
    """
    if not name or name != name.strip():
        raise refusal(adapter, key, name, "the name of a file as the server lists it")
    _check_path(adapter, key, name)


def check_file(adapter: object, key: str, file: FileRef) -> None:
    """A file on the server; raises ValueError if it leads out of its folder."""
    for part in (file.filename, file.subfolder):
        _check_path(adapter, key, part)


def _check_path(adapter: object, key: str, path: str) -> None:
    parts = path.replace("\\", "/").split("/")
    if ".." in parts or path[:1] in ("/", "\\") or path[1:2] == ":" or not path.isprintable():
        raise refusal(adapter, key, path, "a file inside the server's own folder, without '..'")


def check_number(
    adapter: object, key: str, value: float, least: float, most: float, *, whole: bool = False
) -> None:
    """A number within both limits, NaN being none; raises ValueError."""
    number = isinstance(value, int) if whole else isinstance(value, int | float)
    if not number or isinstance(value, bool) or not math.isfinite(value) or not least <= value <= most:
        kind = "a whole number" if whole else "a number"
        raise refusal(adapter, key, value, f"{kind} from {least} to {most}")


def refusal(adapter: object, key: str, value: object, wish: str) -> ValueError:
    """The error that says which adapter, which key, what was found and what would be right."""
    return ValueError(f"adapter {type(adapter).__name__}: {key} = {value!r}: {wish}")
