"""HTTP with deadlines and size limits: the only place that knows ``requests``.

Every call has a total deadline and a byte cap, so that a server gone mad costs seconds and megabytes, never
the daemon. Sessions are kept alive, one a thread. Nothing is retried here but plain reads on a connection
that the server had closed in the meantime.
"""

from __future__ import annotations

import json
import math
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import requests
from urllib3.exceptions import HTTPError, NewConnectionError

from backend.errors import EngineAnswerError, EngineUnreachable

_CHUNK_BYTES = 64 * 1024


class AnswerLost(EngineUnreachable):
    """No answer, but the server may have got the request and carried it out."""

    def __init__(self, url: str, cause: str, *, timed_out: bool) -> None:
        self.timed_out = timed_out
        super().__init__(url, cause)


@dataclass(frozen=True)
class HttpLimits:
    """Deadlines in seconds and caps in bytes.

    Attributes:
        connect_s: Until the connection stands.
        answer_s: In total, for a small question.
        transfer_s: In total, for files and for /object_info.
        max_json_bytes: For the history, the queue and other small answers.
        max_file_bytes: For /object_info and files.
    """

    connect_s: float = 5.0
    answer_s: float = 10.0
    transfer_s: float = 60.0
    max_json_bytes: int = 8 * 2**20
    max_file_bytes: int = 64 * 2**20


@dataclass(frozen=True)
class Answer:
    """A whole answer, whatever its status."""

    url: str
    status: int
    body: bytes

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
            return json.loads(self.body, parse_constant=lambda _: None, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            raise EngineAnswerError(self.url, f"no JSON: {str(error)[:120]}") from None

    def require_ok(self) -> Answer:
        """This answer, if its status is 200.

        Raises:
            EngineAnswerError: It is another.
        """
        if not self.ok:
            start = self.body[:120].decode(errors="replace")
            raise EngineAnswerError(self.url, f"status {self.status} {start}".rstrip())
        return self


class ComfyHttp:
    """Calls to one server. Thread-safe."""

    def __init__(self, limits: HttpLimits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
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
    ) -> Answer:
        """GET; ``large`` allows more bytes and more time, ``within_s`` sets another time.

        Raises:
            EngineUnreachable: No answer within the deadline.
            EngineAnswerError: An answer too large or cut off.
        """
        try:
            return self._call("GET", url, large=large, within_s=within_s, params=params)
        except AnswerLost as error:
            if error.timed_out:
                raise
            # Most likely a kept connection that the server had just closed; reading twice does no harm.
            return self._call("GET", url, large=large, within_s=within_s, params=params)

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
        """POST of a multipart form with the file in the field ``image``.

        Raises:
            EngineUnreachable: No answer.
            EngineAnswerError: An answer too large or cut off.
        """
        files = {"image": (filename, data, "application/octet-stream")}
        return self._call("POST", url, large=True, data=dict(fields), files=files)

    def close(self) -> None:
        """Closes the connections of all threads; a later call opens new ones."""
        for session in list(self._sessions):
            session.close()

    def _call(
        self, method: str, url: str, *, large: bool = False, within_s: float | None = None, **request: Any
    ) -> Answer:
        limits = self._limits
        total_s = within_s or (limits.transfer_s if large else limits.answer_s)
        deadline = self._clock() + total_s
        request |= {"timeout": (min(limits.connect_s, total_s), total_s), "stream": True}
        try:
            with self._session().request(method, url, allow_redirects=False, **request) as response:
                cap = limits.max_file_bytes if large else limits.max_json_bytes
                return Answer(url, response.status_code, self._read(response, url, cap, deadline))
        except (requests.RequestException, HTTPError, OSError) as error:
            raise _as_ours(url, error) from error

    def _read(self, response: requests.Response, url: str, cap: int, deadline: float) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
            chunks.append(chunk)
            size += len(chunk)
            if size > cap:
                raise EngineAnswerError(url, f"more than {cap} bytes")
            if self._clock() > deadline:
                raise EngineUnreachable(url, "the answer was still coming when its time was over")
        return b"".join(chunks)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.trust_env = False  # no proxies, and no search for .netrc on each call
            session.headers["Accept-Encoding"] = "identity"
            self._local.session = session
            self._sessions.add(session)
        return session


def _finite(written: str) -> float | None:
    number = float(written)  # 1e400 is correct JSON, and infinite
    return number if math.isfinite(number) else None


def _as_ours(url: str, error: Exception) -> EngineUnreachable:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError):
        return EngineUnreachable(url, "nobody listens there")
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return EngineUnreachable(url, "not a URL that can be asked")
    if isinstance(error, requests.Timeout):
        return AnswerLost(url, "no answer in time", timed_out=True)
    return AnswerLost(url, f"the connection broke ({type(error).__name__})", timed_out=False)
