"""HTTP that is recorded and, on request, disturbed."""

from __future__ import annotations

import asyncio
import fnmatch
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

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
        self._stalled: set[asyncio.Event] = set()

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

    async def _stall(self) -> None:
        until = asyncio.Event()
        self._stalled.add(until)
        await until.wait()
        self._stalled.discard(until)

    def let_go(self) -> None:
        """The server dies: stalled requests end with their connections."""
        for until in self._stalled:
            until.set()

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
            await self._stall()
            return _cut(request)
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
