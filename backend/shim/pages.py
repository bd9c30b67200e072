"""The pages and what they are made of: a fixed set of files, read once, never a path from outside."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response

from backend.shim.answers import Code, RefusedError, matches

FOLDER = Path(__file__).resolve().parent / "web"
_TYPES = {".js": "text/javascript", ".webmanifest": "application/manifest+json", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class _Page:
    data: bytes
    media_type: str
    tag: str


def page_routes(folder: Path = FOLDER) -> APIRouter:
    """``/`` for displays, ``/studio`` for whoever looks after them."""
    router = APIRouter(include_in_schema=False)
    files = {str(path.relative_to(folder)): _page(path) for path in folder.rglob("*") if path.is_file()}

    def answer(request: Request, name: str) -> Response:
        page = files.get(name)
        if page is None:
            raise RefusedError(404, Code.NOT_FOUND, "there is no such page")
        headers = {"ETag": page.tag, "Cache-Control": "no-cache"}
        if matches(request, page.tag):
            return Response(status_code=304, headers=headers)
        return Response(page.data, headers=headers, media_type=page.media_type)

    def page_of(name: str) -> Callable[[Request], Awaitable[Response]]:
        async def page(request: Request) -> Response:
            return answer(request, name)

        return page

    for path, name in {
        "/": "display.html",
        "/studio": "studio.html",
        "/manifest.webmanifest": "manifest.webmanifest",
        "/service-worker.js": "service-worker.js",
        "/favicon.ico": "icons/icon-32.png",
    }.items():
        router.add_api_route(path, page_of(name), methods=["GET"])

    @router.get("/web/{name:path}")
    async def file(request: Request, name: str) -> Response:
        return answer(request, name)

    return router


def _page(path: Path) -> _Page:
    data = path.read_bytes()
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _Page(data, media_type, f'"{hashlib.sha256(data).hexdigest()[:32]}"')
