"""The pictures: the newest, any kept one by its number, and a stream for players that know MJPEG."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse

from backend.shim.answers import Code, ErrorAnswer, RefusedError, picture_answer
from backend.shim.frame_files import MAX_SEQUENCE, FrameFiles, Picture
from backend.shim.status_feed import StatusFeed
from backend.shim.viewers import Viewers
from backend.utils.picture_formats import FORMATS

_BOUNDARY = "dreamloop-frame"
_IDLE_S = 5.0
_IMMUTABLE = "public, max-age=86400, immutable"
_FRESH = "no-cache"

_PICTURES = {
    200: {"content": {format.media_type: {} for format in FORMATS.values()}, "description": "the picture"},
    206: {"description": "a part of it"},
    304: {"description": "nothing new"},
    404: {"model": ErrorAnswer},
    416: {"model": ErrorAnswer},
}


def frame_routes(feed: StatusFeed, frames: FrameFiles, viewers: Viewers) -> APIRouter:
    """Everything that shows pictures."""
    router = APIRouter(tags=["frames"])

    @router.get("/api/frame/current", response_class=Response, responses=_PICTURES)  # type: ignore[arg-type]
    async def current(request: Request) -> Response:
        """The picture of this moment."""
        picture = await asyncio.to_thread(_newest, feed, frames)
        if picture is None:
            raise RefusedError(404, Code.NOT_FOUND, "no picture has been shown yet")
        return picture_answer(request, picture, _FRESH)

    @router.get("/api/frames/{sequence}", response_class=Response, responses=_PICTURES)  # type: ignore[arg-type]
    async def frame(
        request: Request, sequence: Annotated[int, Path(gt=0, lt=MAX_SEQUENCE, examples=[123])]
    ) -> Response:
        """A shown frame; it never changes, and is kept for `display.keep_seconds`."""
        picture = await asyncio.to_thread(frames.frame, sequence)
        if picture is None:
            raise RefusedError(404, Code.NOT_FOUND, f"frame {sequence} is not kept (any more)")
        return picture_answer(request, picture, _IMMUTABLE)

    @router.get("/stream.mjpg", response_class=StreamingResponse)
    async def stream() -> StreamingResponse:
        """Every new frame as a JPEG; a slow player misses frames instead of falling behind."""
        media_type = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        return viewers.stream("MJPEG viewers", _parts(feed, frames), media_type)

    return router


def _newest(feed: StatusFeed, frames: FrameFiles) -> Picture | None:
    newest = feed.newest
    shown = None if newest is None else frames.frame(newest.frame_sequence)
    return shown or frames.current()


async def _parts(feed: StatusFeed, frames: FrameFiles) -> AsyncIterator[bytes]:
    tag, sent = "", -1
    yield f"--{_BOUNDARY}\r\n".encode()
    while True:
        newest = await feed.after(tag, _IDLE_S)
        if newest is not None:
            tag = newest.tag
        sequence = 0 if feed.newest is None else feed.newest.frame_sequence
        # The same one again now and then: players take a silent stream for a dead one.
        if sequence == sent and newest is not None:
            continue
        picture = await asyncio.to_thread(frames.jpeg, sequence)
        if picture is None:
            continue
        sent = sequence
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture.data)}\r\n\r\n"
        # The boundary behind it at once: players show a part when they have seen its end.
        yield head.encode() + picture.data + f"\r\n--{_BOUNDARY}\r\n".encode()
