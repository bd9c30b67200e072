"""HTTP with deadlines and size limits: the only place that asks a server.

Every call has a total deadline and a byte cap, so that a server gone mad costs seconds and megabytes, never
the daemon. Sessions are kept alive, one a thread. Nothing is retried here but plain reads on a connection
that the server had closed in the meantime. Redirects are not followed.
"""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from backend.core.bounded_http import Deadline, bounded_session
from backend.core.http_troubles import AnswerCut, AnswerLost, gateway_trouble, no_json, refusal, trouble_of
from backend.errors import EngineAnswerError
from backend.utils.http_headers import Veil, is_sendable, is_settable
from backend.utils.tame_json import tame

__all__ = ["Answer", "AnswerCut", "AnswerLost", "ComfyHttp", "HttpLimits"]

_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class HttpLimits:
    """Deadlines in seconds and caps in bytes.

    Attributes:
        connect_s: Until the connection stands.
        answer_s: In total, for a small question; of a file, until its next bytes go or come.
        transfer_s: In total, for files and for /object_info.
        max_json_bytes: For the history, the queue and other small answers.
        max_file_bytes: For /object_info and files, and for a message of the WebSocket.
    """

    connect_s: float = 5.0
    answer_s: float = 10.0
    transfer_s: float = 60.0
    max_json_bytes: int = 8 * 2**20
    max_file_bytes: int = 64 * 2**20


@dataclass(frozen=True)
class Answer:
    """A whole answer, whatever its status; ``location`` is where it sends us on to, if it does."""

    url: str
    status: int
    body: bytes
    location: str = ""

    @property
    def ok(self) -> bool:
        """Whether the status is 200."""
        return self.status == HTTPStatus.OK

    def json(self) -> Any:
        """The body as JSON; NaN and infinities, which JSON does not have, read as None.

        Raises:
            EngineAnswerError: It is no JSON.
        """
        try:
            return tame(self.body)
        except (ValueError, RecursionError) as error:
            raise no_json(self.url, self.body, error) from None

    def require_ok(self) -> Answer:
        """This answer, if its status is 200.

        Raises:
            EngineAnswerError: It is another.
        """
        if not self.ok:
            raise refusal(self.url, self.status, self.body, self.location)
        return self


class ComfyHttp:
    """Calls to one server. Thread-safe.

    Args:
        limits: Deadlines and byte caps.
        headers: Sent along with every call, for a proxy; never shown.
        clock: Monotonic seconds.

    Raises:
        ValueError: A header cannot be sent.
    """

    def __init__(
        self,
        limits: HttpLimits,
        headers: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._headers = dict(headers or {})
        for name, value in self._headers.items():
            if not (is_settable(name) and is_sendable(value)):
                raise ValueError(f"the header {name[:100]!r} cannot be set, or not to this value")
        self._veil = Veil(self._headers)
        self._clock = clock
        self._local = threading.local()
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()

    def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        *,
        large: bool = False,
        within_s: float | None = None,
        steady: bool = False,
        once: bool = False,
    ) -> Answer:
        """GET; ``large`` allows more bytes and more time, ``within_s`` sets another time.

        With ``steady`` bytes must keep coming: a network that swallows all is not waited for to the end.

        A connection that breaks is tried once more, unless it is to be ``once``.

        Raises:
            EngineUnreachable: No answer within the deadline.
            EngineAnswerError: An answer too large or cut off.
        """
        try:
            return self._call("GET", url, large=large, within_s=within_s, steady=steady, params=params)
        except AnswerLost as error:
            if once or not error.again:
                raise
            # Most likely a kept connection that the server had just closed; reading twice does no harm.
            return self._call("GET", url, large=large, within_s=within_s, steady=steady, params=params)

    def post(self, url: str, body: object = None, *, within_s: float | None = None) -> Answer:
        """POST with a JSON body.

        Raises:
            EngineUnreachable: No answer; AnswerLost if the server may have got the request.
            EngineAnswerError: An answer too large or cut off.
        """
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        return self._call("POST", url, within_s=within_s, data=data, headers=headers)

    def upload(self, url: str, data: bytes, filename: str, fields: Mapping[str, str]) -> Answer:
        """POST of a multipart form with the file in the field ``image``; bytes must keep going out.

        Raises:
            EngineUnreachable: No answer.
            EngineAnswerError: An answer too large or cut off.
        """
        files = {"image": (filename, data, "application/octet-stream")}
        return self._call("POST", url, large=True, steady=True, data=dict(fields), files=files)

    def close(self) -> None:
        """Closes the connections of all threads; a later call opens new ones."""
        for session in list(self._sessions):
            session.close()

    def _call(
        self,
        method: str,
        url: str,
        *,
        large: bool = False,
        within_s: float | None = None,
        steady: bool = False,
        **request: Any,
    ) -> Answer:
        limits = self._limits
        total_s = within_s or (limits.transfer_s if large else limits.answer_s)
        session, deadline = self._session()
        silent_s = min(limits.answer_s, total_s) if steady else total_s
        deadline.start(total_s, silent_s)
        begun = False
        request |= {"timeout": (min(limits.connect_s, total_s), silent_s), "stream": True}
        try:
            with session.request(method, url, allow_redirects=False, **request) as response:
                begun = True
                cap = limits.max_file_bytes if large else limits.max_json_bytes
                answer = self._answer(url, response, _read(response, url, cap))
        except (requests.RequestException, HTTPError, OSError) as error:
            raise trouble_of(url, error, begun=begun) from error
        trouble = gateway_trouble(url, answer.status)
        if trouble is not None:
            raise trouble
        return answer

    def _answer(self, url: str, response: requests.Response, body: bytes) -> Answer:
        if response.status_code == HTTPStatus.OK:
            return Answer(url, response.status_code, body)
        # Whatever is not as it should be is quoted in errors, and may repeat our headers.
        said = self._veil.over(body.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        location = self._veil.over(response.headers.get("Location", ""))
        return Answer(url, response.status_code, said, location)

    def _session(self) -> tuple[requests.Session, Deadline]:
        """This thread's own, which it keeps."""
        if not hasattr(self._local, "session"):
            deadline = Deadline(self._clock)
            session = bounded_session(deadline)
            session.headers["Accept-Encoding"] = "identity"
            session.headers.update(self._headers)
            self._local.session, self._local.deadline = session, deadline
            self._sessions.add(session)
        return self._local.session, self._local.deadline


def _read(response: requests.Response, url: str, cap: int) -> bytes:
    promised = response.headers.get("Content-Length", "")
    if promised.isdecimal() and len(promised) < 20 and int(promised) > cap:
        raise EngineAnswerError(url, f"more than {cap} bytes")
    body = bytearray()
    while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
        body += chunk
        if len(body) > cap:
            raise EngineAnswerError(url, f"more than {cap} bytes")
    return bytes(body)
