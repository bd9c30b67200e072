"""What flows through an IMAGE link: pictures that are kept as PNG, since most are only passed on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from backend.engine import png
from backend.engine.painting import Pixels

_ENCODES_AHEAD = 4
"""Painted pictures that may wait for the encoder: keeps a batch of hundreds out of memory."""


class Picture:
    """One picture; PNG loses nothing, so its pixels can be had again at any time."""

    def __init__(self, data: bytes) -> None:
        self.png = data

    @classmethod
    def of(cls, pixels: Pixels) -> Picture:
        return cls(png.encode(pixels))

    def pixels(self) -> Pixels:
        """uint8 ``[height, width, 3]``."""
        return png.decode(self.png)


def encode_all(painted: Iterable[Pixels]) -> tuple[Picture, ...]:
    """Encodes each picture on a second thread while the next is painted; keeps their order."""
    finished: list[Picture] = []
    running: deque[Future[Picture]] = deque()
    with ThreadPoolExecutor(1, "png") as encoder:
        for pixels in painted:
            running.append(encoder.submit(Picture.of, pixels))
            if len(running) > _ENCODES_AHEAD:
                finished.append(running.popleft().result())
        finished.extend(future.result() for future in running)
    return tuple(finished)
