"""The parts of FakeComfy that misbehave on request: WebSockets, painter. HTTP: faulty_http.py."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backend.engine.painting import Conditioning, Latent, OnStep, Painter, Pixels, Window
from backend.engine.sockets import Connection, SocketHub

KEPT = 20_000


@dataclass
class Socket:
    """One WebSocket connection as it was seen; binary messages are kept by kind only."""

    client_id: str
    opened_at_s: float
    closed_at_s: float | None = None
    sent: list[tuple[str, Any]] = field(default_factory=list)


class FaultyHub(SocketHub):
    """Records what is sent, and may lose it.

    Attributes:
        muted: Nothing is sent at all; connections stay open and answer pings.
        drop: Loses a message where ``drop(kind, data)`` says so; pictures have the kind "picture" and the
            frame's bytes as data.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sockets: deque[Socket] = deque(maxlen=KEPT)
        self.muted = False
        self.drop: Callable[[str, Any], bool] = lambda _kind, _data: False
        self._seen: dict[Connection, Socket] = {}

    def add(self, connection: Connection) -> None:
        socket = Socket(connection.client_id, time.monotonic())
        self._seen[connection] = socket
        self.sockets.append(socket)
        super().add(connection)

    def remove(self, connection: Connection) -> None:
        super().remove(connection)
        self._seen.pop(connection).closed_at_s = time.monotonic()

    def tell_one(self, connection: Connection, kind: str, message: str) -> None:
        data = json.loads(message)["data"]
        if self._passes(connection, kind, data):
            super().tell_one(connection, kind, message)

    async def show_one(self, connection: Connection, frame: bytes) -> None:
        if self._passes(connection, "picture", frame):
            await super().show_one(connection, frame)

    def _passes(self, connection: Connection, kind: str, data: Any) -> bool:
        if self.muted or self.drop(kind, data):
            return False
        seen = self._seen.get(connection)
        if seen is not None and len(seen.sent) < KEPT:
            seen.sent.append((kind, None if kind == "picture" else data))
        return True


class FaultyPainter:
    """Another painter, whose work can be slowed, broken, spoilt or held up.

    Attributes:
        step_s: Seconds that each sampling step takes longer.
        errors: Raised by the next samplings, one each.
        always: Raised by every sampling.
        spoil: What every decoded picture is turned into: "black", "flat", "dark", "nan" (NaN-black but for a
            few pixels); None leaves them as they are.
        hold: While set, sampling hangs: no step, no interrupt.
    """

    def __init__(self, painter: Painter) -> None:
        self._painter = painter
        self.step_s = 0.0
        self.errors: deque[Exception] = deque()
        self.always: Exception | None = None
        self.spoil: str | None = None
        self.samplings = 0
        self._free = threading.Event()
        self._free.set()

    def hold(self) -> None:
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    def text(self, text: str) -> Conditioning:
        return self._painter.text(text)

    def blend(self, parts: Sequence[tuple[Conditioning, float]]) -> Conditioning:
        return self._painter.blend(parts)

    def sample(
        self,
        latent: Latent,
        positive: Conditioning,
        negative: Conditioning,
        *,
        seed: int,
        steps: int,
        cfg: float,
        denoise: float,
        on_step: OnStep,
    ) -> Latent:
        def slow(done: int, total: int, moved: Latent) -> None:
            if self.step_s:
                time.sleep(self.step_s)
            on_step(done, total, moved)

        self.samplings += 1
        self._free.wait()
        if self.errors:
            raise self.errors.popleft()
        if self.always is not None:
            raise self.always
        return self._painter.sample(
            latent, positive, negative, seed=seed, steps=steps, cfg=cfg, denoise=denoise, on_step=slow
        )

    def decode(self, latent: Latent) -> Iterator[Pixels]:
        for pixels in self._painter.decode(latent):
            yield spoilt(pixels, self.spoil)

    def decode_window(self, latent: Latent, window: Window) -> Pixels:
        return spoilt(self._painter.decode_window(latent, window), self.spoil)

    def encode(self, picture: Pixels) -> Latent:
        return self._painter.encode(picture)


def spoilt(pixels: Pixels, how: str | None) -> Pixels:
    """A picture as broken models make them; "dark" is a legitimate one, only dim."""
    if how is None:
        return pixels
    if how == "black":
        return np.zeros_like(pixels)
    if how == "flat":
        return np.full_like(pixels, 127)
    if how == "nan":
        holes = np.zeros_like(pixels)
        holes[:1, : max(1, pixels.shape[1] // 100)] = pixels[:1, : max(1, pixels.shape[1] // 100)]
        return holes
    if how == "dark":
        return pixels // 8
    raise ValueError(f"cannot spoil a picture as {how!r}")


def out_of_memory() -> Exception:
    """What torch raises when a graphics card's memory is full."""
    kind = type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})
    return kind("Allocation on device 0 would exceed allowed memory. (out of memory)")


def illegal_access() -> Exception:
    """What a graphics card says for ever once its context is broken."""
    kind = type("AcceleratorError", (RuntimeError,), {"__module__": "torch"})
    return kind("CUDA error: an illegal memory access was encountered")
