"""What the dream is doing: status, events, progress, health."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.shim.answers import Code, ErrorAnswer, RefusedError, json_answer, matches
from backend.shim.status_feed import Snapshot, StatusFeed
from backend.shim.viewers import Viewers
from backend.utils.metrics import CONTENT_TYPE, metrics_of
from backend.utils.status_schema import Status

LONGEST_WAIT_S = 30.0
_HEARTBEAT_S = 10.0
_STATUS_EVERY_S = 0.5


class Progress(BaseModel):
    """How far the picture that is being made has come, in the words of older front ends."""

    percent: int = Field(ge=0, le=100, description="of the buffer that is filled; 100 while enough is ready")
    status: str = Field(description="state of the dream", examples=["dreaming"])
    message: str = Field(description="why, for people", examples=["all is well"])
    job_id: str | None = Field(description="number of the newest keyframe, null before the first")


def status_routes(feed: StatusFeed, viewers: Viewers) -> APIRouter:
    """Everything that only reads the status."""
    router = APIRouter(tags=["status"])

    @router.get(
        "/api/status",
        response_model=Status,
        responses={304: {"description": "nothing new"}, 503: {"model": ErrorAnswer}},
    )
    async def status(
        request: Request,
        after: Annotated[
            int | None, Query(ge=0, le=2**53, description="wait for a status of another sequence than this")
        ] = None,
        wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT_S, description="seconds to wait at most")] = 25.0,
    ) -> Response:
        """The newest status; with `after`, as soon as there is a newer one."""
        newest = _there(feed)
        if after is not None and newest.sequence == after:
            with viewers.admit("long polls"):
                newest = await feed.after(newest.tag, wait) or newest
        tag = f'"{newest.tag}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if matches(request, tag):
            return Response(status_code=304, headers=headers)
        return Response(newest.text, headers=headers, media_type="application/json")

    @router.get("/api/events", response_class=StreamingResponse)
    async def events() -> StreamingResponse:
        """Server-sent events: `frame` for each shown frame, `status` about twice a second."""
        return viewers.stream("event streams", _events(feed), "text/event-stream")

    @router.get("/queue/progress", response_model=Progress)
    async def progress() -> Response:
        """How much of the dream is ready, for front ends that show a bar."""
        return json_answer(_progress(feed))

    @router.get("/metrics", response_class=Response, responses={503: {"model": ErrorAnswer}})
    async def metrics() -> Response:
        """Everything that is counted, in Prometheus' text format."""
        newest = _there(feed)
        told = metrics_of(newest.status, age_s=feed.age_s, wall=datetime.now(UTC))
        return Response(told, media_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})

    @router.get("/livez")
    async def live() -> Response:
        """Whether this HTTP face answers; the dream behind it is another matter."""
        return json_answer({"status": "ok"})

    @router.get("/readyz", responses={503: {"model": ErrorAnswer}})
    async def ready() -> Response:
        """Whether a display has something fresh to show."""
        if not feed.fresh:
            raise RefusedError(503, Code.NO_DAEMON, "no fresh status: Dreamloop stalls or is not running")
        return _begun(feed)

    @router.get("/startupz", responses={503: {"model": ErrorAnswer}})
    async def started() -> Response:
        """Whether a first picture has been shown."""
        return _begun(feed)

    return router


class QuickStatus:
    """Answers the plain question for the status before anything is routed: hundreds of displays poll it."""

    def __init__(self, app: ASGIApp, feed: StatusFeed) -> None:
        self._app = app
        self._feed = feed
        self._known: tuple[Snapshot, list[tuple[bytes, bytes]]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        newest = self._feed.newest
        if newest is None or not _asks_plainly(scope):
            await self._app(scope, receive, send)
            return
        if self._known is None or self._known[0] is not newest:
            self._known = newest, _head_of(newest)
        await send({"type": "http.response.start", "status": 200, "headers": list(self._known[1])})
        await send({"type": "http.response.body", "body": newest.text})


def _asks_plainly(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["path"] == "/api/status"
        and scope["method"] == "GET"
        and not scope["query_string"]
        and all(name != b"if-none-match" for name, _ in scope["headers"])
    )


def _head_of(newest: Snapshot) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(newest.text)).encode()),
        (b"etag", f'"{newest.tag}"'.encode()),
        (b"cache-control", b"no-cache"),
    ]


def _begun(feed: StatusFeed) -> Response:
    if feed.newest is None or feed.newest.frame is None:
        raise RefusedError(503, Code.NO_DAEMON, "no picture has been shown yet")
    return json_answer({"status": "ok", "frame": feed.newest.frame_sequence})


def _there(feed: StatusFeed) -> Snapshot:
    if feed.newest is None:
        raise RefusedError(
            503, Code.NO_DAEMON, "there is no status yet: is Dreamloop running?", {"Retry-After": "2"}
        )
    return feed.newest


async def _events(feed: StatusFeed) -> AsyncIterator[bytes]:
    """A reader that is slow gets the newest when it is ready for more, and never a backlog."""
    tag, frame, told_at = "", -1, float("-inf")
    yield b"retry: 1000\n\n"
    while True:
        newest = await feed.after(tag, _HEARTBEAT_S)
        if newest is None:
            yield event("still", {})
            continue
        tag = newest.tag
        now = time.monotonic()
        if newest.frame is not None and newest.frame_sequence != frame:
            frame = newest.frame_sequence
            yield event("frame", {**newest.frame, "pace": newest.status.get("display", {}).get("pace", 1.0)})
        if now - told_at >= _STATUS_EVERY_S:
            told_at = now
            yield b"event: status\ndata: " + newest.text.replace(b"\n", b" ") + b"\n\n"
        await asyncio.sleep(0)


def event(name: str, value: Any) -> bytes:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n".encode()


def _progress(feed: StatusFeed) -> dict[str, Any]:
    if feed.newest is None or not feed.fresh:
        return {"percent": 0, "status": "offline", "message": "Dreamloop is not running", "job_id": None}
    status = feed.newest.status
    display, dream = status.get("display", {}), status.get("dream", {})
    target = float(display.get("buffer_target_seconds") or 0.0)
    share = float(display.get("buffer_seconds") or 0.0) / target if target > 0.0 else 0.0
    keyframes = int(dream.get("keyframes") or 0)
    return {
        "percent": min(100, max(0, round(100 * share))),
        "status": status.get("state", ""),
        "message": status.get("reason", {}).get("sentence", ""),
        "job_id": str(keyframes) if keyframes else None,
    }
