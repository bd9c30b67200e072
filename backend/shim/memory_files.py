"""The memory's pictures as the shim serves them: by id, from the memory's folder, read-only."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from pathlib import Path

from PIL import Image

from backend.shim.frame_files import MEDIA_TYPES, Picture, read_regular
from backend.utils.picture_colours import rgb_of

_MAX_PIXELS = 64_000_000
_KEPT_BYTES = 16_000_000
_QUALITY = 82


class MemoryFiles:
    """Reads pictures; small copies are kept in memory, since a gallery asks for the same ones again.

    Args:
        folder: The memory's folder; None where the dream has no memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._small: OrderedDict[tuple[str, int], Picture] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def picture(self, memory_id: str, width: int | None) -> Picture | None:
        """The picture of an id; None where there is none.

        Args:
            memory_id: 64 hexadecimal digits.
            width: Pixels of a smaller copy, as WebP; None for the picture itself.
        """
        if width is None:
            return self._whole(memory_id)
        key = (memory_id, width)
        with self._lock:
            known = self._small.get(key)
        if known is not None:
            return known
        whole = self._whole(memory_id)
        return None if whole is None else self._keep(key, _smaller(whole.data, width))

    def _whole(self, memory_id: str) -> Picture | None:
        if self._folder is None:
            return None
        shard = self._folder / "pictures" / memory_id[:2]
        for suffix, media_type in MEDIA_TYPES.items():
            data = read_regular(shard / f"{memory_id}{suffix}")
            if data is not None:
                return Picture(data, media_type, memory_id)
        return None

    def _keep(self, key: tuple[str, int], picture: Picture) -> Picture:
        with self._lock:
            self._small[key] = picture
            self._bytes += len(picture.data)
            while self._bytes > _KEPT_BYTES:
                _, gone = self._small.popitem(last=False)
                self._bytes -= len(gone.data)
        return picture


def _smaller(data: bytes, width: int) -> Picture:
    with Image.open(io.BytesIO(data)) as opened:
        if opened.width * opened.height > _MAX_PIXELS:
            raise ValueError(f"a memory of {opened.width}x{opened.height} px is too large to make small")
        opened.draft("RGB", (width, width))
        image = rgb_of(opened)
    image.thumbnail((width, width), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_QUALITY, method=2)
    small = file.getvalue()
    return Picture(small, "image/webp", hashlib.sha256(small).hexdigest())
