"""Pictures of somebody's own, to be dreamt toward: looked at hard before anything is done with them."""

from __future__ import annotations

import asyncio
import io
import secrets
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from PIL import Image

from backend.shim.answers import Code, ErrorAnswer, RefusedError, json_answer
from backend.shim.daemon import Daemon
from backend.utils.file_ops import write_atomic
from backend.utils.picture_colours import rgb_of

MAX_PIXELS = 40_000_000
_FOLDER = "uploads"
_TYPES = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
_AT_A_TIME = 2
_BODY_S = 30.0
_TASK_S = 60.0
_LOOK_S = 0.2
_LONGEST_SIDE = 4096
_REFUSED: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (401, 403, 408, 409, 413, 415, 422, 429, 503)
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _TYPES},
    }
}


def seed_routes(daemon: Daemon, status: Path) -> APIRouter:
    """One route: a picture comes in, and is remembered as a seed."""
    router = APIRouter(tags=["memory"])
    room = asyncio.Semaphore(_AT_A_TIME)

    @router.post("/api/memory/seeds", responses=_REFUSED, openapi_extra=_BODY)
    async def add(request: Request) -> Response:
        """Give the dream a picture of your own: PNG, JPEG or WebP, as the body of the request."""
        wanted = _TYPES.get(request.headers.get("content-type", "").split(";")[0].strip().lower())
        if wanted is None:
            raise RefusedError(415, Code.UNSUPPORTED, f"one of {', '.join(_TYPES)}")
        if room.locked():
            raise RefusedError(429, Code.BUSY, "other pictures are being looked at", {"Retry-After": "5"})
        async with room:
            data = await _body(request)
            picture = await asyncio.to_thread(clean_picture, data, wanted)
            return json_answer({"status": "ok", **await _hand_over(daemon, status, picture)})

    return router


async def _body(request: Request) -> bytes:
    try:
        async with asyncio.timeout(_BODY_S):
            return await request.body()
    except TimeoutError:
        raise RefusedError(408, Code.BAD_REQUEST, f"the picture within {_BODY_S:.0f} s") from None


def clean_picture(data: bytes, wanted: str) -> bytes:
    """The pixels of a picture and nothing else of it, as PNG.

    Whatever else the file holds (texts, profiles, another file behind its end) does not come along.

    Args:
        data: The file.
        wanted: The format that it claims to have, as Pillow calls it.

    Raises:
        RefusedError: It is no such picture, or has too many pixels, which is seen before any is decoded.
    """
    try:
        with Image.open(io.BytesIO(data), formats=(wanted,)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise RefusedError(
                    413, Code.TOO_LARGE, f"{opened.width}x{opened.height} is more than {MAX_PIXELS:,} pixels"
                )
            opened.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
            pixels = rgb_of(opened)
    except RefusedError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they like at broken bytes
        why = f"not a whole {wanted} picture ({type(error).__name__})"
        raise RefusedError(415, Code.UNSUPPORTED, why) from None
    pixels.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    pixels.info.clear()
    file = io.BytesIO()
    pixels.save(file, "PNG", compress_level=1)
    return file.getvalue()


async def _hand_over(daemon: Daemon, status: Path, picture: bytes) -> dict[str, Any]:
    """The daemon takes it from a folder of its own, in which it is alone."""
    folder = status / _FOLDER / secrets.token_hex(8)
    try:
        await asyncio.to_thread(_put, folder, picture)
        begun = await daemon.ask("memory", action="import", path=str(folder), pictures=True)
        return await _result(daemon, int(begun["task"]))
    finally:
        await asyncio.to_thread(_remove, folder)


async def _result(daemon: Daemon, task: int) -> dict[str, Any]:
    async with asyncio.timeout(_TASK_S):
        while True:
            told = await daemon.ask("memory", action="task", task=task)
            if told["done"]:
                break
            await asyncio.sleep(_LOOK_S)
    result = told["result"]
    if not result.get("ok"):
        raise RefusedError(409, Code.REFUSED, str(result.get("error")))
    report = result["report"]
    reasons = [str(why) for _, why in report.get("reasons", [])]
    if not report["added"]:
        raise RefusedError(409, Code.REFUSED, reasons[0] if reasons else "it is in the memory already")
    return {"id": str(report["added"][0])}


def _put(folder: Path, picture: bytes) -> None:
    folder.mkdir(parents=True)
    write_atomic(folder / "yours.png", picture)


def _remove(folder: Path) -> None:
    for path in folder.glob("*"):
        path.unlink(missing_ok=True)
    if folder.is_dir():
        folder.rmdir()
