"""The parts of FakeComfy that misbehave on request: HTTP, WebSocket, painter."""

from __future__ import annotations

import asyncio
import fnmatch
import io
import json
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from aiohttp import web
from PIL import Image

from backend.engine.messages import PictureType
from backend.engine.node_type import NodeCall, NodeResult, NodeType
from backend.engine.painting import Conditioning, Latent, OnStep, Painter, Pixels
from backend.engine.sockets import Connection, SocketHub

KEPT = 20_000


@dataclass(frozen=True)
class Request:
    """One HTTP request as it came in; ``path`` without the ``/api`` prefix (but for ``/api/jobs``)."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes
    at_s: float

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class HttpFault:
    """What happens to the requests that match.

    Attributes:
        times: How often (None: always), after ``skip`` matching requests that are left alone.
        when: A further condition on the request.
        delay_s: Wait before the request is handled.
        late_s: Handle it, then wait before the answer.
        stall: Never answer; it is not handled either.
        close: "before": cut the connection without handling; "after": handle it, then cut (answer lost).
        status: Answer with this, unhandled.
        body: ... and with this body (200 if no status is given); str, bytes or chunks of bytes.
        truncate: Handle it, promise the whole body, send this part of it (0 to 1), cut.
        rewrite: Handle it, change the JSON answer.
    """

    method: str
    path: str
    times: int | None = None
    skip: int = 0
    when: Callable[[Request], bool] = lambda _: True
    delay_s: float = 0.0
    late_s: float = 0.0
    stall: bool = False
    close: str = ""
    status: int | None = None
    body: str | bytes | Iterable[bytes] | None = None
    truncate: float | None = None
    rewrite: Callable[[Any], Any] | None = None
    hits: int = 0

    def takes(self, request: Request) -> bool:
        """Whether this request is to be disturbed; counts it."""
        if self.method not in ("*", request.method) or not fnmatch.fnmatchcase(request.path, self.path):
            return False
        if not self.when(request):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


class FaultyHttp:
    """A middleware that records every request and lets faults have their way."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque(maxlen=KEPT)
        self.faults: list[HttpFault] = []

    def middleware(self) -> Any:
        @web.middleware
        async def disturb(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            recorded = await self._record(request)
            for fault in self.faults:
                if fault.takes(recorded):
                    return await self._apply(fault, request, handler)
            return await handler(request)

        return disturb

    async def _record(self, request: web.Request) -> Request:
        path = request.path
        if path.startswith("/api/") and not path.startswith("/api/jobs"):
            path = path.removeprefix("/api")
        is_upload = request.content_type.startswith("multipart/")
        body = b"" if is_upload or path == "/ws" else await request.read()
        recorded = Request(request.method, path, dict(request.query), body, time.monotonic())
        self.requests.append(recorded)
        return recorded

    async def _apply(
        self,
        fault: HttpFault,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        await asyncio.sleep(fault.delay_s)
        if fault.stall:
            await asyncio.Event().wait()
        if fault.close == "before":
            return _cut(request)
        if fault.status is not None or fault.body is not None:
            return await _instead(fault, request)
        response = await handler(request)
        await asyncio.sleep(fault.late_s)
        if fault.close == "after":
            return _cut(request)
        if fault.truncate is not None:
            return await _truncated(request, response, fault.truncate)
        if fault.rewrite is not None:
            return web.json_response(fault.rewrite(json.loads(_body(response))), status=response.status)
        return response


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _instead(fault: HttpFault, request: web.Request) -> web.StreamResponse:
    status = fault.status or 200
    if fault.body is None or isinstance(fault.body, str | bytes):
        body = fault.body.encode() if isinstance(fault.body, str) else fault.body
        return web.Response(status=status, body=body, content_type="application/json")
    response = web.StreamResponse(status=status)
    await response.prepare(request)
    try:
        for chunk in fault.body:
            await response.write(chunk)
    except ConnectionError:
        pass  # the client has heard enough
    return response


async def _truncated(request: web.Request, response: web.StreamResponse, part: float) -> web.StreamResponse:
    body = _body(response)
    cut = web.StreamResponse(status=response.status, headers={"Content-Length": str(len(body))})
    await cut.prepare(request)
    await cut.write(body[: int(len(body) * part)])
    return _cut(request)


def _body(response: web.StreamResponse) -> bytes:
    if isinstance(response, web.FileResponse):
        return response._path.read_bytes()
    assert isinstance(response, web.Response)
    assert isinstance(response.body, bytes)
    return response.body


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
        def slow(done: int, total: int) -> None:
            if self.step_s:
                time.sleep(self.step_s)
            on_step(done, total)

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


def with_previews(node: NodeType) -> NodeType:
    """The same node, but each of its steps shows a JPEG."""
    buffer = io.BytesIO()
    Image.new("RGB", (512, 512), (90, 120, 150)).save(buffer, "JPEG", quality=95)

    def work(call: NodeCall) -> NodeResult:
        def on_progress(
            value: int, total: int, image: bytes | None = None, kind: PictureType = PictureType.JPEG
        ) -> None:
            call.on_progress(value, total, image or buffer.getvalue(), kind)

        return node.work(replace(call, on_progress=on_progress))

    return replace(node, work=work)
