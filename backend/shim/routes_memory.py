"""What is remembered: pages of it from the daemon, its pictures from the memory's folder."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from backend.shim.answers import Code, ErrorAnswer, RefusedError, json_answer, picture_answer
from backend.shim.daemon import Daemon
from backend.shim.memory_files import MemoryFiles
from backend.utils.picture_formats import FORMATS

_IMMUTABLE = "private, max-age=86400, immutable"
_REFUSED: dict[int | str, dict[str, Any]] = {409: {"model": ErrorAnswer}, 503: {"model": ErrorAnswer}}
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {format.media_type: {} for format in FORMATS.values()}, "description": "the picture"},
    206: {"description": "a part of it"},
    304: {"description": "nothing new"},
    404: {"model": ErrorAnswer},
    416: {"model": ErrorAnswer},
}


def memory_routes(daemon: Daemon, files: MemoryFiles) -> APIRouter:
    """Everything that shows memories."""
    router = APIRouter(tags=["memory"])

    @router.get("/api/memory", responses=_REFUSED)
    async def memory(
        offset: Annotated[int, Query(ge=0, le=10**7)] = 0,
        limit: Annotated[int, Query(ge=1, le=100)] = 40,
        order: Annotated[Literal["newest", "oldest", "beauty", "shown"], Query()] = "newest",
        theme: Annotated[str, Query(max_length=60, description="only of this theme")] = "",
        words: Annotated[
            str, Query(max_length=200, description="most like these words first, where CLIP judges")
        ] = "",
    ) -> Response:
        """A page of memories."""
        asked = {"offset": offset, "limit": limit, "order": order, "theme": theme, "words": words}
        return json_answer(await daemon.ask("memory", action="ls", **asked))

    @router.get("/api/memory/{memory_id}", responses=_REFUSED)
    async def one(memory_id: Annotated[str, Path(pattern=r"^[0-9a-f]{4,64}$")]) -> Response:
        """All that is known of one memory."""
        return json_answer(await daemon.ask("memory", action="show", id=memory_id))

    @router.get("/api/images/{memory_id}", response_class=Response, responses=_PICTURE)
    async def image(
        request: Request,
        memory_id: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")],
        width: Annotated[int | None, Query(ge=64, le=1024, description="pixels; a smaller copy")] = None,
    ) -> Response:
        """A remembered picture, with its workflow in it; with `width` a small copy for galleries."""
        picture = await asyncio.to_thread(files.picture, memory_id, width)
        if picture is None:
            raise RefusedError(404, Code.NOT_FOUND, "there is no such memory (any more)")
        return picture_answer(request, picture, _IMMUTABLE)

    return router
