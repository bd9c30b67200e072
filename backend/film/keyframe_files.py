"""Recorded keyframes on disk: a latent each, with what the dream knew of it, in one immutable file.

``<sequence>-<milliseconds since 1970>-<milliseconds of its gap>.latent``: the name tells when it arrived and
how long its gap was expected to take; how it was shown is noted beside it (showings.py), and the rest stands
in the file's header. The files are latents as ComfyUI's LoadLatent reads them, in half precision, which
halves them and is below what eight bits a colour can show.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.errors import LatentRejected, StorageError
from backend.utils.file_ops import read_at_most

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "keyframes"
"""In the output folder."""

_NAME = re.compile(r"(\d{9,18})-(\d{1,15})-(\d{1,9})\.latent")
_HEADER = "dreamloop"
_MAX_BYTES = 256_000_000
_MAX_HEADER_BYTES = 64_000
_MAX_TEXT = 4000


@dataclass(frozen=True)
class KeyframeFile:
    """A recorded keyframe, as its name tells it.

    Attributes:
        sequence: Grows by one with each recorded keyframe, over restarts too.
        at: When it arrived, or, where that is known, when it was shown; seconds since 1970.
        gap_s: Seconds of dream that lead up to it: as expected when it arrived, or as they were shown.
        was_shown: Whether the seconds are those that were shown.
        course: Where on the walk up to it the dream was when, as shares of the seconds and of the walk,
            without the ends; empty where that is not known.
    """

    path: Path
    sequence: int
    at: float
    gap_s: float
    was_shown: bool = False
    course: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Told:
    """What a recorded keyframe says of itself.

    Attributes:
        family: Line of model families whose latents these are; others decode them to noise.
        walks: Whether the dream walked to it from the one before; else it was a beginning, or a still.
    """

    theme: str
    prompt: str
    negative: str
    seed: int
    denoise: float
    family: str
    model: str
    walks: bool


def file_name(sequence: int, at: float, gap_s: float) -> str:
    """The name of a recorded keyframe."""
    return f"{sequence:09d}-{max(0, round(at * 1000)):013d}-{max(1, round(gap_s * 1000)):06d}.latent"


def parsed_name(path: Path) -> KeyframeFile | None:
    """What a name tells; None if it is not one of ours."""
    found = _NAME.fullmatch(path.name)
    if found is None:
        return None
    return KeyframeFile(path, int(found[1]), int(found[2]) / 1000, int(found[3]) / 1000)


def list_keyframes(folder: Path) -> list[KeyframeFile]:
    """All recorded keyframes of a folder, oldest first; none where there is no folder.

    Raises:
        StorageError: The folder cannot be read.
    """
    try:
        found = [one for path in folder.iterdir() if (one := parsed_name(path)) is not None]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(folder, error) from error
    return sorted(found, key=lambda one: one.sequence)


def keyframe_bytes(latent: Tensor, told: Told) -> bytes:
    """The content of a recorded keyframe.

    Args:
        latent: Shape ``[1, C, h, w]`` or ``[1, C, 1, h, w]``, finite.
        told: What is known of it; long texts are cut.
    """
    import torch
    from safetensors.torch import save

    half = latent.detach().to(device="cpu", dtype=torch.float16).contiguous()
    if not bool(torch.isfinite(half).all()):  # beyond 65504: no model's, but not to be spoilt either
        half = latent.detach().to(device="cpu", dtype=torch.float32).contiguous()
    known = {
        key: value[:_MAX_TEXT] if isinstance(value, str) else value for key, value in asdict(told).items()
    }
    return save(
        {"latent_tensor": half, "latent_format_version_0": torch.tensor([])},
        metadata={_HEADER: json.dumps(known)},
    )


def read_keyframe(path: Path) -> tuple[Tensor, Told]:
    """The latent, float32, and what is told of it.

    Raises:
        StorageError: It cannot be read, or is gone.
        LatentRejected: It is broken.
    """
    from backend.interpolation.latent_encoder import read_latents

    try:
        data = read_at_most(path, _MAX_BYTES)
    except OSError as error:
        raise StorageError(path, error) from error
    return read_latents(data), _told(data)[0]


def read_told(path: Path) -> tuple[Told, tuple[int, ...]]:
    """What is told of a latent, and its shape; the latent itself is not read.

    Raises:
        StorageError: It cannot be read, or is gone.
        LatentRejected: It is broken.
    """
    try:
        return _told(read_at_most(path, _MAX_HEADER_BYTES + 7))
    except OSError as error:
        raise StorageError(path, error) from error


def _told(data: bytes) -> tuple[Told, tuple[int, ...]]:
    """From the header of a safetensors file: eight bytes of length, then JSON."""
    length = int.from_bytes(data[:8], "little")
    try:
        if length > _MAX_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(data[8 : 8 + length])
        known = json.loads(header["__metadata__"][_HEADER])
        shape = tuple(int(side) for side in header["latent_tensor"]["shape"])
        return Told(**dict(_typed(known))), shape
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LatentRejected(f"a recorded keyframe tells nothing of itself: {error}") from None


def _typed(known: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in ("theme", "prompt", "negative", "family", "model"):
        yield key, str(known[key])
    yield "seed", int(known["seed"])
    yield "denoise", float(known["denoise"])
    yield "walks", bool(known["walks"])
