"""Routes around files: upload, view, list."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import mimetypes
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from aiohttp import web
from multidict import MultiDictProxy
from PIL import Image

from backend.engine.core import EngineCore
from backend.engine.files import BadName, Folders, split_annotation, write_whole
from backend.utils.picture_colours import rgb_of

MAX_UPLOAD_BYTES = 104_857_600

_AS_DOWNLOAD = {"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css"}
"""Types that a browser would run: given out as bytes."""


class FileRoutes:
    """Handlers for the three folders."""

    def __init__(self, core: EngineCore) -> None:
        self._folders: Folders = core.workspace.folders

    def table(self) -> list[web.RouteDef]:
        return [
            web.post("/upload/image", self.upload_image),
            web.post("/upload/mask", self.upload_mask),
            web.get("/view", self.view),
            web.get("/internal/files/{folder_type}", self.listing),
        ]

    async def listing(self, request: web.Request) -> web.Response:
        try:
            names = self._folders.listing(request.match_info["folder_type"])
        except KeyError:
            return web.json_response({"error": "Invalid directory type"}, status=400)
        return web.json_response(names)

    async def upload_image(self, request: web.Request) -> web.Response:
        return await self._upload(await request.post(), lambda data: data)

    async def upload_mask(self, request: web.Request) -> web.Response:
        form = await request.post()
        reference = json.loads(str(form["original_ref"]))
        original = self._original(reference)

        def merge(mask: bytes) -> bytes | None:
            return None if original is None else _with_alpha(original, mask)

        return await self._upload(form, merge)

    def _original(self, reference: dict[str, str]) -> Path | None:
        try:
            folder_type = reference.get("type", "output")
            path = self._folders.inside(folder_type, reference.get("subfolder", ""), reference["filename"])
        except BadName:
            return None
        return path if path.is_file() else None

    async def _upload(
        self, form: MultiDictProxy[Any], convert: Callable[[bytes], bytes | None]
    ) -> web.Response:
        part = form.get("image")
        if part is None:
            return web.Response(status=400)
        folder_type, subfolder = str(form.get("type", "input")), str(form.get("subfolder", ""))
        name: str = part.filename
        try:
            path = self._folders.inside(folder_type, subfolder, name)
        except BadName:
            return web.Response(status=400)
        if path.parent != self._folders.inside(folder_type, subfolder):
            raise NotADirectoryError(name)  # ComfyUI makes no folders out of a file name: 500
        overwrite = form.get("overwrite") in ("true", "1")
        data = part.file.read()
        try:
            stored = await asyncio.to_thread(_store, path, data, convert, overwrite=overwrite)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return web.Response(status=507, text=f"{name}: {error.strerror}")
        if overwrite and not data:
            self._folders.emptied(path)
        return web.json_response({"name": stored, "subfolder": subfolder, "type": folder_type})

    async def view(self, request: web.Request) -> web.StreamResponse:
        if "filename" not in request.query:
            return web.Response(status=404)
        name, annotated_type = split_annotation(request.query["filename"])
        if not name or name.startswith("/") or ".." in name:
            return web.Response(status=400)
        folder_type = annotated_type or request.query.get("type", "output")
        try:
            folder = self._folders.inside(folder_type, request.query.get("subfolder", ""))
            path = self._folders.inside(folder_type, str(folder), PurePosixPath(name).name)
        except KeyError:
            return web.Response(status=400)
        except BadName:
            return web.Response(status=403)
        if not path.is_file():
            return web.Response(status=404)
        return await _shown(path, request)


def _store(path: Path, data: bytes, convert: Callable[[bytes], bytes | None], *, overwrite: bool) -> str:
    """Writes an upload under its name or, where that is taken by something else, the next free one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wanted, count = path, 0
    while not overwrite and path.exists():
        if path.read_bytes() == data:
            return path.name
        count += 1
        path = wanted.with_name(f"{wanted.stem} ({count}){wanted.suffix}")
    converted = convert(data)
    if converted is not None:
        write_whole(path, converted)
    return path.name


def _with_alpha(original: Path, mask: bytes) -> bytes:
    """The original with the mask's alpha, as PNG."""
    with Image.open(original) as picture, Image.open(io.BytesIO(mask)) as given:
        merged = picture.convert("RGBA")
        merged.putalpha(given.convert("RGBA").getchannel("A").resize(merged.size))
        return _saved(merged, "PNG")


async def _shown(path: Path, request: web.Request) -> web.StreamResponse:
    headers = {"Content-Disposition": f'filename="{path.name}"', "X-Content-Type-Options": "nosniff"}
    channel = request.query.get("channel", "rgba")
    if "preview" in request.query:
        body, mime = await asyncio.to_thread(_preview, path, request.query["preview"], channel)
        return web.Response(body=body, content_type=mime, headers=headers)
    if channel in ("rgb", "a"):
        body = await asyncio.to_thread(_channel, path, channel)
        return web.Response(body=body, content_type="image/png", headers=headers)
    mime = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    headers["Content-Type"] = "application/octet-stream" if mime in _AS_DOWNLOAD else mime
    return web.FileResponse(path, headers=headers)


def _preview(path: Path, wish: str, channel: str) -> tuple[bytes, str]:
    """The picture as WebP or JPEG of the wished quality, ``webp;50``."""
    name, *_, quality = wish.split(";") if ";" in wish else (wish, "90")
    kind = name if name in ("webp", "jpeg") and "a" not in channel.replace("rgba", "") else "webp"
    with Image.open(path) as image:
        picture = rgb_of(image) if kind == "jpeg" or channel == "rgb" else image
        return _saved(picture, kind, quality=int(quality) if quality.isdigit() else 90), f"image/{kind}"


def _channel(path: Path, channel: str) -> bytes:
    with Image.open(path) as image:
        if channel == "rgb":
            return _saved(rgb_of(image), "PNG")
        transparent = Image.new("RGBA", image.size)
        transparent.putalpha(image.convert("RGBA").getchannel("A"))
        return _saved(transparent, "PNG")


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()
