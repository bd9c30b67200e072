"""The shim of another machine, for all that shared folders do not tell."""

from __future__ import annotations

import asyncio
from typing import Any

import requests
from fastapi import APIRouter, Request, Response

from backend.shim.answers import Code, RefusedError

PATHS = (
    "/api/memory",
    "/api/images",
    "/api/control",
    "/api/prompt",
    "/api/themes",
    "/api/models",
    "/api/config",
    "/api/log",
)
"""What is asked there, with everything below."""

_TIMEOUT_S = (3.0, 20.0)
_MAX_BYTES = 64_000_000
_THERE = ("authorization", "content-type", "if-none-match", "range", "accept")
_BACK = ("content-type", "etag", "cache-control", "content-range", "accept-ranges", "retry-after")


def upstream_routes(url: str) -> APIRouter:
    """Forwards requests as they are; the token that is wanted there goes along.

    Args:
        url: Address of the other shim.
    """
    router = APIRouter(include_in_schema=False)
    session = requests.Session()
    session.trust_env = False

    async def forward(request: Request) -> Response:
        body = await request.body()
        return await asyncio.to_thread(_asked, session, url, request, body)

    for path in PATHS:
        for below in (path, f"{path}/{{rest:path}}"):
            router.add_api_route(below, forward, methods=["GET", "POST", "PUT"])
    return router


def _asked(session: requests.Session, url: str, request: Request, body: bytes) -> Response:
    headers = {name: value for name, value in request.headers.items() if name.lower() in _THERE}
    where = url.rstrip("/") + request.url.path
    try:
        with session.request(
            request.method,
            where,
            params=request.url.query or None,
            data=body or None,
            headers=headers,
            timeout=_TIMEOUT_S,
            allow_redirects=False,
            stream=True,
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() in _BACK}
            return Response(_bounded(answer), answer.status_code, kept)
    except (requests.RequestException, ValueError):
        raise RefusedError(
            503, Code.NO_DAEMON, "the machine that dreams does not answer", {"Retry-After": "5"}
        ) from None


def _bounded(answer: requests.Response) -> bytes:
    read: list[Any] = []
    size = 0
    for piece in answer.iter_content(65_536):
        size += len(piece)
        if size > _MAX_BYTES:
            raise ValueError("too much")
        read.append(piece)
    return b"".join(read)
