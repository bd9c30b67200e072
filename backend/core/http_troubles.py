"""What can go wrong between us and a server, as errors that say in words what to look at."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import NameResolutionError, NewConnectionError, ReadTimeoutError

from backend.errors import EngineAnswerError, EngineError, EngineUnreachable

_GATEWAY = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL")
_WEB_PAGE = "a web page; is comfyui.url the address of a ComfyUI?"
_QUOTED_CHARS = 120


class AnswerLost(EngineUnreachable):
    """No answer, but the server may have got the request and carried it out.

    Attributes:
        again: Asking once more at once may well be answered.
    """

    def __init__(self, url: str, cause: str, *, again: bool = False) -> None:
        self.again = again
        super().__init__(url, cause)


class AnswerCut(AnswerLost):
    """The server is there, but its answer broke off in the middle."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "the answer was cut off", again=True)


def trouble_of(url: str, error: Exception, *, begun: bool = False) -> EngineError:
    """What ``requests`` raised, as ours; ``begun`` says that the answer's head had come."""
    chain = list(_chain(error))
    for one in chain:
        known = _known(url, one)
        if known is not None:
            return known
    if isinstance(error, requests.ConnectTimeout):
        return EngineUnreachable(url, "nobody listens there")
    if any(isinstance(one, requests.Timeout | ReadTimeoutError | TimeoutError) for one in chain):
        return AnswerLost(url, "no answer in time")
    if begun:
        return AnswerCut(url)
    return AnswerLost(url, f"the connection broke ({type(error).__name__})", again=True)


def tls_trouble(error: ssl.SSLError) -> str | None:
    """Why no TLS connection came about, if it is for something that a person can mend."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({error.verify_message}); add the authority that signed it "
            "to the system's, or name a file with it in SSL_CERT_FILE"
        )
    if error.reason in _NO_TLS:
        return "it speaks no TLS there; is the address http:// and not https://?"
    return None


def gateway_trouble(url: str, status: int) -> EngineUnreachable | None:
    """A proxy answers in the place of the server."""
    if status not in _GATEWAY:
        return None
    cause = f"the proxy before it says {status} {HTTPStatus(status).phrase}; ComfyUI itself does not answer"
    went_no_further = status == HTTPStatus.SERVICE_UNAVAILABLE
    return EngineUnreachable(url, cause) if went_no_further else AnswerLost(url, cause)


def refusal(url: str, status: int, body: bytes, location: str) -> EngineAnswerError:
    """A status that is not the wished one."""
    if 300 <= status < 400:
        where = _without_secrets(location) or "nowhere"
        return EngineAnswerError(url, f"it sends us on to {where}; put the right address into comfyui.url")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED):
        wish = "the proxy before it wants credentials, which go into comfyui.headers"
        return EngineAnswerError(url, f"status {status}: {wish}")
    if status == HTTPStatus.FORBIDDEN:
        wish = "forbidden; if a proxy stands before it, it may want credentials (comfyui.headers)"
        return EngineAnswerError(url, f"status 403: {wish}")
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        wish = "too large for it; raise ComfyUI's --max-upload-size, or the limit of the proxy before it"
        return EngineAnswerError(url, f"status 413: {wish}")
    if is_web_page(body):
        return EngineAnswerError(url, f"status {status} and {_WEB_PAGE}")
    said = body[:_QUOTED_CHARS].decode(errors="replace")
    return EngineAnswerError(url, f"status {status} {said}".rstrip())


def no_json(url: str, body: bytes, error: Exception) -> EngineAnswerError:
    """A body that was to be JSON and is not."""
    if is_web_page(body):
        return EngineAnswerError(url, _WEB_PAGE)
    return EngineAnswerError(url, f"no JSON: {str(error)[:_QUOTED_CHARS]}")


def is_web_page(body: bytes) -> bool:
    """Whether a body is HTML (or XML)."""
    return body[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _known(url: str, error: BaseException) -> EngineError | None:
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return EngineUnreachable(url, "not a URL that can be asked")
    if isinstance(error, NameResolutionError):
        return EngineUnreachable(url, "nobody knows that name")
    if isinstance(error, NewConnectionError):
        return EngineUnreachable(url, "nobody listens there")
    if isinstance(error, ssl.SSLError):
        cause = tls_trouble(error)
        return None if cause is None else EngineUnreachable(url, cause)
    # A connection that is closed or cut off is an HTTPException, too; the others are no HTTP at all.
    cut_off = isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead)
    if isinstance(error, http.client.HTTPException) and not cut_off:
        return EngineAnswerError(url, "whoever listens there does not speak HTTP; is the port right?")
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it is made of, which ``requests`` and urllib3 hide in several places."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (*one.args, getattr(one, "reason", None), one.__cause__, one.__context__)
        waiting += [part for part in inner if isinstance(part, BaseException)]


def _without_secrets(location: str) -> str:
    """Scheme, host and path: what stands behind them may be a ticket."""
    try:
        parts = urlsplit(location)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return ""
    return f"{parts.scheme}://{host}{parts.path}"[:200] if host else parts.path[:200]
