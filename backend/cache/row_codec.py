"""Memories and vectors as they stand in the database, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.cache.matching import Identity, Vectors
from backend.cache.memory_row import Memory, Origin

_UNIT_WITHIN = 1e-3

FIELDS = (
    "id, added_at, theme, prompt, negative, seed, parents, denoise, score, shows_prompt, origin, pinned, "
    "times_shown, last_shown_at, picture, latent, width, height, identity"
)


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


def memory_from(row: Sequence[Any]) -> Memory | None:
    """None where a row makes no sense, which only a stranger's hand in the database can bring about."""
    try:
        identity = Identity(*json.loads(row[18])) if row[18] else None
        return Memory(
            id=str(row[0]),
            added_at=str(row[1]),
            theme=str(row[2]),
            prompt=str(row[3]),
            negative=str(row[4]),
            seed=int(row[5]),
            parents=tuple(str(parent) for parent in json.loads(row[6])),
            denoise=float(row[7]),
            score=float(row[8]),
            shows_prompt=None if row[9] is None else float(row[9]),
            origin=Origin(row[10]),
            pinned=bool(row[11]),
            times_shown=int(row[12]),
            last_shown_at=row[13],
            picture=str(row[14]),
            latent=row[15],
            width=int(row[16]),
            height=int(row[17]),
            identity=identity,
        )
    except (ValueError, TypeError):
        return None


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
