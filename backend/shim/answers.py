"""How the shim answers: one envelope for errors, pictures with their headers, ranges of bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from backend.errors import DreamloopError
from backend.shim.frame_files import Picture


class Code(StrEnum):
    """Why something was refused, for programs."""

    BAD_REQUEST = "bad_request"
    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    UNAUTHORIZED = "unauthorized"
    NOT_ALLOWED = "method_not_allowed"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported_media_type"
    REFUSED = "refused"
    NO_DAEMON = "no_daemon"
    BUSY = "busy"
    FAILED = "failed"


class ErrorAnswer(BaseModel):
    """What every refusal looks like."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"status": "error", "message": "there is no such frame", "code": "not_found"}
        }
    )

    status: str = Field(default="error", description="always error")
    message: str = Field(description="one sentence for people")
    code: Code = Field(description="for programs")


class RefusedError(DreamloopError):
    """An error that is answered in the envelope.

    Attributes:
        http_status: e.g. 404.
        headers: Sent along, e.g. Retry-After.
    """

    def __init__(
        self, http_status: int, code: Code, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code
        self.headers = dict(headers or {})


_CODES = {
    HTTPStatus.BAD_REQUEST: Code.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED: Code.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: Code.FORBIDDEN,
    HTTPStatus.NOT_FOUND: Code.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: Code.NOT_ALLOWED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Code.TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: Code.UNSUPPORTED,
}

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Plain JSON that no cache keeps."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    kept = {"Cache-Control": "no-store", **(headers or {})}
    return Response(body, status, kept, media_type="application/json")


def error_answer(status: int, code: Code, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """The envelope."""
    return json_answer({"status": "error", "message": message, "code": code.value}, status, headers)


def install_errors(app: FastAPI) -> None:
    """Have whatever goes wrong answered in the envelope, without a path, a value or a traceback."""

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)  # noqa: S101 - for the type checker: registered for it alone
        return error_answer(error.http_status, error.code, str(error), error.headers)

    async def http_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        phrase = HTTPStatus(error.status_code).phrase.lower()
        code = _CODES.get(HTTPStatus(error.status_code), Code.FAILED)
        return error_answer(error.status_code, code, phrase, error.headers)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
        return error_answer(422, Code.BAD_REQUEST, _wishes(error))

    async def failed(_: Request, error: Exception) -> Response:
        return error_answer(500, Code.FAILED, "something went wrong here; the log says what")

    app.add_exception_handler(RefusedError, refused)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, failed)


def _wishes(error: RequestValidationError) -> str:
    """Which parts of the request are wrong, and what is wished for."""
    told = [f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors()]
    return "; ".join(told[:5]) or "the request cannot be understood"


def picture_answer(request: Request, picture: Picture, cache: str) -> Response:
    """A picture with ETag, conditional requests and single ranges of bytes (RFC 9110, section 14)."""
    tag = f'"{picture.tag}"'
    headers = {"ETag": tag, "Cache-Control": cache, "Accept-Ranges": "bytes"}
    if matches(request, tag):
        return Response(status_code=304, headers=headers)
    wanted = request.headers.get("range")
    if wanted is None or request.headers.get("if-range", tag) != tag:
        return Response(picture.data, headers=headers, media_type=picture.media_type)
    size = len(picture.data)
    span = _span(wanted, size)
    if span is None:  # not one range of bytes: a server may ignore it
        return Response(picture.data, headers=headers, media_type=picture.media_type)
    if not span:
        message = f"a range within {size} bytes"
        return error_answer(416, Code.BAD_REQUEST, message, {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    part = picture.data[span.start : span.stop]
    return Response(part, 206, headers, media_type=picture.media_type)


def matches(request: Request, tag: str) -> bool:
    """Whether whoever asks has it already (If-None-Match)."""
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or tag in [one.strip().removeprefix("W/") for one in known.split(",")]


def _span(header: str, size: int) -> range | None:
    """Bytes that are asked for, none if there are no such; None where the header is no single range."""
    found = _RANGE.fullmatch(header.strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1 if last else size, size))
