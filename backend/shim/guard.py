"""Who may ask for what: hosts, origins, the token, and the headers that keep pages within bounds."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.shim.answers import Code, RefusedError, error_answer
from backend.shim.patience import PICTURE_BODY, SMALL_BODY, bounded

_SAFE = {"GET", "HEAD", "OPTIONS"}
_PRIVATE = ("/api/config", "/api/log", "/api/themes/text")
SEEDS_PATH = "/api/memory/seeds"
_TOKEN_NAMES = {"token", "access_token", "api_key", "key", "auth"}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; font-src 'self'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'self'"
)


_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "600",
}


@dataclass(frozen=True)
class Access:
    """What is let in.

    Attributes:
        token: Wanted of whoever changes something; None where everybody on this machine may.
        origins: Of web pages from elsewhere that may read and, with the token, change.
        any_host: Whether requests may name any host; else only this machine's own names, so that a page
            from elsewhere cannot reach us through a name of its own (DNS rebinding).
    """

    token: str | None
    origins: tuple[str, ...] = ()
    any_host: bool = False


class Guard:
    """Refuses before anything is routed, and puts the headers to every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._dress(MutableHeaders(scope=message), origin)
            await send(message)

        refusal = self._refusal(scope, headers, origin)
        if refusal is None and scope["method"] == "OPTIONS" and origin in self._access.origins:
            await Response(status_code=204, headers=_PREFLIGHT)(scope, receive, send_guarded)
            return
        answer: Send = send_guarded
        if scope["method"] == "HEAD":
            scope, answer = {**scope, "method": "GET"}, _bodiless(send_guarded)
        if refusal is None and scope["method"] not in _SAFE:
            most = PICTURE_BODY if scope["path"] == SEEDS_PATH else SMALL_BODY
            try:
                receive = bounded(scope, receive, most)
            except RefusedError as error:
                refusal = error.http_status, error.code, str(error)
        if refusal is not None:
            status, code, sentence = refusal
            await error_answer(status, code, sentence)(scope, receive, answer)
            return
        await self._app(scope, receive, answer)

    def _refusal(self, scope: Scope, headers: Headers, origin: str) -> tuple[int, Code, str] | None:
        if not self._access.any_host and not _is_loopback(headers.get("host", "")):
            return 403, Code.FORBIDDEN, "this address answers to names of this machine only"
        if _names(scope["query_string"]) & _TOKEN_NAMES:
            return 400, Code.BAD_REQUEST, "a token goes into the Authorization header, never into an address"
        if scope["method"] in _SAFE and not self._is_private(scope["path"]):
            return None
        if origin and not self._is_known(origin, headers.get("host", "")):
            return 403, Code.FORBIDDEN, "pages from elsewhere may not change anything (shim.cors_origins)"
        if self._access.token is not None and not _is_token(headers, self._access.token):
            return (
                401,
                Code.UNAUTHORIZED,
                "whoever changes or looks after something sends the token: Authorization: Bearer ...",
            )
        return None

    def _is_private(self, path: str) -> bool:
        """Whether reading it is for those with the token, too, where others can reach it."""
        return self._access.token is not None and path.startswith(_PRIVATE)

    def _is_known(self, origin: str, host: str) -> bool:
        return origin in self._access.origins or (urlsplit(origin).netloc == host and origin != "null")

    def _dress(self, headers: MutableHeaders, origin: str) -> None:
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("Referrer-Policy", "no-referrer")
        headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        headers.setdefault("Content-Security-Policy", _PAGE_POLICY)
        if origin in self._access.origins:
            headers["Access-Control-Allow-Origin"] = origin
            headers.add_vary_header("Origin")


def _bodiless(send: Send) -> Send:
    """What HEAD gets: the head of the answer to GET."""
    ended = False

    async def send_head(message: Message) -> None:
        nonlocal ended
        if message["type"] == "http.response.start":
            await send(message)
        elif not ended:
            ended = True
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return send_head


def _names(query: bytes) -> set[str]:
    return {part.partition(b"=")[0].decode("latin-1").lower() for part in query.split(b"&")}


def _is_token(headers: Headers, token: str) -> bool:
    kind, _, given = headers.get("authorization", "").partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


def _is_loopback(host: str) -> bool:
    """Whether a Host header names this machine by a name that nobody else can claim."""
    name = urlsplit(f"//{host}").hostname if _is_host(host) else None
    if name is None:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_host(host: str) -> bool:
    try:
        return bool(urlsplit(f"//{host}").hostname)
    except ValueError:
        return False


def known_origins(written: Sequence[str]) -> tuple[str, ...]:
    """Origins as browsers send them: scheme and host, without a path."""
    return tuple(one.strip().rstrip("/").lower() for one in written)
