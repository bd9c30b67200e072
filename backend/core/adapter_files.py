"""The adapters that the settings wish for, with their pictures brought to the server."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from backend.config_lists import AdapterWish
from backend.core.adapters import (
    Adapter,
    ClipSkip,
    ControlNet,
    Detail,
    Inpaint,
    Lora,
    Outpaint,
    SeparateVae,
    Shift,
    SpeedUp,
    TiledVae,
    UpscaleModel,
)
from backend.core.jobs import FileRef
from backend.errors import StorageError
from backend.utils.picture_colours import rgb_of

_MAX_PIXELS = 64_000_000


def adapters_of(
    wishes: Sequence[AdapterWish], upload: Callable[[bytes, int], FileRef]
) -> tuple[Adapter, ...]:
    """Adapters in the order of the wishes.

    Args:
        wishes: ``dream.adapters``.
        upload: Brings a PNG to the server; its second argument numbers the pictures from 0.

    Raises:
        StorageError: A picture cannot be read.
        EngineError: A picture cannot be brought to the server.
        ValueError: Values that do not go together, e.g. a ControlNet that ends before it starts.
    """
    pictures: list[Path] = []

    def bring(path: object) -> FileRef:
        assert isinstance(path, Path)  # noqa: S101 - the settings have seen to it
        pictures.append(path)
        return upload(_as_png(path), len(pictures) - 1)

    return tuple(_adapter(wish, bring) for wish in wishes)


def _adapter(wish: AdapterWish, bring: Callable[[object], FileRef]) -> Adapter:
    given: dict[str, Any] = dict(wish.options)
    value: Any = wish.value
    match wish.kind:
        case "lora":
            return Lora(value, **given)
        case "clip_skip":
            return ClipSkip(int(value))
        case "vae":
            return SeparateVae(value)
        case "tiled_vae":
            return TiledVae(int(value), **_renamed(given, overlap="overlap_px"))
        case "shift":
            return Shift(value)
        case "speed_up":
            return SpeedUp(value)
        case "controlnet":
            return ControlNet(value, bring(given.pop("image")), **given)
        case "inpaint":
            return Inpaint(bring(value), **given)
        case "outpaint":
            side = int(value)
            return Outpaint(side, side, side, side, **_renamed(given, feather="feather_px"))
        case "upscale":
            return UpscaleModel(value)
        case "detail":
            return Detail(value, **given)
    raise ValueError(f"no adapter of the kind {wish.kind!r}")


def _renamed(given: dict[str, Any], **names: str) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in given.items()}


def _as_png(path: Path) -> bytes:
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > _MAX_PIXELS:
                raise StorageError(path, OSError(None, f"more than {_MAX_PIXELS} pixels"))
            file = io.BytesIO()
            rgb_of(picture).save(file, "PNG")
            return file.getvalue()
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise StorageError(path, OSError(None, f"not a picture that can be read ({error})")) from error
