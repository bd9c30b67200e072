"""Memories and vectors as they stand in the database, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.cache.matching import Identity, Vectors
from backend.cache.memory_row import Memory, Origin

_UNIT_WITHIN = 1e-3
MOST_ROW_BYTES = 2**30
"""No memory takes more, by what one file may have."""


def identity_text(identity: Identity | None) -> str:
    """An identity as it stands in a row."""
    return json.dumps([identity.name, identity.version, identity.dimension]) if identity else ""


def vector_from(blob: object, identity: Identity) -> Vectors | None:
    """A vector as it stands in a row; None where it is of another size, or no unit vector."""
    if not isinstance(blob, bytes) or len(blob) != 4 * identity.dimension:
        return None
    vector = np.frombuffer(blob, "<f4").astype(np.float32)
    return vector if is_unit(vector, identity.dimension) else None


def vectors_from(rows: Sequence[tuple[int, object]], identity: Identity) -> tuple[NDArray[np.int64], Vectors]:
    """Keys and vectors of many rows, without those that are of another size, or no unit vectors.

    All at once, since Python's other threads wait while each is looked at: one of them shows the frames.
    """
    size = 4 * identity.dimension
    whole = [(key, blob) for key, blob in rows if isinstance(blob, bytes) and len(blob) == size]
    keys = np.array([key for key, _ in whole], np.int64)
    vectors = np.frombuffer(b"".join(blob for _, blob in whole), "<f4").reshape(-1, identity.dimension)
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    good = np.abs(lengths - 1.0) < _UNIT_WITHIN  # NaN is near nothing
    return keys[good], vectors[good].astype(np.float32)


def is_unit(vector: Vectors, dimension: int) -> bool:
    """Whether it can stand in an index: finite, of that many numbers, of length 1."""
    if vector.shape != (dimension,):
        return False
    length = float(np.linalg.norm(vector))
    return bool(abs(length - 1.0) < _UNIT_WITHIN)  # NaN is near nothing


def blob_of(vector: Vectors) -> bytes:
    return np.ascontiguousarray(vector, "<f4").tobytes()


def values_of(memory: Memory) -> tuple[object, ...]:
    return (
        *(
            memory.id,
            memory.added_at,
            *map(_clean, (memory.theme, memory.prompt, memory.negative)),
            str(memory.seed),
        ),
        *(json.dumps(memory.parents), memory.denoise, memory.score, memory.shows_prompt, memory.origin.value),
        *(int(memory.pinned), memory.times_shown, memory.last_shown_at, memory.picture, memory.latent),
        *(memory.width, memory.height, identity_text(memory.identity)),
    )


def memory_from(row: Sequence[object]) -> Memory | None:
    """None where a row makes no sense: a stranger's hand, or a disk that lost bits, brings that about."""
    facts = facts_from(row)
    return Memory(**facts) if len(facts) == len(_READERS) else None


def facts_from(row: Sequence[object]) -> dict[str, Any]:
    """What of a row makes sense, by the names of :class:`Memory`.

    A row may hold anything in any column: a blob, text where a number should be, text that is not UTF-8
    (which the database hands out as bytes).
    """
    facts: dict[str, Any] = {}
    for (name, read), value in zip(_READERS.items(), row, strict=True):
        try:
            facts[name] = read(value)
        except (ValueError, TypeError, RecursionError):
            continue
    return facts


def bytes_from(value: object) -> int:
    """Bytes that a row says that it takes; none where that makes no sense."""
    return value if isinstance(value, int) and 0 <= value <= MOST_ROW_BYTES else 0


def number_from(value: object, otherwise: float) -> float:
    """A number of a row; ``otherwise`` where it is none."""
    return value if isinstance(value, float) and math.isfinite(value) else otherwise


def text_from(data: bytes) -> str | bytes:
    """Text as SQLite holds it; what is not UTF-8 stays bytes, which no reader of a row takes for text."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: object) -> float:
    if not isinstance(value, float) or not math.isfinite(value):
        raise TypeError
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise TypeError
    return value


def _moment(value: object) -> str:
    if datetime.fromisoformat(_text(value)).tzinfo is None:
        raise ValueError
    return _text(value)


def _seed(value: object) -> int:
    seed = int(_text(value))
    if not 0 <= seed < 2**64:
        raise ValueError
    return seed


def _parents(value: object) -> tuple[str, ...]:
    parents = json.loads(_text(value))
    if not isinstance(parents, list):
        raise TypeError
    return tuple(map(_text, parents))


def _pinned(value: object) -> bool:
    if value not in (0, 1):
        raise ValueError
    return bool(value)


def _identity(value: object) -> Identity | None:
    if value == "":
        return None
    name, version, dimension = json.loads(_text(value))
    return Identity(_text(name), _text(version), _count(dimension))


def _or_none(read: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: None if value is None else read(value)


_READERS: dict[str, Callable[[object], Any]] = {
    "id": _text,
    "added_at": _moment,
    "theme": _text,
    "prompt": _text,
    "negative": _text,
    "seed": _seed,
    "parents": _parents,
    "denoise": _number,
    "score": _number,
    "shows_prompt": _or_none(_number),
    "origin": lambda value: Origin(_text(value)),
    "pinned": _pinned,
    "times_shown": _count,
    "last_shown_at": _or_none(_moment),
    "picture": _text,
    "latent": _or_none(_text),
    "width": _count,
    "height": _count,
    "identity": _identity,
}
FIELDS = ", ".join(_READERS)
"""The columns that a :class:`Memory` is made of, in the order of its attributes."""


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
